//! The stage that opens both packages and merges them, ahead of whoever takes the ranges.

use std::sync::Arc;

use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use tokio::sync::mpsc::Sender;

use super::error::PipelineError;
use super::merged::{MergedRange, Merger};
use super::open_ahead::{OpenAhead, pool_of_parts};
use super::packages::Packages;
use super::pool::{BatchPool, Bound};
use super::sweep::{Sweep, parts_needed};

/// Ranges that are merged and taken: the merger may hold two.
const MERGED: Bound = Bound { bytes: 232 << 20, least: 2 };

/// Opens and merges on a thread of its own.
pub(crate) struct Merging {
    pub(crate) packages: Arc<Packages>,
    /// Ascending.
    pub(crate) segments: Vec<IdRange>,
    /// Threads that open parts.
    pub(crate) threads: usize,
    pub(crate) rows_per_range: usize,
    /// Merged ranges that there may be at the same time, where they are not too large.
    pub(crate) ranges: usize,
    pub(crate) progress: Arc<Progress>,
    pub(crate) sender: Sender<MergedRange>,
}

impl Merging {
    /// Merges until the end, or until nobody takes ranges any more.
    pub(crate) fn run(self) -> Result<(), PipelineError> {
        let Self { packages, segments, threads, rows_per_range, ranges, progress, sender } = self;
        let layout = packages.layout();
        let needed = parts_needed(packages.ranges(), &segments);
        let parts = pool_of_parts(layout, packages.part_rows_at_most(), threads);
        let open = Box::new({
            let packages = Arc::clone(&packages);
            move |part, batch: &mut _| packages.open_part(part, batch)
        });
        let mut ahead = OpenAhead::start(needed, threads, parts, open)?;
        let merged = BatchPool::within(MERGED, Arc::clone(layout), rows_per_range, ranges);
        let mut merger = Merger::new(merged, rows_per_range);
        let mut sweep = Sweep::new(packages.ranges(), segments);
        while let Some(range) = merger.next(&mut sweep, |part| ahead.fetch(part))? {
            if progress.stopped() {
                return Err(PipelineError::Stopped);
            }
            let empty = range.rows.is_empty() && range.leftovers.is_empty();
            if !empty && sender.blocking_send(range).is_err() {
                // Every loader has ended: one of them says why.
                return Ok(());
            }
        }
        Ok(())
    }
}
