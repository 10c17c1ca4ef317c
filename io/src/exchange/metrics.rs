//! Figures for Prometheus, in its text format (version 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use super::inbox::Inbox;
use crate::pipeline::progress::Progress;

/// What is counted while the server runs; nothing of it is secret.
#[derive(Debug, Default)]
pub struct Metrics {
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

    /// Writes all figures.
    pub(super) fn text(&self, inbox: &Inbox, rebuild: &Progress) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, samples: Vec<(String, u64)>| {
            // Writing to a string does not fail.
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let figures = inbox.slots().each_ref().map(|(party, slot)| (party, slot.figures()));
        let each = |value: fn((u64, u64, Option<u64>)) -> u64| {
            let sample =
                |(party, figures): &(_, _)| (format!("{{sender=\"{party}\"}}"), value(*figures));
            figures.iter().map(sample).collect::<Vec<_>>()
        };
        family("reshare_parts", "gauge", "Parts in the inbox.", each(|now| now.0));
        family("reshare_bytes", "gauge", "Bytes of the parts in the inbox.", each(|now| now.1));
        let rows = each(|now| now.2.unwrap_or(0));
        family("reshare_rows", "gauge", "Rows of the package, once it is closed.", rows);
        let closed = each(|now| u64::from(now.2.is_some()));
        family("reshare_package_closed", "gauge", "Whether the manifest has arrived.", closed);
        let accepted = vec![(String::new(), self.accepted.load(Ordering::Relaxed))];
        family("reshare_requests_accepted_total", "counter", "Requests served.", accepted);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.iter().map(|(why, count)| (format!("{{reason=\"{why}\"}}"), *count));
        let help = "Connections and requests refused.";
        family("reshare_refused_total", "counter", help, refused.collect());
        let now = rebuild.snapshot();
        let one = |value| vec![(String::new(), value)];
        let help = "Rows that the rebuild goes through; 0 before it runs.";
        family("reshare_rebuild_rows", "gauge", help, one(now.rows_total));
        let done = one(now.rows_done + now.rows_skipped);
        family("reshare_rebuild_rows_done", "gauge", "Rows that are loaded.", done);
        text
    }
}
