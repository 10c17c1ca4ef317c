//! From a sender's database to its package in one pass: no plain share touches a disk.

use std::path::Path;
use std::sync::Arc;

use super::error::PipelineError;
use super::progress::Progress;
use super::read_parts::PartRead;
use super::rows_wanted::RowIds;
use super::sealer::{PackReport, Sealer, check_parts};
use super::sender::SenderKeys;
use super::workers::{Source, Workers};
use crate::package::Timestamp;
use crate::postgres::export::Snapshot;
use crate::session::Session;

/// Exports, blinds and seals the session's rows of one sender, all at the same time.
///
/// All rows are of one snapshot. The manifest comes last: without it there is no package.
///
/// # Errors
/// A [`PipelineError`]; the package then stays open, and another run makes it anew.
pub async fn send(
    session: &Session,
    ids: &RowIds,
    keys: SenderKeys,
    source: &Source,
    directory: &Path,
    workers: Workers,
    progress: Arc<Progress>,
) -> Result<PackReport, PipelineError> {
    workers.check_part(session)?;
    progress.begin("plan", 0);
    let sealer = Arc::new(Sealer::create(session, keys, directory)?);
    let mut snapshot = Snapshot::open(&source.database, &source.table).await?;
    let plan = snapshot.plan(&ids.export_ids(), workers.rows_per_part).await?;
    check_parts(plan.len())?;
    progress.begin("send", plan.iter().map(|part| part.rows).sum());
    let exported_at = Timestamp::from(snapshot.taken_at());
    let read = PartRead {
        plan,
        pool: workers.pool(session.layout()),
        progress,
        connections: workers.connections,
        threads: workers.threads,
        work: Box::new({
            let sealer = Arc::clone(&sealer);
            move |index, part, batch| sealer.seal_in_place(index, part.ids, exported_at, batch)
        }),
    };
    read.run(&snapshot).await?;
    snapshot.close().await;
    let sealer = Arc::into_inner(sealer).ok_or(PipelineError::WorkerLost)?;
    tokio::task::block_in_place(|| sealer.close(session))
}
