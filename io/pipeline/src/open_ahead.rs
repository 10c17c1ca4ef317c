//! Opens parts on several threads before the sweep asks for them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use reshare_engine::layout::RowLayout;
use reshare_engine::row_batch::RowBatch;

use super::error::PipelineError;
use super::pool::{BatchPool, Bound, PooledBatch};
use super::sweep::PartRef;

/// The fewest batches with which a sweep can continue: one a side, and one being opened.
const LEAST_BATCHES: usize = 3;

/// How many parts are opened in advance, including those that the sweep holds.
const OPENED: Bound = Bound { bytes: 280 << 20, least: LEAST_BATCHES };

/// Batches for the parts of a sweep, each with room for the largest part: one for every opening
/// thread, as far as memory allows.
pub(crate) fn pool_of_parts(
    layout: &Arc<RowLayout>,
    part_rows_at_most: usize,
    threads: usize,
) -> Arc<BatchPool> {
    let wanted = threads.saturating_add(LEAST_BATCHES);
    BatchPool::within(OPENED, Arc::clone(layout), part_rows_at_most, wanted)
}

/// Reads one part into a batch.
pub(crate) type OpenPart =
    dyn Fn(PartRef, &mut RowBatch) -> Result<(), PipelineError> + Send + Sync;

/// Threads that open parts in the order in which they will be needed.
///
/// A thread takes its batch and its part under one lock, so the earliest parts get the batches. A
/// later part can never prevent an earlier one from being opened.
pub(crate) struct OpenAhead {
    opened: Receiver<Opened>,
    /// Opened, but not requested yet.
    ready: HashMap<PartRef, PooledBatch>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

enum Opened {
    Part(PartRef, Result<PooledBatch, PipelineError>),
    ThreadLost,
}

struct Shared {
    needed: Mutex<std::vec::IntoIter<PartRef>>,
    pool: Arc<BatchPool>,
    open: Box<OpenPart>,
    stop: Arc<AtomicBool>,
}

impl OpenAhead {
    /// Starts to open `needed` on `threads` threads into batches of `pool`.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub(crate) fn start(
        needed: Vec<PartRef>,
        threads: usize,
        pool: Arc<BatchPool>,
        open: Box<OpenPart>,
    ) -> Result<Self, PipelineError> {
        let (sender, opened) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let needed = Mutex::new(needed.into_iter());
        let shared = Arc::new(Shared { needed, pool, open, stop: Arc::clone(&stop) });
        let mut ahead = Self { opened, ready: HashMap::new(), stop, threads: Vec::new() };
        for _ in 0..threads.max(1) {
            let (shared, sender) = (Arc::clone(&shared), sender.clone());
            let thread = std::thread::Builder::new().name("open-part".to_owned());
            let thread = thread.spawn(move || open_parts(&shared, sender));
            ahead.threads.push(thread.map_err(PipelineError::Thread)?);
        }
        Ok(ahead)
    }

    /// Waits for a part; parts must be asked for in the order given to [`Self::start`].
    ///
    /// # Errors
    /// The error that prevented this or another part from being opened.
    pub(crate) fn fetch(&mut self, part: PartRef) -> Result<PooledBatch, PipelineError> {
        loop {
            if let Some(batch) = self.ready.remove(&part) {
                return Ok(batch);
            }
            match self.opened.recv() {
                Ok(Opened::Part(part, batch)) => {
                    self.ready.insert(part, batch?);
                }
                Ok(Opened::ThreadLost) | Err(_) => return Err(PipelineError::WorkerLost),
            }
        }
    }
}

impl Drop for OpenAhead {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Threads that wait for a batch get these, then see the flag and end.
        self.ready.clear();
        while let Ok(opened) = self.opened.recv() {
            drop(opened);
        }
        for thread in self.threads.drain(..) {
            // The guard of a panicked thread has reported it.
            let _ = thread.join();
        }
    }
}

/// Notifies the sweep when its thread panics, so that the sweep does not wait forever.
struct Guard(Sender<Opened>);

impl Drop for Guard {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The sweep may have ended already.
            let _ = self.0.send(Opened::ThreadLost);
        }
    }
}

fn open_parts(shared: &Shared, sender: Sender<Opened>) {
    let guard = Guard(sender);
    loop {
        let (part, mut batch) = {
            let mut needed = shared.needed.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(part) = needed.next() else { return };
            (part, shared.pool.take_blocking())
        };
        if shared.stop.load(Ordering::SeqCst) {
            return;
        }
        let result = (shared.open)(part, &mut batch).map(|()| batch);
        if guard.0.send(Opened::Part(part, result)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use reshare_engine::layout::RowLayout;

    use super::*;
    use crate::sweep::Side;

    fn part(index: usize) -> PartRef {
        PartRef { side: Side::First, index }
    }

    fn pool(limit: usize) -> Arc<BatchPool> {
        BatchPool::new(Arc::new(RowLayout::iris()), 1, limit)
    }

    #[test]
    fn parts_come_in_the_order_asked_for_with_few_batches() {
        let needed: Vec<_> = (0..50).map(part).collect();
        let open = |part: PartRef, batch: &mut RowBatch| {
            let rows = batch.reset(1, false).expect("one row fits");
            rows.ids[0] = i64::try_from(part.index).expect("small");
            Ok(())
        };
        let mut ahead =
            OpenAhead::start(needed, 4, pool(LEAST_BATCHES), Box::new(open)).expect("starts");
        for index in 0..50 {
            let batch = ahead.fetch(part(index)).expect("opened");
            assert_eq!(batch.rows().ids, [i64::try_from(index).expect("small")]);
        }
    }

    #[test]
    fn a_part_that_cannot_be_opened_is_an_error_and_nothing_hangs() {
        let open = |part: PartRef, _: &mut RowBatch| match part.index {
            3 => Err(PipelineError::Stopped),
            _ => Ok(()),
        };
        let needed = (0..100).map(part).collect();
        let mut ahead =
            OpenAhead::start(needed, 3, pool(LEAST_BATCHES), Box::new(open)).expect("starts");
        let error = (0..100).find_map(|index| ahead.fetch(part(index)).err());
        assert!(matches!(error, Some(PipelineError::Stopped)));
    }

    #[test]
    fn a_lost_thread_is_an_error() {
        let open = |part: PartRef, _: &mut RowBatch| {
            assert_ne!(part.index, 1, "the thread ends here");
            Ok(())
        };
        let needed = (0..10).map(part).collect();
        let mut ahead =
            OpenAhead::start(needed, 2, pool(LEAST_BATCHES), Box::new(open)).expect("starts");
        let error = (0..10).find_map(|index| ahead.fetch(part(index)).err());
        assert!(matches!(error, Some(PipelineError::WorkerLost)));
    }
}
