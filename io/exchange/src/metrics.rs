//! The receiver's figures for Prometheus.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use reshare_engine::party::PartyId;

use super::families::{Families, one};
use super::inbox::Inbox;
use super::monitor::Stage;
use super::run_facts::RunFacts;
use super::slot::Slot;
use super::stored::Figures;
use crate::progress::Progress;

/// The counters of a running server. None of them is secret.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    refused: Mutex<BTreeMap<&'static str, u64>>,
    accepted: AtomicU64,
}

impl Metrics {
    /// Counts a connection or request that was refused.
    pub(super) fn refuse(&self, reason: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() +=
            1;
    }

    /// Counts a request that was served.
    pub(super) fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes all figures. Those of the inbox are missing while it is still read.
    pub(super) fn text(
        &self,
        run: Option<&RunFacts>,
        stage: Stage,
        inbox: Option<&Inbox>,
        runs: bool,
        rebuild: &Progress,
    ) -> String {
        let mut text = Families::default();
        if let Some(run) = run {
            run.write(&mut text);
        }
        let stages = Stage::ALL
            .map(|each| (format!("{{stage=\"{}\"}}", each.word()), u64::from(each == stage)));
        text.gauge("reshare_stage", "1 for what the receiver is doing, 0 for the others.", stages);
        if let Some(inbox) = inbox {
            write_inbox(&mut text, inbox);
        }
        let accepted = self.accepted.load(Ordering::Relaxed);
        text.counter("reshare_requests_accepted_total", "Requests served.", [one(accepted)]);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.iter().map(|(why, count)| (format!("{{reason=\"{why}\"}}"), *count));
        text.counter("reshare_refused_total", "Connections and requests refused.", refused);
        write_rebuild(&mut text, runs, rebuild);
        text.0
    }
}

fn write_inbox(text: &mut Families, inbox: &Inbox) {
    let of = |party: PartyId| format!("{{sender=\"{party}\"}}");
    let figures = inbox.slots().each_ref().map(|(party, slot)| (*party, slot.figures()));
    let each = |value: fn(&Figures) -> u64| {
        figures.each_ref().map(|(party, now)| (of(*party), value(now)))
    };
    text.gauge("reshare_parts", "Parts in the inbox.", each(|now| now.parts));
    text.gauge("reshare_bytes", "Bytes of the parts in the inbox.", each(|now| now.bytes));
    let rows = each(|now| now.rows.unwrap_or(0));
    text.gauge("reshare_rows", "Rows of the package, once it is closed.", rows);
    let closed = each(|now| u64::from(now.is_closed()));
    text.gauge("reshare_package_closed", "Whether the manifest has arrived.", closed);
    let slots = inbox.slots();
    let held = slots.each_ref().map(|(party, slot)| (of(*party), slot.moved().borrow().held_bytes));
    text.gauge("reshare_held_bytes", "Bytes of parts that are only in memory.", held);
    // An id may be negative: a gauge is any number.
    let mut ids = |name, help, value: fn(&Slot) -> Option<i64>| {
        let known = slots.iter().filter_map(|(party, slot)| Some((of(*party), value(slot)?)));
        text.gauge(name, help, known);
    };
    ids("reshare_covered_up_to", "The last id that the sender has covered.", Slot::covered_up_to);
    let help = "The last id up to which all rows of the sender's parts are loaded.";
    ids("reshare_loaded_up_to", help, |slot| slot.moved().borrow().used_up_to);
    let frontier = inbox.frontier().map(one);
    text.gauge("reshare_frontier", "The last id that both senders have covered.", frontier);
    let arrived = slots.iter().filter_map(|(party, slot)| Some((of(*party), slot.last_part_at()?)));
    let help = "When a part of the sender arrived last, in seconds since 1970.";
    text.gauge("reshare_last_part_timestamp_seconds", help, arrived);
}

/// The rebuild's progress; all zero before it runs, since until then other work is counted.
fn write_rebuild(text: &mut Families, runs: bool, rebuild: &Progress) {
    let now = rebuild.snapshot();
    let shown = |value: u64| [one(if runs { value } else { 0 })];
    let help = "Rows that the rebuild processes; 0 before it runs.";
    text.gauge("reshare_rebuild_rows", help, shown(now.rows_total));
    let help = "Rows gone through, those among them that an earlier run had loaded.";
    text.gauge("reshare_rebuild_rows_done", help, shown(now.rows_done + now.rows_skipped));
    let help = "Ranges of ids that this run has loaded or found loaded.";
    text.gauge("reshare_rebuild_ranges_done", help, shown(now.steps_done));
}
