//! Counters of a running pipeline or delivery, and the request that it stop.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

/// Stages that are remembered; a run has some ten.
const MOST_STAGES: usize = 100;

/// Counters of one run, shared by its stages and by what displays them.
///
/// Relaxed atomics: the figures are for people, and no decision depends on them.
pub struct Progress {
    rows_total: AtomicU64,
    rows_done: AtomicU64,
    rows_skipped: AtomicU64,
    bytes_done: AtomicU64,
    parts_delivered: AtomicU64,
    rows_delivered: AtomicU64,
    bytes_delivered: AtomicU64,
    steps_done: AtomicU64,
    /// Whether more rows than are counted now may come.
    is_open: AtomicBool,
    /// Whether rows count when they are delivered, and not when they are read.
    is_delivery: AtomicBool,
    /// Seconds since 1970 of the last delivered part, over all stages; 0 before there is one.
    delivered_at: AtomicU64,
    stage: Mutex<(&'static str, Instant)>,
    /// Stages that have ended, with when they began.
    ended: Mutex<Vec<(Instant, ProgressSnapshot)>>,
    detail: OnceLock<Detail>,
    stop: watch::Sender<bool>,
}

/// Says in a few words what the counters do not.
type Detail = Box<dyn Fn() -> String + Send + Sync>;

/// The counters at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProgressSnapshot {
    /// What the run is doing, in a few words.
    pub stage: &'static str,
    /// For how long it has been doing that.
    pub elapsed: Duration,
    /// Rows to process in total; 0 while that is unknown.
    pub rows_total: u64,
    /// Rows processed in this run.
    pub rows_done: u64,
    /// Rows processed by earlier runs.
    pub rows_skipped: u64,
    /// Bytes of share data processed in this run.
    pub bytes_done: u64,
    /// Parts that this run delivered while it was making others.
    pub parts_delivered: u64,
    /// Their rows.
    pub rows_delivered: u64,
    /// Their sealed bytes.
    pub bytes_delivered: u64,
    /// Whether a row is done only when it is delivered.
    pub is_delivery: bool,
    /// How often rows were counted as done, now or before: the number of parts or ranges of ids.
    pub steps_done: u64,
    /// Whether more rows than `rows_total` may come.
    pub is_open: bool,
}

impl ProgressSnapshot {
    /// Rows of this stage and run so far, and their bytes: of share data, or sealed where a row is
    /// done only when it is delivered.
    #[must_use]
    pub fn done(&self) -> (u64, u64) {
        match self.is_delivery {
            true => (self.rows_delivered, self.bytes_delivered),
            false => (self.rows_done, self.bytes_done),
        }
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self {
            rows_total: AtomicU64::new(0),
            rows_done: AtomicU64::new(0),
            rows_skipped: AtomicU64::new(0),
            bytes_done: AtomicU64::new(0),
            parts_delivered: AtomicU64::new(0),
            rows_delivered: AtomicU64::new(0),
            bytes_delivered: AtomicU64::new(0),
            steps_done: AtomicU64::new(0),
            is_open: AtomicBool::new(false),
            is_delivery: AtomicBool::new(false),
            delivered_at: AtomicU64::new(0),
            stage: Mutex::new(("start", Instant::now())),
            ended: Mutex::new(Vec::new()),
            detail: OnceLock::new(),
            stop: watch::Sender::new(false),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.snapshot().fmt(f)
    }
}

impl Progress {
    /// Begins a stage, with its name and its number of rows.
    pub fn begin(&self, stage: &'static str, rows_total: u64) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.len() < MOST_STAGES {
            ended.push(self.now());
        }
        drop(ended);
        let stage = (stage, Instant::now());
        *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = stage;
        self.rows_done.store(0, Ordering::Relaxed);
        self.rows_skipped.store(0, Ordering::Relaxed);
        self.bytes_done.store(0, Ordering::Relaxed);
        self.parts_delivered.store(0, Ordering::Relaxed);
        self.rows_delivered.store(0, Ordering::Relaxed);
        self.bytes_delivered.store(0, Ordering::Relaxed);
        self.is_delivery.store(false, Ordering::Relaxed);
        self.steps_done.store(0, Ordering::Relaxed);
        self.is_open.store(false, Ordering::Relaxed);
        self.rows_total.store(rows_total, Ordering::Relaxed);
    }

    /// Corrects how many rows are left in this stage.
    pub fn expect(&self, rows_left: u64) {
        let done = self.rows_done.load(Ordering::Relaxed);
        self.rows_total.store(done + rows_left, Ordering::Relaxed);
    }

    /// Adds to the rows that are to be gone through in this stage.
    pub fn expect_more(&self, rows: u64) {
        self.rows_total.fetch_add(rows, Ordering::Relaxed);
    }

    /// Says whether more rows than were expected so far may come: then nobody knows what is left.
    pub fn set_open(&self, is_open: bool) {
        self.is_open.store(is_open, Ordering::Relaxed);
    }

    /// Counts rows as done.
    pub fn add(&self, rows: u64, share_bytes: u64) {
        self.rows_done.fetch_add(rows, Ordering::Relaxed);
        self.bytes_done.fetch_add(share_bytes, Ordering::Relaxed);
        self.steps_done.fetch_add(1, Ordering::Relaxed);
    }

    /// In this stage rows are made first, and are done when they are delivered.
    pub fn expect_delivery(&self) {
        self.is_delivery.store(true, Ordering::Relaxed);
    }

    /// Counts a part as delivered. Its rows are counted when the part is made, too.
    pub fn deliver_part(&self, rows: u64, sealed_bytes: u64) {
        self.parts_delivered.fetch_add(1, Ordering::Relaxed);
        self.rows_delivered.fetch_add(rows, Ordering::Relaxed);
        self.bytes_delivered.fetch_add(sealed_bytes, Ordering::Relaxed);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seconds = now.map_or(0, |now| now.as_secs());
        self.delivered_at.store(seconds, Ordering::Relaxed);
    }

    /// When the last part was delivered, in seconds since 1970; `None` before there was one.
    #[must_use]
    pub fn delivered_at(&self) -> Option<u64> {
        Some(self.delivered_at.load(Ordering::Relaxed)).filter(|seconds| *seconds > 0)
    }

    /// Sets what is said in addition to the counters. A run does that once.
    pub fn describe(&self, detail: impl Fn() -> String + Send + Sync + 'static) {
        let _ = self.detail.set(Box::new(detail));
    }

    /// What is said in addition to the counters; empty when there is nothing.
    #[must_use]
    pub fn detail(&self) -> String {
        self.detail.get().map_or_else(String::new, |detail| detail())
    }

    /// Counts rows that need no work, since an earlier run did them.
    pub fn skip(&self, rows: u64) {
        self.rows_skipped.fetch_add(rows, Ordering::Relaxed);
        self.steps_done.fetch_add(u64::from(rows > 0), Ordering::Relaxed);
    }

    /// Every stage so far, the one of now last: when it began, and its counters.
    #[must_use]
    pub fn stages(&self) -> Vec<(Instant, ProgressSnapshot)> {
        let mut stages = self.ended.lock().unwrap_or_else(PoisonError::into_inner).clone();
        stages.push(self.now());
        stages
    }

    /// The counters now.
    #[must_use]
    pub fn snapshot(&self) -> ProgressSnapshot {
        self.now().1
    }

    fn now(&self) -> (Instant, ProgressSnapshot) {
        let (stage, since) = *self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let now = ProgressSnapshot {
            stage,
            elapsed: since.elapsed(),
            rows_total: self.rows_total.load(Ordering::Relaxed),
            rows_done: self.rows_done.load(Ordering::Relaxed),
            rows_skipped: self.rows_skipped.load(Ordering::Relaxed),
            bytes_done: self.bytes_done.load(Ordering::Relaxed),
            parts_delivered: self.parts_delivered.load(Ordering::Relaxed),
            rows_delivered: self.rows_delivered.load(Ordering::Relaxed),
            bytes_delivered: self.bytes_delivered.load(Ordering::Relaxed),
            is_delivery: self.is_delivery.load(Ordering::Relaxed),
            steps_done: self.steps_done.load(Ordering::Relaxed),
            is_open: self.is_open.load(Ordering::Relaxed),
        };
        (since, now)
    }

    /// Asks every stage to stop after its current part.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Whether the run was asked to stop.
    #[must_use]
    pub fn stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until the run is asked to stop.
    pub async fn until_stopped(&self) {
        // This cannot fail: the sender lives as long as `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_stage_resets_its_counters() {
        let progress = Progress::default();
        progress.begin("export", 10);
        progress.add(4, 400);
        progress.skip(2);
        let now = progress.snapshot();
        assert_eq!((now.stage, now.rows_total, now.rows_done), ("export", 10, 4));
        assert_eq!((now.rows_skipped, now.bytes_done, now.steps_done), (2, 400, 2));
        progress.expect_delivery();
        progress.deliver_part(4, 500);
        let now = progress.snapshot();
        assert_eq!((now.parts_delivered, now.rows_delivered, now.bytes_delivered), (1, 4, 500));
        assert!(now.is_delivery && progress.delivered_at().is_some());
        progress.begin("load", 5);
        let now = progress.snapshot();
        assert_eq!((now.rows_done, now.rows_delivered, now.is_delivery), (0, 0, false));
        assert!(progress.delivered_at().is_some());
        let stages = progress.stages();
        let rows = |place: usize| (stages[place].1.stage, stages[place].1.rows_done);
        assert_eq!([rows(0), rows(1), rows(2)], [("start", 0), ("export", 4), ("load", 0)]);
        assert_eq!((stages.len(), stages[1].1.rows_delivered), (3, 4));
        assert!(!progress.stopped());
        progress.stop();
        assert!(progress.stopped());
    }
}
