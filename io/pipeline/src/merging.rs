//! Opens both packages and merges them into rebuilt rows, range by range.

use std::sync::Arc;

use reshare_engine::merge::{join, merge};
use reshare_engine::rows::Rows;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use tokio::sync::mpsc::Sender;

use super::error::PipelineError;
use super::open_ahead::{OpenAhead, pool_of_parts};
use super::packages::Packages;
use super::pool::{BatchPool, Bound, PooledBatch};
use super::sweep::{HeldRows, PartRef, Step, Sweep, parts_needed};

/// Ranges that are merged but not taken yet; the merger may hold two of them.
const MERGED: Bound = Bound { bytes: 232 << 20, least: 2 };

/// Opens and merges on its own thread.
pub(crate) struct Merging {
    pub(crate) packages: Arc<Packages>,
    /// Ascending.
    pub(crate) segments: Vec<IdRange>,
    /// Threads that open parts.
    pub(crate) threads: usize,
    pub(crate) rows_per_range: usize,
    /// The most merged ranges at the same time; fewer if they are large.
    pub(crate) ranges: usize,
    pub(crate) progress: Arc<Progress>,
    pub(crate) tx: Sender<MergedRange>,
}

impl Merging {
    /// Merges until the end, or until no loader takes ranges any more.
    pub(crate) fn run(self) -> Result<(), PipelineError> {
        let Self { packages, segments, threads, rows_per_range, ranges, progress, tx } = self;
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
            if !empty && tx.blocking_send(range).is_err() {
                // Every loader has ended: one of them returns the cause.
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The most left-over ids in one range. A side that lacks millions of rows must not make the record
/// of one range that large.
const MAX_LEFTOVERS_PER_RANGE: usize = 65_536;

/// Rebuilt rows of one range of ids, and the ids that are left over there.
pub(crate) struct MergedRange {
    pub(crate) range: IdRange,
    pub(crate) rows: PooledBatch,
    pub(crate) leftovers: Leftovers,
}

/// Collects the steps of a sweep into ranges of up to a batch of rebuilt rows.
pub(crate) struct Merger {
    pool: Arc<BatchPool>,
    rows_per_range: usize,
    current: Option<MergedRange>,
}

impl Merger {
    /// Prepares to fill batches of `pool`, which have room for `rows_per_range` rows.
    pub(crate) fn new(pool: Arc<BatchPool>, rows_per_range: usize) -> Self {
        Self { pool, rows_per_range, current: None }
    }

    /// The next merged range; `None` at the end.
    ///
    /// # Errors
    /// Any error of `fetch`, and rows that two honest senders cannot have sent.
    pub(crate) fn next<H: HeldRows>(
        &mut self,
        sweep: &mut Sweep<'_, H>,
        mut fetch: impl FnMut(PartRef) -> Result<H, PipelineError>,
    ) -> Result<Option<MergedRange>, PipelineError> {
        loop {
            let room = self
                .current
                .as_ref()
                .map_or(self.rows_per_range, |current| self.rows_per_range - current.rows.len());
            let full = room == 0
                || self
                    .current
                    .as_ref()
                    .is_some_and(|current| current.leftovers.len() >= MAX_LEFTOVERS_PER_RANGE);
            if full {
                return Ok(self.current.take());
            }
            let Some(step) = sweep.step(room, &mut fetch)? else {
                return Ok(self.current.take());
            };
            // Ranges are contiguous, so a new segment begins a new range.
            if let Some(current) = &self.current
                && current.range.last().checked_add(1) != Some(step.range.first())
            {
                let finished = self.current.take();
                self.take_step(&step)?;
                return Ok(finished);
            }
            self.take_step(&step)?;
        }
    }

    fn take_step(&mut self, step: &Step<'_>) -> Result<(), PipelineError> {
        let pool = &self.pool;
        let current = self.current.get_or_insert_with(|| MergedRange {
            range: step.range,
            rows: pool.take_blocking(),
            leftovers: Leftovers::default(),
        });
        current.range = current.range.hull(step.range);
        match &step.rows {
            [Some(first), Some(second)] => merge_step(first, second, current)?,
            [Some(first), None] => current.leftovers.only_lower_sender.extend_from_slice(first.ids),
            [None, Some(second)] => {
                current.leftovers.only_higher_sender.extend_from_slice(second.ids)
            }
            [None, None] => {}
        }
        Ok(())
    }
}

fn merge_step(
    first: &Rows<'_>,
    second: &Rows<'_>,
    into: &mut MergedRange,
) -> Result<(), PipelineError> {
    let joined = join(first, second)?;
    merge(first, second, &joined.pairs, &mut into.rows)?;
    into.leftovers.only_lower_sender.extend(joined.only_first);
    into.leftovers.only_higher_sender.extend(joined.only_second);
    into.leftovers.disagreeing.extend(joined.disagree);
    Ok(())
}
