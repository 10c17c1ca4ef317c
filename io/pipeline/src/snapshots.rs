//! Reads what is left of a sender's package in one snapshot after the other.
//!
//! An open snapshot keeps VACUUM from removing row versions of the whole database that died after it
//! was taken. So a snapshot may have a maximum age, after which it begins no more parts. The rest is
//! then cut again in the next snapshot.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reshare_exchange::progress::Progress;
use reshare_format::package::Timestamp;
use reshare_format::session::Session;
use reshare_postgres::export::Snapshot;
use reshare_postgres::plan::{ExportIds, PlannedPart};

use super::covers::tile;
use super::error::PipelineError;
use super::read_parts::PartRead;
use super::resume::Resume;
use super::rows_wanted::RowIds;
use super::sealer::{PartPlace, Sealer, check_parts};
use super::workers::{Source, Workers};

/// What is needed to read one sender's table.
pub(crate) struct Reading<'a> {
    pub(crate) session: &'a Session,
    pub(crate) ids: &'a RowIds,
    pub(crate) source: &'a Source,
    pub(crate) workers: Workers,
    pub(crate) sealer: &'a Arc<Sealer>,
    pub(crate) progress: &'a Arc<Progress>,
}

impl Reading<'_> {
    /// Reads, blinds and seals every part.
    ///
    /// Ids are read once each, in ascending order, in any number of snapshots. A row that is added at
    /// an id that was already passed is not read.
    ///
    /// # Errors
    /// A [`PipelineError`]; sealed parts are kept.
    pub(crate) async fn run(&self, mut left: Resume) -> Result<(), PipelineError> {
        let max_age = self.sealer.sender().snapshot_max_age();
        self.progress.begin("count the rows", 0);
        let mut parts_read = 0;
        loop {
            let mut snapshot = Snapshot::open(&self.source.database, &self.source.table).await?;
            if parts_read == 0 {
                self.look_for_added_rows(&mut snapshot, &left).await?;
            }
            let plan = self.plan(&mut snapshot, &mut left).await?;
            check_parts(parts_read + plan.len())?;
            let rows = plan.iter().map(|(_, part)| part.rows).sum();
            if parts_read == 0 {
                self.progress.begin("send", rows);
                if self.sealer.destination().is_receiver() {
                    self.progress.expect_delivery();
                }
            } else {
                self.progress.expect(rows);
                tracing::info!(rows, "took a new snapshot for the rows that are left");
            }
            let read = self.read(&snapshot, max_age, &plan).await?;
            // All rows are read: release the snapshot before the last parts have arrived.
            snapshot.close().await;
            let (done, rest) = plan.split_at(read);
            let Some(((_, last), _)) = done.split_last().filter(|_| !rest.is_empty()) else {
                return Ok(());
            };
            left.go_on_after(last.ids.last());
            let used = done.iter().map(|(index, _)| index + 1).max();
            left.next_index = left.next_index.max(used.unwrap_or(0));
            parts_read += read;
        }
    }

    /// Reads the parts of a plan in one snapshot until it is too old; returns how many were read.
    async fn read(
        &self,
        snapshot: &Snapshot,
        max_age: Option<Duration>,
        plan: &[(u64, PlannedPart)],
    ) -> Result<usize, PipelineError> {
        let exported_at = Timestamp::from(snapshot.taken_at());
        let until = max_age.and_then(|age| snapshot.reaches_age_at(age));
        if until.is_some_and(|until| Instant::now() >= until) {
            tracing::warn!(
                "finding where to cut the parts took longer than a snapshot may be old: each \
                 snapshot is good for one part a connection; allow it more time"
            );
        }
        let (indices, plan): (Vec<u64>, Vec<PlannedPart>) = plan.iter().cloned().unzip();
        let read = PartRead {
            pool: self.workers.pool_for(self.session.layout(), plan.iter().map(|part| part.rows)),
            plan,
            progress: Arc::clone(self.progress),
            connections: self.workers.connections,
            threads: self.workers.threads,
            until,
            work: Box::new({
                let sealer = Arc::clone(self.sealer);
                move |place, part, batch| {
                    let (index, ids) = (indices[place], part.ids);
                    sealer.seal_in_place(PartPlace { index, ids, exported_at }, batch)
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
    ) -> Result<Vec<(u64, PlannedPart)>, PipelineError> {
        let exported_at = Timestamp::from(snapshot.taken_at());
        let limit = self.session.part_rows_limit() as u64;
        let mut plan = Vec::new();
        for record in std::mem::take(&mut left.missing) {
            let part = snapshot.recut(&self.ids.export_ids(), record.ids).await?;
            let (index, ids) = (record.index, record.ids);
            match part.rows {
                0 => {
                    let place = PartPlace { index, ids, exported_at };
                    tokio::task::block_in_place(|| self.sealer.record_empty(place, vec![]))?;
                }
                // So many rows were added that they no longer fit into one part.
                rows if rows > limit => left.gaps.push(ids),
                _ => {
                    plan.push((index, part));
                    left.missing.push(record);
                }
            }
        }
        let mut next_index = left.next_index;
        for gap in &left.gaps {
            let mut parts = match self.ids.export_ids_within(*gap) {
                Some(ids) => self.plan_gap(snapshot, &ids).await?,
                None => vec![],
            };
            tile(*gap, parts.iter_mut().map(|part| &mut part.ids));
            if parts.is_empty() {
                let place = PartPlace { index: next_index, ids: *gap, exported_at };
                tokio::task::block_in_place(|| self.sealer.record_empty(place, vec![]))?;
                next_index += 1;
            }
            for part in parts {
                plan.push((next_index, part));
                next_index += 1;
            }
        }
        plan.sort_by_key(|(_, part)| part.ids);
        Ok(plan)
    }

    /// The parts of ids of which no part was cut yet.
    /// Counts the rows in ids that earlier runs have covered: those that were added since are not
    /// sent, and nobody must believe that they were.
    async fn look_for_added_rows(
        &self,
        snapshot: &mut Snapshot,
        left: &Resume,
    ) -> Result<(), PipelineError> {
        for (ids, rows) in &left.covered {
            let now = snapshot.recut(&self.ids.export_ids(), *ids).await?.rows;
            self.sealer.note_added_later(now.saturating_sub(*rows));
        }
        Ok(())
    }

    async fn plan_gap(
        &self,
        snapshot: &mut Snapshot,
        ids: &ExportIds<'_>,
    ) -> Result<Vec<PlannedPart>, PipelineError> {
        let rows = snapshot.count_up_to(ids, self.workers.rows_for_full_parts()).await?;
        Ok(snapshot.plan(ids, self.workers.rows_per_part_of(rows)).await?)
    }
}
