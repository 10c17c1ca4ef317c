//! Opens both packages and merges them into rebuilt rows, range by range.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reshare_engine::layout::RowLayout;
use reshare_engine::merge::{join, merge};
use reshare_engine::rows::Rows;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_postgres::load_source::LoadSource;
use tokio::sync::mpsc::{Receiver, Sender};

use super::commit_frontier::CommitFrontier;
use super::delivered_parts::DeliveredParts;
use super::error::PipelineError;
use super::open_ahead::{OpenAhead, pool_of_parts};
use super::pool::{BatchPool, Bound, PooledBatch};
use super::sweep::{HeldRows, PartRef, Step, Sweep, parts_needed};

/// Ranges that are merged but not taken yet; the merger may hold two of them.
const MERGED: Bound = Bound { bytes: 232 << 20, least: 2 };

/// Ids that can be merged, and the parts that have them.
pub(crate) struct Stretch {
    pub(crate) parts: Arc<DeliveredParts>,
    /// Ascending.
    pub(crate) segments: Vec<IdRange>,
    pub(crate) rows_per_range: usize,
    /// Whether ranges without a row are recorded, too: a part may be removed only when all its ids
    /// are in the progress table, so that no restart asks for it.
    pub(crate) records_empty: bool,
}

/// Opens and merges on a thread of its own.
pub(crate) struct Merging {
    /// Threads that open parts.
    pub(crate) threads: usize,
    /// Merged ranges, which bound the memory.
    pub(crate) pool: Arc<BatchPool>,
    pub(crate) progress: Arc<Progress>,
    /// What became of the ranges.
    pub(crate) frontier: Arc<Mutex<CommitFrontier>>,
    pub(crate) tx: Sender<MergedRange>,
}

/// Batches for merged ranges: as many as are wanted and not too large.
pub(crate) fn pool_of_ranges(
    layout: &Arc<RowLayout>,
    rows_per_range: usize,
    wanted: usize,
) -> Arc<BatchPool> {
    BatchPool::within(MERGED, Arc::clone(layout), rows_per_range, wanted)
}

impl Merging {
    /// Merges one stretch after the other, until no other comes or nobody takes ranges any more.
    pub(crate) fn run(self, mut stretches: Receiver<Stretch>) -> Result<(), PipelineError> {
        let mut parts = None;
        while let Some(stretch) = stretches.blocking_recv() {
            if !self.merge(stretch, &mut parts)? {
                break;
            }
        }
        Ok(())
    }

    /// Merges one stretch; `false` when nobody takes ranges any more. The pool of parts is kept
    /// for the next stretch.
    fn merge(
        &self,
        stretch: Stretch,
        pool: &mut Option<Arc<BatchPool>>,
    ) -> Result<bool, PipelineError> {
        let Stretch { parts, segments, rows_per_range, records_empty } = stretch;
        let needed = parts_needed(parts.ranges(), &segments);
        let rows = parts.part_rows_at_most();
        let kept = pool.take().filter(|pool| pool.rows_per_batch() >= rows);
        let opened = kept.unwrap_or_else(|| pool_of_parts(parts.layout(), rows, self.threads));
        *pool = Some(Arc::clone(&opened));
        let open = Box::new({
            let parts = Arc::clone(&parts);
            move |part, batch: &mut _| parts.open_part(part, batch)
        });
        let mut ahead = OpenAhead::start(needed, self.threads, opened, open)?;
        let mut merger = Merger::new(Arc::clone(&self.pool), rows_per_range);
        let end = segments.last().map(|segment| segment.last());
        let mut sweep = Sweep::new(parts.ranges(), segments);
        while let Some(mut range) = merger.next(&mut sweep, |part| ahead.fetch(part))? {
            if self.progress.stopped() {
                return Err(PipelineError::Stopped);
            }
            if range.rows.is_empty() && range.leftovers.is_empty() && !records_empty {
                continue;
            }
            range.source = parts.load_source(range.range);
            self.lock().merged(range.range);
            if self.tx.blocking_send(range).is_err() {
                // Every loader has ended: one of them returns the cause.
                return Ok(false);
            }
        }
        if let Some(end) = end {
            self.lock().nothing_up_to(end);
        }
        Ok(true)
    }

    fn lock(&self) -> MutexGuard<'_, CommitFrontier> {
        self.frontier.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// What it was merged from, where all parts of its ids are known.
    pub(crate) source: Option<LoadSource>,
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
            source: None,
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
