//! Proxies that cut their first connection after so many bytes from the client, or stall.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Starts a proxy before `target`; connections after the first one are left alone.
pub(crate) async fn start(target: SocketAddr, cut_after_bytes: u64) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut limit = Some(cut_after_bytes);
        while let Ok((client, _)) = listener.accept().await {
            let limit = limit.take();
            tokio::spawn(async move {
                // Whatever breaks here is what the test is about.
                let _ = forward(client, target, limit).await;
            });
        }
    });
    address
}

/// Starts a proxy that keeps its connections, and forwards just so many bytes on each.
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
                // What becomes of the two does not matter: the connection is kept.
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
    limit: Option<u64>,
) -> std::io::Result<()> {
    let mut server = TcpStream::connect(target).await?;
    let (from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let up = async {
        let mut from_client = from_client.take(limit.unwrap_or(u64::MAX));
        copy(&mut from_client, &mut to_server).await?;
        if limit.is_none() { to_server.shutdown().await } else { Ok(()) }
    };
    let down = async { copy(&mut from_server, &mut to_client).await };
    match limit {
        // Both directions end at once, in the middle of whatever goes on.
        Some(_) => tokio::select! { up = up => up, _ = down => Ok(()) },
        None => tokio::try_join!(up, async { down.await.map(drop) }).map(drop),
    }
}
