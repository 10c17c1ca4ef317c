//! From a sender's database to its package in one pass: no plain share touches a disk.

use std::path::Path;
use std::sync::Arc;

use super::destination::Destination;
use super::directory_package::DirectoryPackage;
use super::error::PipelineError;
use super::progress::Progress;
use super::read_parts::PartRead;
use super::resume::{Resume, closed_before};
use super::rows_wanted::RowIds;
use super::sealer::{PackReport, PartPlace, Sealer, check_parts};
use super::sender::LedgeredSender;
use super::workers::{Source, Workers};
use crate::exchange::Delivered;
use crate::package::Timestamp;
use crate::postgres::export::Snapshot;
use crate::postgres::plan::PlannedPart;
use crate::session::Session;

/// Exports, blinds and seals the session's rows of one sender, all at the same time.
///
/// All rows that are read are of one snapshot. Parts that an earlier run has sealed are kept;
/// those that it cut and that are not there are cut in the same way. The manifest comes last:
/// without it there is no package.
///
/// # Errors
/// A [`PipelineError`]; the package then stays open, and another run goes on with it.
pub async fn send(
    session: &Session,
    ids: &RowIds,
    sender: LedgeredSender,
    source: &Source,
    directory: &Path,
    workers: Workers,
    progress: Arc<Progress>,
) -> Result<PackReport, PipelineError> {
    workers.check_part(session)?;
    if let Some(report) = closed_before(session, &sender, directory)? {
        return Ok(report);
    }
    let package = DirectoryPackage::create(session, &sender, directory)?;
    let sealer = Sealer::new(sender, Destination::Directory(package));
    let (report, _) = send_with(sealer, session, ids, source, workers, progress).await?;
    Ok(report)
}

/// Exports, blinds and seals what is left of a package, and closes it.
///
/// # Errors
/// A [`PipelineError`]; the package then stays open.
pub(super) async fn send_with(
    sealer: Sealer,
    session: &Session,
    ids: &RowIds,
    source: &Source,
    workers: Workers,
    progress: Arc<Progress>,
) -> Result<(PackReport, Delivered), PipelineError> {
    let sealer = Arc::new(sealer);
    let resume = tokio::task::block_in_place(|| Resume::begin(&sealer, ids.bounds(), &progress))?;
    progress.begin("plan", 0);
    let mut snapshot = Snapshot::open(&source.database, &source.table).await?;
    let exported_at = Timestamp::from(snapshot.taken_at());
    let planning = Planning { session, ids, workers, exported_at, sealer: &sealer };
    let planned = planning.plan(&mut snapshot, resume).await?;
    check_parts(planned.len())?;
    let (indices, plan): (Vec<u64>, Vec<PlannedPart>) = planned.into_iter().unzip();
    progress.begin("send", plan.iter().map(|part| part.rows).sum());
    let read = PartRead {
        pool: workers.pool_for(session.layout(), plan.iter().map(|part| part.rows)),
        plan,
        progress,
        connections: workers.connections,
        threads: workers.threads,
        work: Box::new({
            let sealer = Arc::clone(&sealer);
            move |place, part, batch| {
                let (index, ids) = (indices[place], part.ids);
                sealer.seal_in_place(PartPlace { index, ids, exported_at }, batch)
            }
        }),
    };
    let sealed = read.run(&snapshot).await;
    // The rows are read: the database need not wait for the last parts to arrive.
    if sealed.is_ok() {
        snapshot.close().await;
    }
    let mut sealer = Arc::into_inner(sealer).ok_or(PipelineError::WorkerLost)?;
    let delivered = sealer.settle(sealed).await?;
    Ok((sealer.close(session).await?, delivered))
}

/// What the cut of the parts depends on.
struct Planning<'a> {
    session: &'a Session,
    ids: &'a RowIds,
    workers: Workers,
    exported_at: Timestamp,
    sealer: &'a Sealer,
}

impl Planning<'_> {
    /// The parts to be read, each with its index, in id order.
    async fn plan(
        &self,
        snapshot: &mut Snapshot,
        resume: Resume,
    ) -> Result<Vec<(u64, PlannedPart)>, PipelineError> {
        let Resume { anew, mut gaps, mut next_index } = resume;
        let limit = self.session.part_rows_limit() as u64;
        let mut plan = Vec::new();
        for record in anew {
            let part = snapshot.recut(&self.ids.export_ids(), record.ids).await?;
            let (index, ids, exported_at) = (record.index, record.ids, self.exported_at);
            match part.rows {
                0 => {
                    let place = PartPlace { index, ids, exported_at };
                    tokio::task::block_in_place(|| self.sealer.record_empty(place, vec![]))?;
                }
                // So many rows came to it that it is no part any more.
                rows if rows > limit => gaps.push(ids),
                _ => plan.push((index, part)),
            }
        }
        for gap in gaps {
            let Some(ids) = self.ids.export_ids_within(gap) else { continue };
            let rows = snapshot.count_up_to(&ids, self.workers.rows_for_full_parts()).await?;
            let rows_per_part = self.workers.rows_per_part_of(rows);
            for part in snapshot.plan(&ids, rows_per_part).await? {
                plan.push((next_index, part));
                next_index += 1;
            }
        }
        plan.sort_by_key(|(_, part)| part.ids);
        Ok(plan)
    }
}
