//! Tasks and threads of a run: what they share, and how they end together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reshare_exchange::progress::Progress;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::error::PipelineError;

/// The tasks of a run: the first that fails stops the others.
pub(crate) struct Tasks {
    running: JoinSet<Result<(), PipelineError>>,
    progress: Arc<Progress>,
}

impl Tasks {
    pub(crate) fn new(progress: &Arc<Progress>) -> Self {
        Self { running: JoinSet::new(), progress: Arc::clone(progress) }
    }

    /// Starts a task that drives a connection.
    pub(crate) fn start(
        &mut self,
        task: impl Future<Output = Result<(), PipelineError>> + Send + 'static,
    ) {
        self.running.spawn(task);
    }

    /// Starts work that blocks, in a thread.
    pub(crate) fn start_thread(
        &mut self,
        work: impl FnOnce() -> Result<(), PipelineError> + Send + 'static,
    ) {
        self.running.spawn_blocking(work);
    }

    /// Waits for all of them, asks the others to stop when one fails, and returns its error.
    ///
    /// # Errors
    /// The first error of a task, and [`PipelineError::Stopped`] when the run was asked to stop.
    pub(crate) async fn finish(mut self) -> Result<(), PipelineError> {
        let mut first = Ok(());
        while let Some(task) = self.running.join_next().await {
            let result = task.unwrap_or(Err(PipelineError::WorkerLost));
            if first.is_ok() && result.is_err() {
                self.progress.stop();
            }
            first = first.and(result);
        }
        if self.progress.stopped() { first.and(Err(PipelineError::Stopped)) } else { first }
    }
}

/// Runs blocking work in a thread of its own, outside the threads that drive connections.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PipelineError> + Send + 'static,
) -> Result<T, PipelineError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(PipelineError::WorkerLost))
}

/// Items that several tasks take in order, each once.
pub(crate) struct WorkList<T> {
    items: Vec<T>,
    next: AtomicUsize,
}

impl<T> WorkList<T> {
    pub(crate) fn new(items: Vec<T>) -> Self {
        Self { items, next: AtomicUsize::new(0) }
    }

    /// The next item and its position; `None` when all are taken.
    pub(crate) fn take(&self) -> Option<(usize, &T)> {
        let index = self.next.fetch_add(1, Ordering::Relaxed);
        Some((index, self.items.get(index)?))
    }

    /// How many items were taken.
    pub(crate) fn taken(&self) -> usize {
        self.next.load(Ordering::Relaxed).min(self.items.len())
    }

    /// All items, taken or not.
    pub(crate) fn items(&self) -> &[T] {
        &self.items
    }
}

/// The receiving end of a bounded queue for several tasks. Each item is received by one of them.
pub(crate) struct Receivers<T>(Arc<Mutex<mpsc::Receiver<T>>>);

impl<T> Receivers<T> {
    /// Makes a queue that holds up to `capacity` items.
    pub(crate) fn queue(capacity: usize) -> (mpsc::Sender<T>, Self) {
        let (tx, rx) = mpsc::channel(capacity);
        (tx, Self(Arc::new(Mutex::new(rx))))
    }

    /// The next item; `None` when every sender is gone.
    pub(crate) async fn recv(&self) -> Option<T> {
        self.0.lock().await.recv().await
    }

    /// As [`Self::recv`], in a thread.
    pub(crate) fn blocking_recv(&self) -> Option<T> {
        self.0.blocking_lock().blocking_recv()
    }
}

impl<T> Clone for Receivers<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_item_of_a_list_is_taken_once_and_in_order() {
        let list = WorkList::new(vec!['a', 'b']);
        assert_eq!((list.take(), list.taken()), (Some((0, &'a')), 1));
        assert_eq!((list.take(), list.take(), list.take()), (Some((1, &'b')), None, None));
        assert_eq!((list.taken(), list.items()), (2, &['a', 'b'][..]));
    }

    #[tokio::test]
    async fn a_queue_ends_for_every_reader_when_the_last_sender_is_gone() {
        let (tx, rx) = Receivers::queue(2);
        let other = rx.clone();
        for item in [1, 2] {
            tx.send(item).await.expect("somebody reads");
        }
        drop(tx);
        assert_eq!((rx.recv().await, other.recv().await), (Some(1), Some(2)));
        assert_eq!((rx.recv().await, other.recv().await), (None, None));
    }

    #[tokio::test]
    async fn the_first_failure_stops_the_others_and_is_what_is_reported() {
        let progress = Arc::new(Progress::default());
        let mut tasks = Tasks::new(&progress);
        let waiting = Arc::clone(&progress);
        tasks.start(async move {
            waiting.until_stopped().await;
            Ok(())
        });
        tasks.start_thread(|| Err(PipelineError::NoIdList));
        assert!(matches!(tasks.finish().await, Err(PipelineError::NoIdList)));
        assert!(progress.stopped());
    }

    #[tokio::test]
    async fn a_task_that_panics_is_reported_as_lost() {
        let mut tasks = Tasks::new(&Arc::default());
        tasks.start_thread(|| panic!("on purpose"));
        assert!(matches!(tasks.finish().await, Err(PipelineError::WorkerLost)));
    }
}
