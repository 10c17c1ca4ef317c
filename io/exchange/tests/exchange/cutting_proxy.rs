//! Proxies: one cuts a connection after a number of bytes in one direction, one stalls all of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

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
}

impl Proxy {
    /// Starts in front of `target`. Only the connection of the cut is affected.
    pub(crate) async fn start(target: SocketAddr, cut: Cut) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let has_cut = Arc::<AtomicBool>::default();
        let done = Arc::clone(&has_cut);
        tokio::spawn(async move {
            let mut number = 0;
            while let Ok((client, _)) = listener.accept().await {
                let cut = (number == cut.connection).then_some(cut);
                number += 1;
                let done = Arc::clone(&done);
                tokio::spawn(async move {
                    // Errors here are what the test is about.
                    let _ = forward(client, target, cut, &done).await;
                });
            }
        });
        Self { address, has_cut }
    }

    /// Whether the connection carried enough to be cut.
    pub(crate) fn has_cut(&self) -> bool {
        self.has_cut.load(Ordering::SeqCst)
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

async fn forward(
    mut client: TcpStream,
    target: SocketAddr,
    cut: Option<Cut>,
    done: &AtomicBool,
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
        if copy(&mut from_client.take(up), &mut to_server).await? == up {
            return Ok(true);
        }
        to_server.shutdown().await?;
        std::future::pending().await
    };
    let down = async { Ok(copy(&mut from_server.take(down), &mut to_client).await? == down) };
    // Both directions end at once, in the middle of the traffic.
    let cut: std::io::Result<bool> = tokio::select! { cut = up => cut, cut = down => cut };
    done.fetch_or(cut?, Ordering::SeqCst);
    Ok(())
}
