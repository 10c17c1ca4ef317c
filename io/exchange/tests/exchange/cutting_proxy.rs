//! Proxies: one cuts a connection after a number of bytes in one direction, one stalls all of them, one is
//! a long way.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Where to cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    /// Which connection, counted from 0.
    pub(crate) connection: usize,
    pub(crate) direction: Direction,
    pub(crate) after_bytes: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    ToReceiver,
    ToSender,
}

/// A proxy at work.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    has_cut: Arc<AtomicBool>,
    to_receiver: Arc<AtomicU64>,
}

impl Proxy {
    /// Starts in front of `target`. Only the connection of the cut is affected.
    pub(crate) async fn start(target: SocketAddr, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (has_cut, to_receiver) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (done, carried) = (Arc::clone(&has_cut), Arc::clone(&to_receiver));
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                let cut = (number == cut.connection).then_some(cut);
                number += 1;
                let (done, carried) = (Arc::clone(&done), Arc::clone(&carried));
                tokio::spawn(async move {
                    // Errors here are what the test is about.
                    let _ = forward(client, target, cut, &done, &carried).await;
                });
            }
        });
        Self { address, has_cut, to_receiver }
    }

    /// Whether the connection carried enough to be cut.
    pub(crate) fn has_cut(&self) -> bool {
        self.has_cut.load(Ordering::SeqCst)
    }

    /// The bytes that all connections have carried to the receiver.
    pub(crate) fn carried_to_receiver(&self) -> u64 {
        self.to_receiver.load(Ordering::SeqCst)
    }
}

/// Starts a proxy that keeps its connections open and forwards a limited number of bytes on each.
pub(crate) async fn start_stalling(
    target: SocketAddr,
    stall_after_bytes: u64,
) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut kept = tokio::task::JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            kept.spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) =
                    TcpStream::connect(target).await.unwrap().into_split();
                let up = async {
                    copy(&mut (&mut from_client).take(stall_after_bytes), &mut to_server).await
                };
                let down = copy(&mut from_server, &mut to_client);
                // The results do not matter: the connection is kept open.
                let _ = tokio::join!(up, down);
                std::future::pending::<()>().await;
            });
        }
    });
    (address, task)
}

/// Starts a proxy that passes on each piece, of 1 MiB at most, after a delay.
pub(crate) async fn start_delaying(target: SocketAddr, delay: Duration) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(target).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(pass_on(from_client, to_server, delay));
            tokio::spawn(pass_on(from_server, to_client, delay));
        }
    });
    address
}

async fn pass_on(
    mut from: impl AsyncReadExt + Unpin,
    mut to: impl AsyncWriteExt + Unpin,
    delay: Duration,
) {
    let mut piece = vec![0; 1 << 20];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        tokio::time::sleep(delay).await;
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
}

async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    cut: Option<Cut>,
    done: &AtomicBool,
    carried: &AtomicU64,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let (from_client, mut to_client) = client.split();
    let (from_server, mut to_server) = server.split();
    let limit = |direction| match cut {
        Some(cut) if cut.direction == direction => cut.after_bytes,
        _ => u64::MAX,
    };
    let (up, down) = (limit(Direction::ToReceiver), limit(Direction::ToSender));
    let up = async {
        let mut from_client = from_client.take(up);
        let (mut piece, mut left) = (vec![0; 16 << 10], up);
        while left > 0 {
            let count = from_client.read(&mut piece).await?;
            if count == 0 {
                to_server.shutdown().await?;
                std::future::pending::<()>().await;
            }
            to_server.write_all(&piece[..count]).await?;
            carried.fetch_add(count as u64, Ordering::SeqCst);
            left -= count as u64;
        }
        Ok(true)
    };
    let down = async { Ok(copy(&mut from_server.take(down), &mut to_client).await? == down) };
    // Both directions end at once, in the middle of the traffic.
    let cut: std::io::Result<bool> = tokio::select! { cut = up => cut, cut = down => cut };
    done.fetch_or(cut?, Ordering::SeqCst);
    Ok(())
}
