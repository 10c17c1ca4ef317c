//! A long line: a proxy that delays both directions, and lets no more than a window of bytes of
//! each connection be on their way.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

use crate::Failure;

/// From one continent to another.
const ONE_WAY: Duration = Duration::from_millis(75);
const PIECE_BYTES: usize = 64 << 10;

/// A line to one address; it ends when this is dropped.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    _runtime: Runtime,
}

impl Line {
    /// Listens on loopback, with so many bytes of a connection on their way at most.
    pub(crate) fn to(address: SocketAddr, window_bytes: usize) -> Result<Self, Failure> {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))?;
        let own = listener.local_addr()?;
        runtime.spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(connect(near, address, window_bytes));
            }
        });
        Ok(Self { address: own, _runtime: runtime })
    }
}

async fn connect(near: TcpStream, address: SocketAddr, window_bytes: usize) {
    // A handshake of the line's own length.
    tokio::time::sleep(2 * ONE_WAY).await;
    let Ok(far) = TcpStream::connect(address).await else { return };
    for stream in [&near, &far] {
        let _ = stream.set_nodelay(true);
    }
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    tokio::join!(carry(near_in, far_out, window_bytes), carry(far_in, near_out, window_bytes));
}

/// Carries one direction until its end. A byte arrives after [`ONE_WAY`], and makes room for
/// another one when its receipt is back.
async fn carry(
    mut from: impl AsyncRead + Unpin + Send + 'static,
    mut to: impl AsyncWrite + Unpin,
    window_bytes: usize,
) {
    let window = Arc::new(Semaphore::new(window_bytes));
    let (tx, mut on_their_way) = mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let reading = tokio::spawn({
        let window = Arc::clone(&window);
        async move {
            let mut piece = vec![0; PIECE_BYTES];
            while let Ok(count @ 1..) = from.read(&mut piece).await {
                let Ok(room) = window.acquire_many(count as u32).await else { return };
                room.forget();
                if tx.send((Instant::now() + ONE_WAY, piece[..count].to_vec())).is_err() {
                    return;
                }
            }
        }
    });
    while let Some((arrives, piece)) = on_their_way.recv().await {
        sleep_until(arrives).await;
        if to.write_all(&piece).await.is_err() {
            break;
        }
        let window = Arc::clone(&window);
        tokio::spawn(async move {
            tokio::time::sleep(ONE_WAY).await;
            window.add_permits(piece.len());
        });
    }
    reading.abort();
    let _ = to.shutdown().await;
}
