//! HTTP on one connection, from its first request to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

use super::limits::Limits;
use super::routes::Peer;
use super::shutdown::Shutdown;
use super::traffic::{Counted, Traffic};

/// Why a connection ended that the other end did not close.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Headers did not come in time.
    SlowHeaders,
    /// The client does not speak HTTP, or breaks its rules.
    NotHttp,
}

/// How one connection is served.
pub(super) struct Serving {
    /// Whether both ends agreed on HTTP/2.
    pub(super) http_2: bool,
    pub(super) router: Router,
    /// Who asks; nobody in particular where there are no certificates.
    pub(super) peer: Option<Peer>,
    pub(super) limits: Limits,
    pub(super) shutdown: Shutdown,
}

/// Serves a connection with so many requests at a time as the limits say, and lets the other
/// end read the last answer.
pub(super) async fn serve<IO>(mut stream: IO, serving: Serving) -> Result<(), Ended>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let ended = requests(&mut stream, serving).await;
    linger(stream).await;
    ended
}

/// Answers requests until the connection is at its end.
async fn requests<IO>(stream: IO, serving: Serving) -> Result<(), Ended>
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let Serving { http_2, router, peer, limits, shutdown } = serving;
    let traffic = Arc::<Traffic>::default();
    let service = service(router, peer, Arc::clone(&traffic), http_2);
    let io = TokioIo::new(Counted { stream, traffic: Arc::clone(&traffic) });
    let idle = traffic.until_idle(limits.body_timeout, limits.body_bytes_per_second);
    let ends = async {
        tokio::select! {
            () = idle => {}
            () = shutdown.asked() => {}
        }
    };
    // Both kinds of connection are driven in the same way, but have different types.
    macro_rules! drive {
        ($connection:expr) => {{
            let mut connection = std::pin::pin!($connection);
            tokio::select! {
                ended = connection.as_mut() => ended,
                () = ends => {
                    connection.as_mut().graceful_shutdown();
                    // A client that does not accept a graceful end either is cut off.
                    timeout(limits.header_timeout, connection).await.unwrap_or(Ok(()))
                }
            }
        }};
    }
    let ended = if http_2 {
        drive!(http_2_builder(limits).serve_connection(io, service))
    } else {
        drive!(http_1_builder(limits).serve_connection(io, service))
    };
    ended.or_else(|error| {
        tracing::debug!("a connection broke: {error}");
        let network = std::error::Error::source(&error)
            .is_some_and(|cause| cause.downcast_ref::<std::io::Error>().is_some());
        match () {
            () if error.is_timeout() => Err(Ended::SlowHeaders),
            () if network || error.is_incomplete_message() || error.is_closed() => Ok(()),
            () => Err(Ended::NotHttp),
        }
    })
}

/// Ends a connection so that the other end can read the last answer. Closing it with unread bytes
/// would reset it, and a client that is still writing would never read the answer or the alert.
pub(super) async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let listen = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // The connection ends whether or not this succeeds.
    let _ = timeout(LINGER, listen).await;
}

const LINGER: Duration = Duration::from_secs(2);
/// More than the buffers of both ends hold: a client sees the answer only when it has filled them.
const MAX_LINGER_BYTES: u64 = 32 << 20;

fn http_1_builder(limits: Limits) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEADER_BYTES)
        .half_close(false);
    builder
}

fn http_2_builder(limits: Limits) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let streams = u32::try_from(limits.requests.max(1)).unwrap_or(u32::MAX);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(streams)
        // A limit on streams that are opened and reset at once; beyond it the connection ends.
        .max_pending_accept_reset_streams(MAX_RESET_STREAMS)
        .max_local_error_reset_streams(MAX_RESET_STREAMS)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .initial_stream_window_size(HTTP_2_WINDOW)
        .initial_connection_window_size(2 * HTTP_2_WINDOW);
    builder
}

const MAX_HEADER_BYTES: usize = 16 << 10;
/// How often a silent HTTP/2 connection is pinged.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP_2_WINDOW: u32 = 1 << 20;
const MAX_RESET_STREAMS: usize = 20;

/// The body of a request over HTTP/2. One that is dropped half-read lives on for a while: without it, the stream is
/// cancelled, and a client that is still writing sees that in the place of the answer.
struct OutlivesAnswer(Option<hyper::body::Incoming>);

impl OutlivesAnswer {
    fn of(body: hyper::body::Incoming) -> Self {
        Self(Some(body))
    }
}

impl hyper::body::Body for OutlivesAnswer {
    type Data = axum::body::Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        match &mut self.0 {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(hyper::body::Body::is_end_stream)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.0.as_ref().map(hyper::body::Body::size_hint).unwrap_or_default()
    }
}

impl Drop for OutlivesAnswer {
    fn drop(&mut self) {
        let Some(body) = self.0.take().filter(|body| !hyper::body::Body::is_end_stream(body))
        else {
            return;
        };
        // Nothing more is read: the client stops when the stream's window is full.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                tokio::time::sleep(LINGER).await;
                drop(body);
            });
        }
    }
}

type RouterService = TowerToHyperService<Router>;

/// Answers requests of one connection, each with the party that asks.
fn service(
    router: Router,
    peer: Option<Peer>,
    traffic: Arc<Traffic>,
    http_2: bool,
) -> impl Service<
    Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Clone {
    let router: RouterService = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = match http_2 {
            true => request.map(|body| Body::new(OutlivesAnswer::of(body))),
            false => request.map(Body::new),
        };
        if let Some(peer) = &peer {
            request.extensions_mut().insert(peer.clone());
        }
        let busy = traffic.begin_request();
        let answering = router.call(request);
        async move {
            let answer = answering.await;
            drop(busy);
            answer
        }
    })
}
