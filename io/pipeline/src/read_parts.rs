//! Reads planned parts from a table over several connections and processes them in threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use reshare_engine::row_batch::RowBatch;
use reshare_exchange::progress::Progress;
use reshare_postgres::export::{BadRow, ExportError, PartReader, Snapshot};
use reshare_postgres::plan::PlannedPart;
use tokio::sync::mpsc::Sender;

use super::error::PipelineError;
use super::pool::{BatchPool, PooledBatch};
use super::tasks::{Receivers, Tasks, WorkList};
use super::workers::OnBadRow;

/// The work on each part, given its place in the plan, its range, its rows and those that are left
/// out.
pub(crate) type PartWork = dyn Fn(usize, &PlannedPart, &mut RowBatch, Vec<BadRow>) -> Result<(), PipelineError>
    + Send
    + Sync;

/// A read of all parts of one plan.
pub(crate) struct PartRead {
    pub(crate) plan: Vec<PlannedPart>,
    pub(crate) pool: Arc<BatchPool>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    /// Only the first part may begin after this.
    pub(crate) until: Option<Instant>,
    pub(crate) on_bad_row: OnBadRow,
    pub(crate) work: Box<PartWork>,
}

/// What a read has come to.
pub(crate) struct PartsRead {
    /// The places in the plan of the parts that were processed, ascending.
    pub(crate) done: Vec<usize>,
    /// Why a standby has ended the snapshot before all of them were, if it has.
    pub(crate) lost: Option<ExportError>,
}

/// The parts whose snapshot ended while they were read, and why it did.
#[derive(Default)]
struct Unread {
    places: Vec<usize>,
    lost: Option<ExportError>,
}

/// What readers and workers share.
struct Shared {
    plan: WorkList<PlannedPart>,
    unread: Mutex<Unread>,
    pool: Arc<BatchPool>,
    progress: Arc<Progress>,
    until: Option<Instant>,
    on_bad_row: OnBadRow,
    work: Box<PartWork>,
}

/// A part that was read, on its way to a worker.
type ReadPart = (usize, PooledBatch, Vec<BadRow>);

impl PartRead {
    /// Processes the plan in order: connections read while threads work. Returns the processed
    /// parts: all of them, or those that began in time, at least one, or those that were read
    /// before a standby has ended the snapshot.
    ///
    /// # Errors
    /// The first error of any of them; the others have ended when it is returned.
    pub(crate) async fn run(self, snapshot: &Snapshot) -> Result<PartsRead, PipelineError> {
        let connections = self.connections.clamp(1, self.plan.len().max(1));
        let threads = self.threads.max(1);
        let mut readers = Vec::with_capacity(connections);
        for _ in 0..connections {
            readers.push(snapshot.reader());
        }
        let (tx, rx) = Receivers::queue(threads);
        let mut tasks = Tasks::new(&self.progress);
        let Self { plan, pool, progress, until, on_bad_row, work, .. } = self;
        let (plan, unread) = (WorkList::new(plan), Mutex::default());
        let shared = Arc::new(Shared { plan, unread, pool, progress, until, on_bad_row, work });
        for _ in 0..threads {
            let (shared, rx) = (Arc::clone(&shared), rx.clone());
            tasks.start_thread(move || work_on_parts(&shared, &rx));
        }
        for reader in readers {
            tasks.start(read_parts(Arc::clone(&shared), reader, tx.clone()));
        }
        drop((tx, rx));
        tasks.finish().await?;
        let Unread { places, lost } = std::mem::take(&mut *shared.unread());
        let done = (0..shared.plan.taken()).filter(|place| !places.contains(place)).collect();
        Ok(PartsRead { done, lost })
    }
}

impl Shared {
    /// The next part to be read and its place in the plan.
    fn take(&self) -> Option<(usize, &PlannedPart)> {
        let too_late = || self.until.is_some_and(|until| Instant::now() >= until);
        // The first part is always read, however long the plan has taken, so that every snapshot
        // makes progress.
        if self.plan.taken() > 0 && too_late() || self.unread().lost.is_some() {
            return None;
        }
        self.plan.take()
    }

    /// Notes a part that was not read because the snapshot has ended: the others end in order.
    fn lose(&self, place: usize, error: ExportError) {
        let mut unread = self.unread();
        unread.places.push(place);
        unread.lost.get_or_insert(error);
    }

    fn unread(&self) -> MutexGuard<'_, Unread> {
        self.unread.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_parts(
    shared: Arc<Shared>,
    mut reader: PartReader,
    tx: Sender<ReadPart>,
) -> Result<(), PipelineError> {
    while !shared.progress.stopped() {
        let Some((index, part)) = shared.take() else { break };
        let mut batch = shared.pool.take().await;
        let read = match shared.on_bad_row {
            OnBadRow::Refuse => reader.read(part, &mut batch).await.map(|()| vec![]),
            OnBadRow::LeaveOut => reader.read_good(part, &mut batch).await,
        };
        let bad = match read {
            Ok(bad) => bad,
            Err(error) if error.is_lost_on_standby() => {
                shared.lose(index, error);
                break;
            }
            Err(error) => return Err(error.into()),
        };
        if tx.send((index, batch, bad)).await.is_err() {
            // Every worker has ended: one of them returns the cause.
            break;
        }
    }
    reader.close().await;
    Ok(())
}

fn work_on_parts(shared: &Shared, rx: &Receivers<ReadPart>) -> Result<(), PipelineError> {
    loop {
        let Some((index, mut batch, bad)) = rx.blocking_recv() else { return Ok(()) };
        if shared.progress.stopped() {
            // Batches are returned, so that a reader that waits for one sees the end too.
            continue;
        }
        let part = &shared.plan.items()[index];
        (shared.work)(index, part, &mut batch, bad)?;
        let share_bytes = batch.layout().row_share_bytes() as u64;
        shared.progress.add(part.rows, part.rows * share_bytes);
    }
}
