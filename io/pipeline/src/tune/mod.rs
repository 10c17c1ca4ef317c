//! Measures the stages of the pipelines on this machine, for some seconds, and leaves nothing
//! behind.
//!
//! Each stage is measured by itself to find the slowest: in a pipeline the stages overlap, and the
//! slowest sets the pace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reshare_engine::layout::RowLayout;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_exchange::progress::Progress;
use reshare_format::package::PartError;
use serde::Serialize;

use crate::error::PipelineError;

mod database;
mod machine;

pub use database::{DatabaseSpeed, measure_database};
pub use machine::{MachineSpeed, measure_machine};

/// A measured speed.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Speed {
    /// Concurrent threads or connections.
    #[serde(rename = "hands")]
    pub workers: usize,
    /// Rows a second, for all workers together.
    pub rows_per_second: f64,
    /// Bytes of share data a second.
    pub share_bytes_per_second: f64,
}

impl Speed {
    fn of(workers: usize, rows: u64, layout: &RowLayout, took: Duration) -> Self {
        let rows_per_second = rows as f64 / took.as_secs_f64().max(1e-9);
        let share_bytes_per_second = rows_per_second * layout.row_share_bytes() as f64;
        Self { workers, rows_per_second, share_bytes_per_second }
    }
}

/// The fewest workers that come within a twentieth of the highest speed. More would only take
/// memory and resources of others.
#[must_use]
pub fn fewest_workers(speeds: &[Speed]) -> Option<Speed> {
    let best = speeds.iter().map(|speed| speed.rows_per_second).fold(0.0, f64::max);
    let enough = speeds.iter().filter(|speed| speed.rows_per_second >= 0.95 * best);
    enough.min_by_key(|speed| speed.workers).copied()
}

/// Numbers of workers to try: 1, 2, 4 and so on, and `most`.
#[must_use]
pub fn worker_counts(most: usize) -> Vec<usize> {
    let powers = std::iter::successors(Some(1_usize), |workers| workers.checked_mul(2));
    let mut workers: Vec<usize> = powers.take_while(|workers| *workers < most).collect();
    workers.push(most.max(1));
    workers
}

/// Why nothing was measured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TuneError {
    /// The threads.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
    /// The directory for parts.
    #[error("cannot write to the directory that is measured")]
    Directory(#[source] std::io::Error),
    /// A part.
    #[error("a part cannot be sealed")]
    Part(#[from] PartError),
    /// The stages themselves.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

/// Rows with arbitrary content, which are discarded.
fn some_rows(layout: &Arc<RowLayout>, rows: usize) -> RowBatch {
    let mut batch = RowBatch::with_capacity(Arc::clone(layout), rows);
    let agree: Vec<AgreeValue> = layout.agree().iter().map(|_| AgreeValue::Null).collect();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::new();
    for id in 1..=rows as i64 {
        let shares: Vec<Vec<u8>> = layout
            .shares()
            .iter()
            .map(|column| {
                bytes.clear();
                while bytes.len() < column.len * 2 {
                    // xorshift64: not for secrets, and nothing compresses it.
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    bytes.extend_from_slice(&state.to_le_bytes());
                }
                bytes[..column.len * 2].to_vec()
            })
            .collect();
        let shares: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
        batch.push_bytes(id, &agree, &shares).expect("of the layout, and there is room");
    }
    batch
}

/// Repeats work until a time has passed, at least once, or the run is stopped.
///
/// `work` returns how many rows it processed.
fn over_and_over<E: From<PipelineError>>(
    time: Duration,
    progress: &Progress,
    mut work: impl FnMut() -> Result<u64, E>,
) -> Result<(u64, Duration), E> {
    let (start, mut rows) = (Instant::now(), 0);
    loop {
        if progress.stopped() {
            return Err(PipelineError::Stopped.into());
        }
        rows += work()?;
        if start.elapsed() >= time {
            return Ok((rows, start.elapsed()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn speed(workers: usize, rows_per_second: f64) -> Speed {
        Speed { workers, rows_per_second, share_bytes_per_second: 1.0 }
    }

    #[test]
    fn more_hands_are_taken_only_where_they_are_faster() {
        let speeds = [speed(1, 50.0), speed(2, 96.0), speed(4, 100.0)];
        assert_eq!(fewest_workers(&speeds).map(|speed| speed.workers), Some(2));
        assert_eq!(fewest_workers(&speeds[..1]).map(|speed| speed.workers), Some(1));
        assert!(fewest_workers(&[]).is_none());
    }

    #[test]
    fn hands_double_and_end_with_all() {
        assert_eq!(worker_counts(1), [1]);
        assert_eq!(worker_counts(4), [1, 2, 4]);
        assert_eq!(worker_counts(6), [1, 2, 4, 6]);
    }
}
