//! The state of the receiver, for `/health`, `/metrics` and the log.

use std::fmt::Write;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::inbox::Inbox;
use super::log::RefusalLog;
use super::metrics::Metrics;
use super::run_facts::RunFacts;
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
    run: OnceLock<RunFacts>,
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
            run: OnceLock::new(),
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
    pub(super) fn arrived(&self, rows: u64, bytes: u64) {
        if self.merges.load(Ordering::Relaxed) {
            self.progress.deliver_part(rows, bytes);
        } else {
            self.progress.add(0, bytes);
        }
    }

    /// The inbox has been read: its figures are known from now on.
    pub(super) fn opened(&self, inbox: &Arc<Inbox>, run: RunFacts) {
        // Set only once: a receiver has one inbox.
        let _ = self.inbox.set(Arc::clone(inbox));
        let _ = self.run.set(run);
        let inbox = Arc::downgrade(inbox);
        self.progress.describe(move || inbox.upgrade().map_or_else(String::new, of_senders));
    }

    /// All figures, in Prometheus' text format.
    pub(super) fn text(&self) -> String {
        let stage = self.stage();
        let runs = self.merges.load(Ordering::Relaxed)
            || matches!(stage, Stage::Rebuilding | Stage::Done | Stage::Failed);
        self.metrics.text(
            self.run.get(),
            stage,
            self.inbox.get().map(Arc::as_ref),
            runs,
            &self.progress,
        )
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

/// How far each sender is, in words.
fn of_senders(inbox: Arc<Inbox>) -> String {
    let mut text = String::new();
    for (party, slot) in inbox.slots() {
        let between = if text.is_empty() { "" } else { ", " };
        let closed = if *slot.closed().borrow() { " (complete)" } else { "" };
        // Writing to a string does not fail.
        let _ = match slot.covered_up_to() {
            Some(id) => write!(text, "{between}sender {party} up to id {id}{closed}"),
            None => write!(text, "{between}sender {party} has delivered nothing yet"),
        };
    }
    text
}
