//! From a sender's share file to its package.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reshare_engine::ids::IdRange;
use tokio::task::JoinSet;

use super::error::PipelineError;
use super::open_file::open_checked;
use super::pool::BatchPool;
use super::progress::Progress;
use super::sealer::{PackReport, Sealer};
use super::sender::SenderKeys;
use super::workers::Workers;
use crate::package::Timestamp;
use crate::session::Session;
use crate::share_file::{Expected, Kind, ShareFile};

/// Blinds and seals the plain shares of one file.
///
/// # Errors
/// A [`PipelineError`]; the package then stays open, and another run makes it anew.
pub async fn pack(
    session: &Session,
    keys: SenderKeys,
    path: &Path,
    directory: &Path,
    workers: Workers,
    progress: Arc<Progress>,
) -> Result<PackReport, PipelineError> {
    workers.check_part(session)?;
    let expected = Expected {
        fingerprint: session.fingerprint(),
        kind: Kind::Plain,
        party: Some(keys.sender()),
        layout: Some(Arc::clone(session.layout())),
    };
    let file = open_checked(path, expected, &progress).await?;
    let exported_at = written_at(&file)?;
    let sealer = Sealer::create(session, keys, directory)?;
    progress.begin("pack", file.rows().len() as u64);
    let packing = Arc::new(Packing {
        pool: workers.pool(session.layout()),
        rows_per_part: workers.rows_per_part.get(),
        progress: Arc::clone(&progress),
        file,
        sealer,
        exported_at,
        next: AtomicUsize::new(0),
    });
    let mut tasks = JoinSet::new();
    for _ in 0..workers.threads.max(1) {
        let packing = Arc::clone(&packing);
        tasks.spawn_blocking(move || packing.run());
    }
    super::all(tasks, &progress).await?;
    let packing = Arc::into_inner(packing).ok_or(PipelineError::WorkerLost)?;
    tokio::task::block_in_place(|| packing.sealer.close(session))
}

/// When the file was finished: its rows are at least as old.
fn written_at(file: &ShareFile) -> Result<Timestamp, PipelineError> {
    let modified = std::fs::metadata(file.path()).and_then(|metadata| metadata.modified());
    let modified = modified.map_err(PipelineError::FileTime)?;
    Ok(Timestamp::from(time::OffsetDateTime::from(modified)))
}

/// What the threads share.
struct Packing {
    file: ShareFile,
    sealer: Sealer,
    pool: Arc<BatchPool>,
    rows_per_part: usize,
    progress: Arc<Progress>,
    exported_at: Timestamp,
    next: AtomicUsize,
}

impl Packing {
    fn run(&self) -> Result<(), PipelineError> {
        let rows = self.file.rows();
        let mut batch = self.pool.take_blocking();
        while !self.progress.stopped() {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let start = index.saturating_mul(self.rows_per_part);
            if start >= rows.len() {
                break;
            }
            let part = rows.slice(start..(start + self.rows_per_part).min(rows.len()));
            let ends = part.ids.first().zip(part.ids.last());
            let ids = ends.and_then(|(first, last)| IdRange::new(*first, *last));
            let ids = ids.ok_or(PipelineError::WorkerLost)?;
            self.sealer.seal_from(index, ids, self.exported_at, &part, &mut batch)?;
            let count = part.len() as u64;
            self.progress.add(count, count * part.layout.row_share_bytes() as u64);
        }
        Ok(())
    }
}
