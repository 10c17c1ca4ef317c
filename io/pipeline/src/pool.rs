//! A bounded number of row batches that circulate between the stages of a pipeline.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use reshare_engine::layout::RowLayout;
use reshare_engine::row_batch::RowBatch;
use tokio::sync::Notify;

/// Batches of one layout and capacity, at most `limit` of them at any time.
///
/// The pool bounds a pipeline's memory: a stage that needs another batch waits until a later stage
/// has returned one. Batches are reused, since new pages cost time.
pub(crate) struct BatchPool {
    layout: Arc<RowLayout>,
    rows_per_batch: usize,
    state: Mutex<PoolState>,
    returned: Condvar,
    notify: Notify,
}

/// The most memory of all batches of a pool, however many workers could use one: memory must not
/// grow with the number of cores.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound {
    /// Bytes of all batches.
    pub(crate) bytes: usize,
    /// The number of batches without which the pipeline would deadlock. They are always allowed.
    pub(crate) least: usize,
}

/// Bytes for id, row check and some agree columns: always few compared with the shares of a row.
const ROW_BYTES_BESIDE_SHARES: usize = 64;

struct PoolState {
    idle: Vec<RowBatch>,
    /// How many more batches may be made.
    to_make: usize,
}

/// A borrowed batch. It returns to its pool when dropped.
pub(crate) struct PooledBatch {
    batch: Option<RowBatch>,
    pool: Arc<BatchPool>,
}

impl BatchPool {
    /// Prepares a pool. Nothing is allocated before it is needed.
    pub(crate) fn new(layout: Arc<RowLayout>, rows_per_batch: usize, limit: usize) -> Arc<Self> {
        Arc::new(Self {
            layout,
            rows_per_batch,
            state: Mutex::new(PoolState { idle: Vec::new(), to_make: limit.max(1) }),
            returned: Condvar::new(),
            notify: Notify::new(),
        })
    }

    /// Prepares a pool of as many batches as are wanted and fit into a [`Bound`].
    pub(crate) fn within(
        bound: Bound,
        layout: Arc<RowLayout>,
        rows_per_batch: usize,
        wanted: usize,
    ) -> Arc<Self> {
        let row_bytes = layout.row_share_bytes().saturating_add(ROW_BYTES_BESIDE_SHARES);
        let batch_bytes = row_bytes.saturating_mul(rows_per_batch).max(1);
        let limit = wanted.min(bound.bytes / batch_bytes).max(bound.least);
        Self::new(layout, rows_per_batch, limit)
    }

    /// The rows that a batch has room for without growing.
    pub(crate) fn rows_per_batch(&self) -> usize {
        self.rows_per_batch
    }

    /// Takes a batch, waiting on the thread until there is one.
    pub(crate) fn take_blocking(self: &Arc<Self>) -> PooledBatch {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(batch) = self.try_take(&mut state) {
                return PooledBatch { batch: Some(batch), pool: Arc::clone(self) };
            }
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Takes a batch; lets other tasks run until there is one.
    pub(crate) async fn take(self: &Arc<Self>) -> PooledBatch {
        loop {
            // Registered before the check, so that a batch returned in between is not missed.
            let returned = self.notify.notified();
            let mut returned = std::pin::pin!(returned);
            returned.as_mut().enable();
            let taken = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                self.try_take(&mut state)
            };
            if let Some(batch) = taken {
                return PooledBatch { batch: Some(batch), pool: Arc::clone(self) };
            }
            returned.await;
        }
    }

    fn try_take(&self, state: &mut PoolState) -> Option<RowBatch> {
        if let Some(mut batch) = state.idle.pop() {
            batch.clear();
            return Some(batch);
        }
        state.to_make = state.to_make.checked_sub(1)?;
        Some(RowBatch::with_capacity(Arc::clone(&self.layout), self.rows_per_batch))
    }

    fn give_back(&self, batch: RowBatch) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).idle.push(batch);
        self.returned.notify_one();
        // Every waiter checks again: a cancelled one must not consume the only wake-up.
        self.notify.notify_waiters();
    }
}

impl Deref for PooledBatch {
    type Target = RowBatch;

    fn deref(&self) -> &RowBatch {
        self.batch.as_ref().expect("the batch is there until the loan is dropped")
    }
}

impl DerefMut for PooledBatch {
    fn deref_mut(&mut self) -> &mut RowBatch {
        self.batch.as_mut().expect("the batch is there until the loan is dropped")
    }
}

impl Drop for PooledBatch {
    fn drop(&mut self) {
        if let Some(batch) = self.batch.take() {
            self.pool.give_back(batch);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_as_large_as_is_wanted_and_allowed_and_needed() {
        let layout = Arc::new(RowLayout::iris());
        let limit_of = |bytes, rows, wanted| {
            let bound = Bound { bytes, least: 3 };
            let pool = BatchPool::within(bound, Arc::clone(&layout), rows, wanted);
            pool.state.lock().expect("not poisoned").to_make
        };
        assert_eq!(limit_of(320 << 20, 64, 12), 12);
        assert_eq!(limit_of(320 << 20, 512, 12), 8);
        assert_eq!(limit_of(320 << 20, 512, 1000), 8);
        assert_eq!(limit_of(320 << 20, 10_000, 12), 3);
        assert_eq!(limit_of(320 << 20, usize::MAX, 12), 3);
        assert_eq!(limit_of(320 << 20, 0, 12), 12);
    }

    #[tokio::test]
    async fn a_pool_lends_no_more_than_its_limit() {
        let pool = BatchPool::new(Arc::new(RowLayout::iris()), 1, 2);
        let first = pool.take().await;
        let second = pool.take_blocking();
        let waiting = tokio::spawn({
            let pool = Arc::clone(&pool);
            async move { pool.take().await.capacity() }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(first);
        assert_eq!(waiting.await.expect("the task ends"), 1);
        drop(second);
        assert_eq!(pool.state.lock().expect("not poisoned").idle.len(), 2);
    }
}
