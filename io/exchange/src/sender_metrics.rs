//! A sender's figures for Prometheus.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::families::{Families, one};
use super::run_facts::RunFacts;
use crate::progress::Progress;

/// What a running delivery has to tell. None of it is secret.
#[derive(Debug, Clone)]
pub struct SenderMetrics {
    progress: Arc<Progress>,
    run: RunFacts,
    retries: Arc<AtomicU64>,
}

impl SenderMetrics {
    /// The figures of a delivery that `progress` counts, to a target with these
    /// [`retries`](super::DeliveryTarget::retries).
    #[must_use]
    pub fn new(progress: Arc<Progress>, run: RunFacts, retries: Arc<AtomicU64>) -> Self {
        Self { progress, run, retries }
    }

    /// All figures, in Prometheus' text format. `ended` is how the run has ended, if it has.
    #[must_use]
    pub fn text(&self, ended: Option<bool>) -> String {
        let mut text = Families::default();
        self.run.write(&mut text);
        let now = self.progress.snapshot();
        let stages = [("running", None), ("done", Some(true)), ("failed", Some(false))];
        let stages = stages
            .map(|(word, state)| (format!("{{stage=\"{word}\"}}"), u64::from(ended == state)));
        text.gauge("reshare_sender_stage", "1 for how the run is, 0 for the others.", stages);
        let help = "Rows to send; 0 until they are counted.";
        text.gauge("reshare_sender_rows", help, [one(now.rows_total)]);
        let help = "Rows that this run and earlier ones have read and sealed.";
        text.gauge("reshare_sender_rows_sealed", help, [one(now.rows_done + now.rows_skipped)]);
        let help = "Rows at the receiver, those of earlier runs among them.";
        let (there, _) = now.done();
        text.gauge("reshare_sender_rows_delivered", help, [one(there + now.rows_skipped)]);
        let help = "Parts that this run has delivered.";
        text.gauge("reshare_sender_parts_delivered", help, [one(now.parts_delivered)]);
        let help = "Sealed bytes that this run has delivered.";
        text.gauge("reshare_sender_bytes_delivered", help, [one(now.bytes_delivered)]);
        let help = "When the last part was delivered, in seconds since 1970.";
        let last = self.progress.delivered_at().map(one);
        text.gauge("reshare_sender_last_part_timestamp_seconds", help, last);
        let retries = self.retries.load(Ordering::Relaxed);
        text.counter("reshare_sender_retries_total", "Requests tried again.", [one(retries)]);
        text.0
    }
}
