//! The traffic of a connection, and the minimum that it must have.
//!
//! Bodies and headers have their own time-outs. This one covers all other ways in which a peer can
//! keep a useless connection: it does not read answers, opens no HTTP/2 window, or answers pings
//! and requests nothing.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes and requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    bytes: AtomicU64,
    requests: AtomicUsize,
}

/// A request in progress.
#[derive(Debug)]
pub(super) struct Busy(Arc<Traffic>);

impl Traffic {
    /// Counts a request until the returned value is dropped.
    pub(super) fn begin_request(self: &Arc<Self>) -> Busy {
        self.requests.fetch_add(1, Ordering::Relaxed);
        Busy(Arc::clone(self))
    }

    /// Returns after a period in which the traffic was below this rate, if no request is in progress
    /// at its end.
    pub(super) async fn until_idle(&self, period: Duration, bytes_per_second: u64) {
        let least = (period.as_secs_f64() * bytes_per_second as f64) as u64;
        loop {
            let before = self.bytes.load(Ordering::Relaxed);
            tokio::time::sleep(period).await;
            let moved = self.bytes.load(Ordering::Relaxed) - before;
            if self.requests.load(Ordering::Relaxed) == 0 && moved < least.max(1) {
                return;
            }
        }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A stream whose bytes are counted, in both directions.
pub(super) struct Counted<IO> {
    pub(super) stream: IO,
    pub(super) traffic: Arc<Traffic>,
}

impl<IO> Counted<IO> {
    fn count(&self, bytes: usize) {
        self.traffic.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Counted<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        loop {
            let had = buffer.filled().len();
            let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
            let is_more = buffer.filled().len() > had && matches!(polled, Poll::Ready(Ok(())));
            // TLS gives one record at a time, of at most 16 KiB.
            if is_more && buffer.remaining() > 0 {
                continue;
            }
            self.count(buffer.filled().len() - before);
            // What was read comes before the end, or the error, that follows it.
            return if buffer.filled().len() > before { Poll::Ready(Ok(())) } else { polled };
        }
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Counted<IO> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(written)) = &polled {
            self.count(*written);
        }
        polled
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(written)) = &polled {
            self.count(*written);
        }
        polled
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
