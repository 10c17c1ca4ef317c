//! Figures for Prometheus, in its text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::inbox::Inbox;
use super::stage::Stage;
use crate::progress::Progress;

/// What is counted while the server runs; nothing of it is secret.
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
    pub(super) fn text(&self, stage: Stage, inbox: Option<&Inbox>, rebuild: &Progress) -> String {
        let mut text = Families::default();
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
        write_rebuild(&mut text, stage, rebuild);
        text.0
    }
}

fn write_inbox(text: &mut Families, inbox: &Inbox) {
    let figures = inbox.slots().each_ref().map(|(party, slot)| (party, slot.figures()));
    let each = |value: fn((u64, u64, Option<u64>)) -> u64| {
        figures.each_ref().map(|(party, now)| (format!("{{sender=\"{party}\"}}"), value(*now)))
    };
    text.gauge("reshare_parts", "Parts in the inbox.", each(|now| now.0));
    text.gauge("reshare_bytes", "Bytes of the parts in the inbox.", each(|now| now.1));
    let rows = each(|now| now.2.unwrap_or(0));
    text.gauge("reshare_rows", "Rows of the package, once it is closed.", rows);
    let closed = each(|now| u64::from(now.2.is_some()));
    text.gauge("reshare_package_closed", "Whether the manifest has arrived.", closed);
}

/// The rebuild's progress; all zero before it runs, since until then other work is counted.
fn write_rebuild(text: &mut Families, stage: Stage, rebuild: &Progress) {
    let now = rebuild.snapshot();
    let runs = matches!(stage, Stage::Rebuilding | Stage::Done | Stage::Failed);
    let shown = |value: u64| [one(if runs { value } else { 0 })];
    let help = "Rows that the rebuild goes through; 0 before it runs.";
    text.gauge("reshare_rebuild_rows", help, shown(now.rows_total));
    let help = "Rows gone through, those among them that an earlier run had loaded.";
    text.gauge("reshare_rebuild_rows_done", help, shown(now.rows_done + now.rows_skipped));
    let help = "Ranges of ids that this run has loaded or found loaded.";
    text.gauge("reshare_rebuild_ranges_done", help, shown(now.steps_done));
}

fn one(value: u64) -> (String, u64) {
    (String::new(), value)
}

/// Metric families as they are written one after the other.
#[derive(Default)]
struct Families(String);

impl Families {
    fn gauge(&mut self, name: &str, help: &str, samples: impl IntoIterator<Item = (String, u64)>) {
        self.family(name, "gauge", help, samples);
    }

    fn counter(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, u64)>,
    ) {
        self.family(name, "counter", help, samples);
    }

    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, u64)>,
    ) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}
