//! What the receiver is doing, for `/health`, `/metrics` and the log.

use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use super::inbox::Inbox;
use super::logging::RefusalLog;
use super::metrics::Metrics;
use super::stage::Stage;
use crate::progress::Progress;

/// What is known of a running receiver, from its start on.
#[derive(Debug)]
pub struct Monitor {
    pub(super) metrics: Metrics,
    pub(super) progress: Arc<Progress>,
    log: RefusalLog,
    stage: AtomicU8,
    inbox: OnceLock<Arc<Inbox>>,
}

impl Monitor {
    /// A monitor of a receiver that starts, and of the rebuild that `progress` tells of.
    #[must_use]
    pub fn new(progress: Arc<Progress>) -> Arc<Self> {
        Arc::new(Self {
            metrics: Metrics::default(),
            progress,
            log: RefusalLog::default(),
            stage: AtomicU8::new(Stage::Starting as u8),
            inbox: OnceLock::new(),
        })
    }

    /// Tells that a stage begins.
    pub fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// The stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        let now = self.stage.load(Ordering::Relaxed);
        Stage::ALL.into_iter().find(|stage| *stage as u8 == now).unwrap_or(Stage::Failed)
    }

    /// The inbox has been read: its figures are known from now on.
    pub(super) fn opened(&self, inbox: &Arc<Inbox>) {
        // Once set it stays: a receiver has one inbox.
        let _ = self.inbox.set(Arc::clone(inbox));
    }

    /// All figures, in Prometheus' text format.
    pub(super) fn text(&self) -> String {
        self.metrics.text(self.stage(), self.inbox.get().map(Arc::as_ref), &self.progress)
    }

    /// Counts a refusal and has it logged, unless there are too many of its kind: `log` is
    /// told how many were not.
    pub(super) fn refuse(&self, reason: &'static str, log: impl FnOnce(u64)) {
        self.metrics.refuse(reason);
        if let Some(unlogged) = self.log.admit(reason, Instant::now()) {
            log(unlogged);
        }
    }
}
