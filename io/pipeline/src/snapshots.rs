//! Reads what is left of a sender's package in one snapshot after the other.
//!
//! An open snapshot keeps VACUUM from removing row versions of the whole database that died after
//! it was taken. So a snapshot may have a maximum age, after which it begins no more parts. The
//! rest is then cut again in the next snapshot. The same is done where a standby ends a snapshot
//! before its time, to replay what conflicts with it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reshare_exchange::progress::Progress;
use reshare_files::causes::with_causes;
use reshare_files::ids::IdRange;
use reshare_format::package::Timestamp;
use reshare_format::session::Session;
use reshare_postgres::export::{BadRow, ExportError, Snapshot};
use reshare_postgres::plan::{ExportIds, PlannedPart};

use super::covers::tile;
use super::error::PipelineError;
use super::read_parts::{PartRead, PartsRead};
use super::resume::Resume;
use super::rows_wanted::RowIds;
use super::sealer::{LeftOut, PartPlace, Sealer, check_parts};
use super::workers::{Source, Workers};
use crate::ledger::LedgerPart;

/// What is needed to read one sender's table.
pub(crate) struct Reading<'a> {
    pub(crate) session: &'a Session,
    pub(crate) ids: &'a RowIds,
    pub(crate) source: &'a Source,
    pub(crate) workers: Workers,
    pub(crate) sealer: &'a Arc<Sealer>,
    pub(crate) progress: &'a Arc<Progress>,
}

/// A part to be read.
struct CutPart {
    index: u64,
    part: PlannedPart,
    /// What an earlier run has left out of it, which stays out.
    bad_rows: Vec<BadRow>,
}

/// What the snapshots so far have come to.
#[derive(Default)]
struct SoFar {
    parts_read: usize,
    has_looked_for_added_rows: bool,
    patience: Patience,
}

impl Reading<'_> {
    /// Reads, blinds and seals every part.
    ///
    /// Ids are read once each, in any number of snapshots, and in ascending order in each of them.
    /// A row that is added at an id that was already passed is not read. Where the sender renews
    /// its snapshots, one that a standby ends is followed by another, too.
    ///
    /// # Errors
    /// A [`PipelineError`]; sealed parts are kept.
    pub(crate) async fn run(&self, mut left: Resume) -> Result<(), PipelineError> {
        self.progress.begin("count the rows", 0);
        let mut so_far = SoFar::default();
        loop {
            let before = so_far.parts_read;
            let lost = match self.read_one_snapshot(&mut left, &mut so_far).await {
                Ok(None) => return Ok(()),
                Ok(Some(lost)) => lost,
                Err(PipelineError::Export(error)) if error.is_lost_on_standby() => Some(error),
                Err(error) => return Err(error),
            };
            if let Some(lost) = lost {
                if self.sealer.sender().snapshot_max_age().is_none() {
                    return Err(lost.into());
                }
                let was_of_use = so_far.parts_read > before;
                so_far.patience.after(lost, was_of_use, self.progress).await?;
            }
        }
    }

    /// Reads what one snapshot is good for; returns `None` when all is read, and else why the
    /// snapshot has ended, if not for its age.
    async fn read_one_snapshot(
        &self,
        left: &mut Resume,
        so_far: &mut SoFar,
    ) -> Result<Option<Option<ExportError>>, PipelineError> {
        let mut snapshot = Snapshot::open(&self.source.database, &self.source.table).await?;
        self.sealer.note_snapshot();
        if !so_far.has_looked_for_added_rows {
            self.look_for_added_rows(&mut snapshot, left).await?;
            so_far.has_looked_for_added_rows = true;
        }
        let plan = self.plan(&mut snapshot, left).await?;
        check_parts(so_far.parts_read + plan.len())?;
        let rows = plan.iter().map(|cut| cut.part.rows).sum();
        if so_far.parts_read == 0 {
            self.progress.begin("send", rows);
            if self.sealer.destination().is_receiver() {
                self.progress.expect_delivery();
            }
        } else {
            self.progress.expect(rows);
            tracing::info!(rows, "took a new snapshot for the rows that are left");
        }
        let max_age = self.sealer.sender().snapshot_max_age();
        let PartsRead { done, lost } = self.read(&snapshot, max_age, &plan).await?;
        // All rows are read: release the snapshot before the last parts have arrived.
        snapshot.close().await;
        if done.len() == plan.len() {
            return Ok(None);
        }
        let done: Vec<&CutPart> = done.iter().filter_map(|at| plan.get(*at)).collect();
        left.remove(&done.iter().map(|cut| cut.part.ids).collect::<Vec<IdRange>>());
        let used = done.iter().map(|cut| cut.index + 1).max();
        left.next_index = left.next_index.max(used.unwrap_or(0));
        so_far.parts_read += done.len();
        Ok(Some(lost))
    }

    /// Reads the parts of a plan in one snapshot until it is too old or lost.
    async fn read(
        &self,
        snapshot: &Snapshot,
        max_age: Option<Duration>,
        plan: &[CutPart],
    ) -> Result<PartsRead, PipelineError> {
        let exported_at = Timestamp::from(snapshot.taken_at());
        let until = max_age.and_then(|age| snapshot.reaches_age_at(age));
        if until.is_some_and(|until| Instant::now() >= until) {
            tracing::warn!(
                "finding where to cut the parts took longer than a snapshot may be old: each \
                 snapshot is good for one part a connection; allow it more time"
            );
        }
        let known: Vec<_> = plan.iter().map(|cut| (cut.index, cut.bad_rows.clone())).collect();
        let plan: Vec<PlannedPart> = plan.iter().map(|cut| cut.part.clone()).collect();
        let read = PartRead {
            pool: self.workers.pool_for(self.session.layout(), plan.iter().map(|part| part.rows)),
            plan,
            progress: Arc::clone(self.progress),
            connections: self.workers.connections,
            threads: self.workers.threads,
            until,
            on_bad_row: self.source.on_bad_row,
            work: Box::new({
                let sealer = Arc::clone(self.sealer);
                move |place, part, batch, mut bad_rows| {
                    let (index, known) = &known[place];
                    bad_rows.extend(known);
                    bad_rows.sort_unstable_by_key(|row| row.id);
                    let place = PartPlace { index: *index, ids: part.ids, exported_at };
                    sealer.seal_in_place(place, batch, bad_rows)
                }
            }),
        };
        read.run(snapshot).await
    }

    /// The parts to be read, each with its index, in id order.
    ///
    /// Parts that an earlier run cut keep their bounds, which are in the ledger. All others are cut
    /// by the present rows.
    async fn plan(
        &self,
        snapshot: &mut Snapshot,
        left: &mut Resume,
    ) -> Result<Vec<CutPart>, PipelineError> {
        let exported_at = Timestamp::from(snapshot.taken_at());
        let limit = self.session.part_rows_limit() as u64;
        let mut plan = Vec::new();
        // Where a query fails, what is left is still right: the next snapshot begins with it.
        let mut place = 0;
        while let Some(LedgerPart { index, ids, bad_rows, .. }) = left.missing.get(place).cloned() {
            let without: Vec<i64> = bad_rows.iter().map(|row| row.id).collect();
            let part = snapshot.recut(&self.ids.export_ids(), ids, &without).await?;
            match part.rows {
                0 => {
                    self.record_empty(PartPlace { index, ids, exported_at }, bad_rows)?;
                    left.missing.swap_remove(place);
                }
                // So many rows were added that they no longer fit into one part.
                rows if rows > limit => {
                    left.gaps.push(ids);
                    left.missing.swap_remove(place);
                }
                _ => {
                    plan.push(CutPart { index, part, bad_rows });
                    place += 1;
                }
            }
        }
        let (mut next_index, mut place) = (left.next_index, 0);
        while let Some(gap) = left.gaps.get(place).copied() {
            let mut parts = match self.ids.export_ids_within(gap) {
                Some(ids) => self.plan_gap(snapshot, &ids).await?,
                None => vec![],
            };
            tile(gap, parts.iter_mut().map(|part| &mut part.ids));
            if parts.is_empty() {
                self.record_empty(PartPlace { index: next_index, ids: gap, exported_at }, vec![])?;
                next_index += 1;
                left.next_index = next_index;
                left.gaps.swap_remove(place);
            } else {
                place += 1;
            }
            for part in parts {
                plan.push(CutPart { index: next_index, part, bad_rows: vec![] });
                next_index += 1;
            }
        }
        plan.sort_by_key(|cut| cut.part.ids);
        Ok(plan)
    }

    fn record_empty(&self, place: PartPlace, bad_rows: Vec<BadRow>) -> Result<(), PipelineError> {
        let left_out = LeftOut { bad_rows, ..LeftOut::default() };
        tokio::task::block_in_place(|| self.sealer.record_empty(place, left_out))
    }

    /// Counts the rows in ids that earlier runs have covered: those that were added since are not
    /// sent, and nobody must believe that they were.
    async fn look_for_added_rows(
        &self,
        snapshot: &mut Snapshot,
        left: &Resume,
    ) -> Result<(), PipelineError> {
        let mut added = 0;
        for (ids, rows) in &left.covered {
            let now = snapshot.recut(&self.ids.export_ids(), *ids, &[]).await?.rows;
            added += now.saturating_sub(*rows);
        }
        self.sealer.note_added_later(added);
        Ok(())
    }

    /// The parts of ids of which no part was cut yet.
    async fn plan_gap(
        &self,
        snapshot: &mut Snapshot,
        ids: &ExportIds<'_>,
    ) -> Result<Vec<PlannedPart>, PipelineError> {
        let rows = snapshot.count_up_to(ids, self.workers.rows_for_full_parts()).await?;
        Ok(snapshot.plan(ids, self.workers.rows_per_part_of(rows)).await?)
    }
}

/// How many snapshots in a row a standby may end before one of them was of use.
const IN_VAIN: u32 = 5;
/// The pause before the next snapshot, which doubles with each that was of no use.
const PAUSE: Duration = Duration::from_millis(200);

/// How often a snapshot was lost to no avail.
#[derive(Default)]
pub(crate) struct Patience {
    in_vain: u32,
}

impl Patience {
    /// Waits a moment before the next snapshot.
    ///
    /// # Errors
    /// The loss itself when too many in a row were of no use, or the run is to stop.
    pub(crate) async fn after(
        &mut self,
        lost: ExportError,
        was_of_use: bool,
        progress: &Progress,
    ) -> Result<(), PipelineError> {
        let Some(pause) = self.pause(was_of_use).filter(|_| !progress.stopped()) else {
            return Err(lost.into());
        };
        tracing::warn!("{}; taking a new snapshot", with_causes(&lost));
        // Either end will do.
        let _ = tokio::time::timeout(pause, progress.until_stopped()).await;
        Ok(())
    }

    /// How long to wait after a loss; `None` when it is one too many.
    fn pause(&mut self, was_of_use: bool) -> Option<Duration> {
        self.in_vain = if was_of_use { 1 } else { self.in_vain + 1 };
        (self.in_vain < IN_VAIN).then(|| PAUSE * 2_u32.pow(self.in_vain - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn snapshots_that_are_lost_in_a_row_end_a_run_and_those_of_use_do_not() {
        let mut patience = Patience::default();
        for _ in 0..100 {
            assert_eq!(patience.pause(true), Some(PAUSE));
        }
        let pauses: Vec<_> = (0..4).map(|_| patience.pause(false)).collect();
        assert_eq!(pauses, [Some(PAUSE * 2), Some(PAUSE * 4), Some(PAUSE * 8), None]);
        assert_eq!(patience.pause(true), Some(PAUSE));
        let mut patience = Patience::default();
        assert_eq!((0..9).take_while(|_| patience.pause(false).is_some()).count(), 4);
    }
}
