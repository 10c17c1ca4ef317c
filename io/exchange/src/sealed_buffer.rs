//! Reused memory for sealed parts on their way, at either end.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Buffers that are free now, and the memory of all buffers.
#[derive(Debug)]
pub struct SealedBuffers {
    max_bytes: usize,
    state: Mutex<State>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Vec<u8>>,
    idle_bytes: usize,
    lent_bytes: usize,
}

/// One sealed part in memory. Its buffer returns to the free ones when it is dropped.
#[derive(Debug)]
pub struct SealedBuffer {
    bytes: Vec<u8>,
    /// The requested size; the buffer may have grown.
    lent_bytes: usize,
    buffers: Arc<SealedBuffers>,
}

impl SealedBuffers {
    /// Buffers that take at most this many bytes together, or a single one.
    #[must_use]
    pub fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { max_bytes, state: Mutex::default(), returned: Condvar::new() })
    }

    /// Takes an empty buffer of this many bytes; blocks the thread until it fits in addition to those
    /// in use. A single one always fits.
    #[must_use]
    pub fn take(self: &Arc<Self>, capacity: usize) -> SealedBuffer {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.fits(&state, capacity) {
            state = self.returned.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        self.lend(state, capacity)
    }

    /// Takes an empty buffer of this many bytes if it fits now.
    #[must_use]
    pub fn try_take(self: &Arc<Self>, capacity: usize) -> Option<SealedBuffer> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.fits(&state, capacity).then(|| self.lend(state, capacity))
    }

    fn fits(&self, state: &State, capacity: usize) -> bool {
        state.lent_bytes == 0 || state.lent_bytes.saturating_add(capacity) <= self.max_bytes
    }

    fn lend(self: &Arc<Self>, mut state: MutexGuard<'_, State>, capacity: usize) -> SealedBuffer {
        let mut bytes = state.idle.pop().unwrap_or_default();
        state.idle_bytes -= bytes.capacity();
        let lent_bytes = capacity.max(bytes.capacity());
        state.lent_bytes = state.lent_bytes.saturating_add(lent_bytes);
        if state.lent_bytes.saturating_add(state.idle_bytes) > self.max_bytes {
            // Parts have become larger: smaller buffers only take memory.
            state.idle.clear();
            state.idle_bytes = 0;
        }
        drop(state);
        bytes.reserve_exact(capacity);
        SealedBuffer { bytes, lent_bytes, buffers: Arc::clone(self) }
    }

    fn give_back(&self, mut bytes: Vec<u8>, lent_bytes: usize) {
        bytes.clear();
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.lent_bytes = state.lent_bytes.saturating_sub(lent_bytes);
        state.idle_bytes += bytes.capacity();
        state.idle.push(bytes);
        self.returned.notify_all();
    }
}

impl Write for SealedBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsRef<[u8]> for SealedBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for SealedBuffer {
    fn drop(&mut self) {
        self.buffers.give_back(std::mem::take(&mut self.bytes), self.lent_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_BYTES: usize = 1 << 20;

    #[test]
    fn a_buffer_is_used_again_when_the_last_copy_is_gone() {
        let buffers = SealedBuffers::new(MAX_BYTES);
        let mut buffer = buffers.take(100);
        buffer.write_all(b"sealed").expect("memory");
        let place = buffer.as_ref().as_ptr();
        let bytes = bytes::Bytes::from_owner(buffer);
        let copy = bytes.clone();
        drop(bytes);
        assert!(buffers.take(1).as_ref().as_ptr() != place && *copy == *b"sealed");
        drop(copy);
        let again = buffers.take(10);
        assert!(again.as_ref().is_empty() && again.as_ref().as_ptr() == place);
    }

    #[test]
    fn no_more_is_lent_than_the_limit_and_one_buffer_always_is() {
        let buffers = SealedBuffers::new(MAX_BYTES);
        let half = MAX_BYTES / 2;
        let (first, second) = (buffers.take(half), buffers.take(half));
        let (taken, when) = std::sync::mpsc::channel();
        let waiting = std::thread::spawn({
            let buffers = Arc::clone(&buffers);
            move || {
                let larger = buffers.take(MAX_BYTES + 1);
                taken.send(()).expect("somebody listens");
                drop(larger);
            }
        });
        drop(first);
        // One is still in use, and the larger one only fits alone.
        assert!(buffers.try_take(half + 1).is_none());
        let soon = std::time::Duration::from_millis(50);
        assert!(when.recv_timeout(soon).is_err());
        drop(second);
        waiting.join().expect("it gets its buffer");
        let state = buffers.state.lock().expect("not poisoned");
        assert_eq!((state.lent_bytes, state.idle.len()), (0, 1));
        assert_eq!(state.idle_bytes, state.idle[0].capacity());
    }
}
