//! From a sender's database to its package in one pass. No plain share is written to a disk.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_exchange::Delivered;
use reshare_exchange::progress::Progress;
use reshare_format::session::Session;

use super::destination::Destination;
use super::directory_package::DirectoryPackage;
use super::error::PipelineError;
use super::resume::{Resume, closed_before};
use super::rows_wanted::RowIds;
use super::sealer::{PackReport, Sealer};
use super::sender::LedgeredSender;
use super::snapshots::Reading;
use super::workers::{Source, Workers};

/// Exports, blinds and seals the session's rows of one sender, all at the same time.
///
/// The rows of a part are of one snapshot. All parts are of the same snapshot, unless the sender
/// renews it (see [`LedgeredSender::renewing_snapshots`]). Parts that an earlier run sealed are
/// kept. Parts that it cut and that are missing are cut in the same way. The manifest comes last:
/// without it the package is not closed.
///
/// # Errors
/// A [`PipelineError`]; the package then stays open, and the next run continues it.
pub fn send<'a>(
    session: &'a Session,
    ids: &'a RowIds,
    sender: LedgeredSender,
    source: &'a Source,
    directory: &'a Path,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<PackReport, PipelineError>> {
    Box::pin(async move {
        workers.check_part(session)?;
        if let Some(report) = closed_before(session, &sender, directory)? {
            return Ok(report);
        }
        let package = DirectoryPackage::create(session, &sender, directory)?;
        let sealer = Sealer::new(sender, Destination::Directory(Box::new(package)));
        let (report, _) = send_with(sealer, session, ids, source, workers, progress).await?;
        Ok(report)
    })
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
    let reading = Reading { session, ids, source, workers, sealer: &sealer, progress: &progress };
    let sealed = reading.run(resume).await;
    let mut sealer = Arc::into_inner(sealer).ok_or(PipelineError::WorkerLost)?;
    let delivered = sealer.settle(sealed).await?;
    Ok((sealer.close(session).await?, delivered))
}
