//! The state of the receiver, for `/health`, `/metrics` and the log.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use reshare_engine::party::PartyId;

use super::inbox::Inbox;
use super::log::RefusalLog;
use super::slot::Slot;
use super::stored::Figures;
use crate::progress::Progress;

/// The stage of the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It checks the table and reads its inbox. It does not accept deliveries yet.
    Starting,
    /// It accepts deliveries.
    Receiving,
    /// Both packages are complete, and their rows are merged and loaded.
    Rebuilding,
    /// Everything is done.
    Done,
    /// The rebuild has failed; the packages are kept.
    Failed,
}

impl Stage {
    pub(super) const ALL: [Self; 5] =
        [Self::Starting, Self::Receiving, Self::Rebuilding, Self::Done, Self::Failed];

    /// The stage in one word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Receiving => "receiving",
            Self::Rebuilding => "rebuilding",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// What is known about a running receiver, from its start.
#[derive(Debug)]
pub struct Monitor {
    metrics: Metrics,
    pub(super) progress: Arc<Progress>,
    log: RefusalLog,
    stage: AtomicU8,
    inbox: OnceLock<Arc<Inbox>>,
    /// Whether parts are merged while others arrive: then the progress is that of the rebuild.
    merges: AtomicBool,
}

impl Monitor {
    /// A monitor of a starting receiver, and of the rebuild that `progress` counts.
    #[must_use]
    pub fn new(progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self {
            metrics: Metrics::default(),
            progress,
            log: RefusalLog::default(),
            stage: AtomicU8::new(Stage::Starting as u8),
            inbox: OnceLock::new(),
            merges: AtomicBool::new(false),
        })
    }

    /// Begins a stage.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let now = self.stage.load(Ordering::Relaxed);
        Stage::ALL.into_iter().find(|stage| *stage as u8 == now).unwrap_or(Stage::Failed)
    }

    /// From now on parts are merged while others arrive.
    pub fn merge_while_receiving(&self) {
        self.merges.store(true, Ordering::Relaxed);
    }

    /// Counts a part that has arrived.
    pub(super) fn arrived(&self, bytes: u64) {
        if self.merges.load(Ordering::Relaxed) {
            self.progress.deliver_part();
        } else {
            self.progress.add(0, bytes);
        }
    }

    /// The inbox has been read: its figures are known from now on.
    pub(super) fn opened(&self, inbox: &Arc<Inbox>) {
        // Set only once: a receiver has one inbox.
        let _ = self.inbox.set(Arc::clone(inbox));
    }

    /// All figures, in Prometheus' text format.
    pub(super) fn text(&self) -> String {
        let stage = self.stage();
        let runs = self.merges.load(Ordering::Relaxed)
            || matches!(stage, Stage::Rebuilding | Stage::Done | Stage::Failed);
        self.metrics.text(stage, self.inbox.get().map(Arc::as_ref), runs, &self.progress)
    }

    /// Counts a request that was served.
    pub(super) fn accept(&self) {
        self.metrics.accept();
    }

    /// Counts a refusal and logs it, unless there are too many of its kind. `log` gets the number of
    /// those that were not logged.
    pub(super) fn refuse(&self, reason: &'static str, log: impl FnOnce(u64)) {
        self.metrics.refuse(reason);
        if let Some(unlogged) = self.log.admit(reason, Instant::now()) {
            log(unlogged);
        }
    }
}

/// The counters of a running server. None of them is secret.
#[derive(Debug, Default)]
struct Metrics {
    refused: Mutex<BTreeMap<&'static str, u64>>,
    accepted: AtomicU64,
}

impl Metrics {
    /// Counts a connection or request that was refused.
    fn refuse(&self, reason: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(reason).or_default() +=
            1;
    }

    /// Counts a request that was served.
    fn accept(&self) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
    }

    /// Writes all figures. Those of the inbox are missing while it is still read.
    fn text(&self, stage: Stage, inbox: Option<&Inbox>, runs: bool, rebuild: &Progress) -> String {
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

fn one(value: u64) -> (String, u64) {
    (String::new(), value)
}

/// Writes metric families one after the other.
#[derive(Default)]
struct Families(String);

impl Families {
    fn gauge<V: Display>(
        &mut self,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
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

    fn family<V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        // Writing to a string does not fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = writeln!(self.0, "{name}{labels} {value}");
        }
    }
}
