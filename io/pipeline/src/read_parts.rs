//! Reads planned parts from a table in several connections and works on them in threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use reshare_engine::row_batch::RowBatch;
use reshare_exchange::progress::Progress;
use reshare_postgres::export::{PartReader, Snapshot};
use reshare_postgres::plan::PlannedPart;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::JoinSet;

use super::error::PipelineError;
use super::pool::{BatchPool, PooledBatch};

/// What is done with each part: its place in the plan, its range, its rows.
pub(crate) type PartWork =
    dyn Fn(usize, &PlannedPart, &mut RowBatch) -> Result<(), PipelineError> + Send + Sync;

/// A read of all parts of one plan.
pub(crate) struct PartRead {
    pub(crate) plan: Vec<PlannedPart>,
    pub(crate) pool: Arc<BatchPool>,
    pub(crate) progress: Arc<Progress>,
    pub(crate) connections: usize,
    pub(crate) threads: usize,
    /// No part but the first is begun after this.
    pub(crate) until: Option<Instant>,
    pub(crate) work: Box<PartWork>,
}

/// The state that readers and workers share.
struct Shared {
    read: PartRead,
    next: AtomicUsize,
}

/// A part that was read, on its way to a worker.
type ReadPart = (usize, PooledBatch);

impl PartRead {
    /// Goes through the plan in its order: connections read, threads work, and both at the same
    /// time. Returns how many parts were gone through: all of them, or those begun in time, at
    /// least one.
    ///
    /// # Errors
    /// The first error of any of them; the others have ended when it is returned.
    pub(crate) async fn run(self, snapshot: &Snapshot) -> Result<usize, PipelineError> {
        let connections = self.connections.clamp(1, self.plan.len().max(1));
        let threads = self.threads.max(1);
        let mut readers = Vec::with_capacity(connections);
        for _ in 0..connections {
            readers.push(snapshot.reader());
        }
        let (sender, receiver) = channel(threads);
        let receiver = Arc::new(Mutex::new(receiver));
        let shared = Arc::new(Shared { read: self, next: AtomicUsize::new(0) });
        let mut tasks = JoinSet::new();
        for _ in 0..threads {
            let (shared, receiver) = (Arc::clone(&shared), Arc::clone(&receiver));
            tasks.spawn_blocking(move || work_on_parts(&shared, &receiver));
        }
        for reader in readers {
            tasks.spawn(read_parts(Arc::clone(&shared), reader, sender.clone()));
        }
        drop((sender, receiver));
        super::all(tasks, &shared.read.progress).await?;
        Ok(shared.next.load(Ordering::Relaxed).min(shared.read.plan.len()))
    }
}

impl Shared {
    /// The next part to be read and its place in the plan.
    fn take(&self) -> Option<(usize, &PlannedPart)> {
        let too_late = || self.read.until.is_some_and(|until| Instant::now() >= until);
        // A part is always read, however long the plan has taken: there must be an end.
        if self.next.load(Ordering::Relaxed) > 0 && too_late() {
            return None;
        }
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        Some((index, self.read.plan.get(index)?))
    }
}

async fn read_parts(
    shared: Arc<Shared>,
    mut reader: PartReader,
    sender: Sender<ReadPart>,
) -> Result<(), PipelineError> {
    while !shared.read.progress.stopped() {
        let Some((index, part)) = shared.take() else { break };
        let mut batch = shared.read.pool.take().await;
        reader.read(part, &mut batch).await?;
        if sender.send((index, batch)).await.is_err() {
            // Every worker has ended: one of them says why.
            break;
        }
    }
    reader.close().await;
    Ok(())
}

fn work_on_parts(
    shared: &Shared,
    receiver: &Mutex<Receiver<ReadPart>>,
) -> Result<(), PipelineError> {
    loop {
        let part = receiver.lock().unwrap_or_else(PoisonError::into_inner).blocking_recv();
        let Some((index, mut batch)) = part else { return Ok(()) };
        if shared.read.progress.stopped() {
            // Batches go back, so that a reader that waits for one sees the end too.
            continue;
        }
        let part = &shared.read.plan[index];
        (shared.read.work)(index, part, &mut batch)?;
        let share_bytes = batch.layout().row_share_bytes() as u64;
        shared.read.progress.add(part.rows, part.rows * share_bytes);
    }
}
