//! Takes loaded ranges back and loads them again from packages that have become others.

use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_postgres::load::Loader;
use reshare_postgres::progress_table::LoadedRange;
use reshare_postgres::redo::Redo;
use reshare_postgres::tries::Tries;
use reshare_postgres::write::RangeWriter;
use tokio::sync::mpsc::{Receiver, channel};

use super::checked_file::rows_digest;
use super::delivered_parts::DeliveredParts;
use super::error::PipelineError;
use super::merging::{MergedRange, Merging, Stretch, pool_of_ranges};
use super::rebuild::check;
use super::tasks::blocking;
use super::verify_digests::{digest_of, verify_digests};
use super::workers::{Target, Workers};

/// Loaded ranges that are to be loaded again.
pub(crate) struct Redoing<'a> {
    pub(crate) parts: &'a Arc<DeliveredParts>,
    pub(crate) target: &'a Target,
    pub(crate) workers: Workers,
    pub(crate) progress: &'a Arc<Progress>,
}

/// What was loaded again.
#[derive(Debug, Default)]
pub(crate) struct Redone {
    /// The ranges as they had been loaded.
    pub(crate) ranges: Vec<IdRange>,
    /// Ranges that were asked for, and are of these packages already.
    pub(crate) kept: Vec<IdRange>,
    /// The rows that are there now.
    pub(crate) rows: u64,
}

impl Redoing<'_> {
    /// Takes back every loaded range that has some of `redo`, and loads its ids from the packages:
    /// each range in one transaction, so that the table has the old rows or the new ones.
    ///
    /// Nothing is changed before the rows of all of them were found to be as they were loaded, and
    /// the packages to be sound there. A range that was loaded from these very parts stays, so that
    /// a run that was interrupted goes on where it was.
    ///
    /// # Errors
    /// [`PipelineError::RowsChanged`] when other rows are there than were loaded; what a rebuild
    /// finds in packages and table. What was committed before is kept.
    pub(crate) async fn run(
        &self,
        loader: &mut Loader,
        redo: &[IdRange],
    ) -> Result<Redone, PipelineError> {
        let Self { parts, target, workers, progress } = self;
        let named = loader.ranges_to_redo(redo).await?;
        let is_named = |ids: IdRange| named.iter().any(|range| range.ids == ids);
        loader.check_sources(|ids| if is_named(ids) { None } else { parts.load_source(ids) })?;
        if let Some(range) = named.iter().find(|range| parts.load_source(range.ids).is_none()) {
            return Err(PipelineError::NotCovered { range: range.ids });
        }
        let found = verify_digests(&target.source, named.clone(), *workers, progress).await?;
        if !found.differing.is_empty() {
            return Err(self.rows_changed(found.differing));
        }
        let is_of_these = |range: &LoadedRange| {
            parts.load_source(range.ids).is_some_and(|source| source.is_recorded(&range.source))
        };
        let (kept, ranges): (Vec<_>, Vec<_>) = named.into_iter().partition(is_of_these);
        let ids = |ranges: &[LoadedRange]| ranges.iter().map(|range| range.ids).collect::<Vec<_>>();
        let (kept, segments) = (ids(&kept), ids(&ranges));
        let rows = self.load_again(loader, &ranges, &segments).await?;
        Ok(Redone { ranges: segments, kept, rows })
    }

    /// Merges and loads the ids of ascending ranges; returns how many rows were written. A range
    /// that the server undoes in favour of another transaction is merged and written again.
    async fn load_again(
        &self,
        loader: &mut Loader,
        ranges: &[LoadedRange],
        segments: &[IdRange],
    ) -> Result<u64, PipelineError> {
        let Self { parts, target, progress, .. } = self;
        let Some(bounds) = segments.iter().copied().reduce(IdRange::hull) else { return Ok(0) };
        progress.begin("check the packages", 0);
        parts.check_there(segments)?;
        let on_conflict = target.options.on_conflict;
        let rows = check(loader, on_conflict, parts, bounds, segments, progress).await?;
        progress.begin("load again", rows);
        let (mut committed, mut tries) = (Committed::default(), Tries::default());
        while committed.ranges < ranges.len() {
            let before = committed.ranges;
            let left = (&ranges[before..], &segments[before..]);
            match self.merge_and_write(loader, left, &mut committed).await {
                Ok(()) => {}
                Err(PipelineError::Load(error)) => {
                    if committed.ranges > before {
                        tries = Tries::default();
                    }
                    let ids = ranges[committed.ranges].ids;
                    tries.after(&format!("ids {ids}"), error).await?;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(committed.rows)
    }

    /// Merges and loads some ranges, and counts those that are committed.
    async fn merge_and_write(
        &self,
        loader: &Loader,
        (ranges, segments): (&[LoadedRange], &[IdRange]),
        committed: &mut Committed,
    ) -> Result<(), PipelineError> {
        let Self { parts, progress, workers, .. } = self;
        let rows_per_range = workers.rows_per_part.get();
        let (tx, merged) = channel(1);
        let (stretch_tx, stretches) = channel(segments.len());
        let merging = Merging {
            threads: workers.threads,
            // One being filled, one on its way, one being written.
            pool: pool_of_ranges(parts.layout(), rows_per_range, 3),
            progress: Arc::clone(progress),
            frontier: Arc::default(),
            tx,
        };
        for segment in segments {
            let (parts, segments) = (Arc::clone(parts), vec![*segment]);
            // The queue has room for all. Empty ranges are recorded: the end of each is seen here.
            let stretch = Stretch { parts, segments, rows_per_range, records_empty: true };
            let _ = stretch_tx.try_send(stretch);
        }
        drop(stretch_tx);
        let merging = tokio::spawn(blocking(move || merging.run(stretches)));
        let mut writing = Writing { merged, writer: loader.writer(), redoing: self, committed };
        let written = writing.write_all(ranges).await;
        let Writing { merged, writer, .. } = writing;
        // A merger that nobody takes ranges from ends.
        drop(merged);
        let merged = merging.await.unwrap_or(Err(PipelineError::WorkerLost));
        match (written, merged) {
            (Ok(true), Ok(())) => {
                writer.close().await;
                Ok(())
            }
            (Err(error), _) | (Ok(_), Err(error)) => Err(error),
            (Ok(false), Ok(())) => Err(PipelineError::WorkerLost),
        }
    }

    fn rows_changed(&self, ranges: Vec<IdRange>) -> PipelineError {
        PipelineError::RowsChanged { table: self.target.source.table.name().clone(), ranges }
    }
}

/// What the table has of a redo so far.
#[derive(Default)]
struct Committed {
    ranges: usize,
    rows: u64,
}

/// The end of a redo that writes.
struct Writing<'a> {
    merged: Receiver<MergedRange>,
    writer: RangeWriter,
    redoing: &'a Redoing<'a>,
    committed: &'a mut Committed,
}

impl Writing<'_> {
    /// Loads one range after the other again; `false` when the merger has ended before its end.
    async fn write_all(&mut self, ranges: &[LoadedRange]) -> Result<bool, PipelineError> {
        let Redoing { target, workers, progress, .. } = self.redoing;
        let layout = target.source.table.layout();
        let mut page = RowBatch::with_capacity(Arc::clone(layout), workers.rows_per_part.get());
        for recorded in ranges {
            let mut redo = self.writer.begin_redo(recorded).await?;
            let found = digest_of(recorded, &mut redo, &mut page, |_| {}).await?;
            if found != (recorded.rows, recorded.digest) {
                return Err(self.redoing.rows_changed(vec![recorded.ids]));
            }
            redo.remove().await?;
            let Some(written) = write_range(&mut self.merged, &mut redo, recorded.ids).await?
            else {
                return Ok(false);
            };
            redo.commit().await?;
            self.committed.ranges += 1;
            self.committed.rows += written;
            progress.add(written, written * layout.row_share_bytes() as u64);
        }
        Ok(true)
    }
}

/// Writes what was merged of one range; `None` when the merger has ended before its end.
async fn write_range(
    merged: &mut Receiver<MergedRange>,
    redo: &mut Redo<'_>,
    ids: IdRange,
) -> Result<Option<u64>, PipelineError> {
    let mut written = 0;
    loop {
        let Some(merged) = merged.recv().await else { return Ok(None) };
        let rows = merged.rows.rows();
        let digest = tokio::task::block_in_place(|| rows_digest(&rows));
        if let Some(source) = merged.source {
            redo.set_source(source);
        }
        redo.write(merged.range, &rows, digest, &merged.leftovers).await?;
        written += rows.len() as u64;
        if merged.range.last() == ids.last() {
            return Ok(Some(written));
        }
    }
}
