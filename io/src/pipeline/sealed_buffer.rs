//! Memory for sealed parts on their way, which is used again.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, PoisonError};

/// Buffers that nobody uses now. There are never more than were in use at one time.
#[derive(Debug, Default)]
pub(crate) struct SealedBuffers {
    idle: Mutex<Vec<Vec<u8>>>,
}

/// One sealed part in memory. It returns to the others when it is dropped.
#[derive(Debug)]
pub(crate) struct SealedBuffer {
    bytes: Vec<u8>,
    buffers: Arc<SealedBuffers>,
}

impl SealedBuffers {
    /// Takes an empty buffer with room for so many bytes.
    pub(crate) fn take(self: &Arc<Self>, capacity: usize) -> SealedBuffer {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = idle.unwrap_or_default();
        bytes.reserve_exact(capacity);
        SealedBuffer { bytes, buffers: Arc::clone(self) }
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
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        self.buffers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_the_last_copy_is_gone() {
        let buffers = Arc::new(SealedBuffers::default());
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
}
