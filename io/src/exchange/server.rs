//! The receiver's two listeners: deliveries over mutual TLS, and health in the clear.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::health::{self, Health};
use super::identity::{IdentityError, TlsIdentity};
use super::inbox::Inbox;
use super::limits::Limits;
use super::metrics::Metrics;
use super::names::PartyNames;
use super::peer::{HTTP_2, server_config};
use super::routes::{self, Delivery, Peer};
use crate::pipeline::progress::Progress;
use crate::session::Session;

/// The receiver's server, bound to its addresses and not yet serving.
pub struct Endpoint {
    listener: TcpListener,
    health: Option<(TcpListener, Router)>,
    acceptor: TlsAcceptor,
    names: PartyNames,
    router: Router,
    metrics: Arc<Metrics>,
    limits: Limits,
}

/// Tells a running server to end: requests in flight may finish.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Sender<bool>);

impl Default for Shutdown {
    fn default() -> Self {
        Self(watch::Sender::new(false))
    }
}

impl Shutdown {
    /// Asks the server to end.
    pub fn ask(&self) {
        self.0.send_replace(true);
    }

    async fn asked(&self) {
        // This side holds the sender: the channel cannot end first.
        let _ = self.0.subscribe().wait_for(|asked| *asked).await;
    }
}

/// Why the server cannot run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The receiver cannot prove who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl Endpoint {
    /// Listens on both addresses.
    ///
    /// # Errors
    /// [`ServerError`] when an address is taken or the certificate is not the receiver's.
    pub async fn bind(
        listen: SocketAddr,
        health_listen: Option<SocketAddr>,
        session: &Session,
        identity: &TlsIdentity,
        inbox: Arc<Inbox>,
        rebuild: Arc<Progress>,
        limits: Limits,
    ) -> Result<Self, ServerError> {
        let config = Arc::new(server_config(identity)?);
        let metrics = Arc::new(Metrics::default());
        let health = match health_listen {
            None => None,
            Some(address) => {
                let (inbox, metrics) = (Arc::clone(&inbox), Arc::clone(&metrics));
                let router = health::router(Health { inbox, metrics, rebuild });
                Some((bind(address).await?, router))
            }
        };
        let delivery = Delivery::new(session, inbox, Arc::clone(&metrics), limits);
        Ok(Self {
            listener: bind(listen).await?,
            health,
            acceptor: TlsAcceptor::from(config),
            names: identity.names.clone(),
            router: routes::router(Arc::new(delivery)),
            metrics,
            limits,
        })
    }

    /// The addresses that are listened on: deliveries, then health.
    ///
    /// # Errors
    /// What the system says.
    pub fn addresses(&self) -> io::Result<(SocketAddr, Option<SocketAddr>)> {
        let health = self.health.as_ref().map(|(listener, _)| listener.local_addr());
        Ok((self.listener.local_addr()?, health.transpose()?))
    }

    /// Serves until it is asked to end, then waits a while for requests in flight.
    pub async fn serve(self, shutdown: Shutdown) {
        let Self { listener, health, acceptor, names, router, metrics, limits } = self;
        let gate = Arc::new(Gate { acceptor, names, router, metrics, limits });
        let mut listeners = JoinSet::new();
        listeners.spawn({
            let shutdown = shutdown.clone();
            let serve = {
                let shutdown = shutdown.clone();
                move |stream, address| Arc::clone(&gate).serve(stream, address, shutdown.clone())
            };
            async move { accept(&listener, limits.connections, &shutdown, serve).await }
        });
        if let Some((listener, router)) = health {
            listeners.spawn(async move {
                let serve = {
                    let shutdown = shutdown.clone();
                    move |stream, _| {
                        let (router, shutdown) = (router.clone(), shutdown.clone());
                        async move {
                            serve_http_1(stream, service(router, None), limits, &shutdown).await
                        }
                    }
                };
                accept(&listener, HEALTH_CONNECTIONS, &shutdown, serve).await;
            });
        }
        listeners.join_all().await;
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// What every connection for deliveries needs.
struct Gate {
    acceptor: TlsAcceptor,
    names: PartyNames,
    router: Router,
    metrics: Arc<Metrics>,
    limits: Limits,
}

impl Gate {
    async fn serve(self: Arc<Self>, stream: TcpStream, address: SocketAddr, shutdown: Shutdown) {
        // Small answers go out at once; a socket that cannot be told still works.
        let _ = stream.set_nodelay(true);
        let accepting = self.acceptor.accept(stream).into_fallible();
        let handshake = timeout(self.limits.header_timeout, accepting).await;
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err((error, stream))) => {
                let reason = handshake_reason(&error);
                self.metrics.refuse(reason);
                tracing::warn!(%address, reason, "refused: {error}");
                return linger(stream).await;
            }
            Err(_) => {
                self.metrics.refuse("slow-handshake");
                tracing::warn!(%address, reason = "slow-handshake", "refused: no handshake in time");
                return;
            }
        };
        let (_, tls) = stream.get_ref();
        let certificate = tls.peer_certificates().and_then(<[_]>::first);
        let Some(peer) = certificate.and_then(|der| self.names.sender_of(der)) else {
            self.metrics.refuse("not-a-sender");
            return;
        };
        let http_2 = tls.alpn_protocol() == Some(HTTP_2);
        let service = service(self.router.clone(), Some(Peer(peer)));
        if http_2 {
            serve_http_2(stream, service, self.limits, &shutdown).await;
        } else {
            serve_http_1(stream, service, self.limits, &shutdown).await;
        }
    }
}

/// Lets the other end read the alert: closing with bytes of it unread would reset the
/// connection, and the alert would be lost.
async fn linger(mut stream: TcpStream) {
    let listen = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(MAX_LINGER_BYTES), &mut tokio::io::sink()).await
    };
    // Whatever comes of it: the connection is over.
    let _ = timeout(LINGER, listen).await;
}

const LINGER: Duration = Duration::from_secs(2);
const MAX_LINGER_BYTES: u64 = 1 << 20;
/// Connections to `/health` and `/metrics` that are open at the same time.
const HEALTH_CONNECTIONS: usize = 16;
/// How long requests in flight may take once the server was asked to end.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to wait when the system cannot open another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
const MAX_HEADER_BYTES: usize = 16 << 10;
/// How often a silent HTTP/2 connection is asked whether it lives.
const PING_INTERVAL: Duration = Duration::from_secs(20);
const HTTP_2_WINDOW: u32 = 1 << 20;

async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServerError::Listen { address, source })
}

/// Accepts so many connections at the same time, until the server is asked to end.
async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: &TcpListener,
    connections: usize,
    shutdown: &Shutdown,
    serve: impl Fn(TcpStream, SocketAddr) -> F,
) {
    let places = Arc::new(Semaphore::new(connections));
    let mut tasks = JoinSet::new();
    let accepting = async {
        loop {
            let place = Arc::clone(&places).acquire_owned().await;
            match listener.accept().await {
                Ok((stream, address)) => {
                    let serving = serve(stream, address);
                    tasks.spawn(async move {
                        serving.await;
                        drop(place);
                    });
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            while tasks.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        () = accepting => {}
        () = shutdown.asked() => {}
    }
    let _ = timeout(PATIENCE, async { while tasks.join_next().await.is_some() {} }).await;
}

type RouterService = TowerToHyperService<Router>;

/// Answers requests of one connection, each with the party that asks.
fn service(
    router: Router,
    peer: Option<Peer>,
) -> impl Service<
    Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send + 'static,
> + Clone {
    let router: RouterService = TowerToHyperService::new(router);
    hyper::service::service_fn(move |request: Request<hyper::body::Incoming>| {
        let mut request = request.map(Body::new);
        if let Some(peer) = peer {
            request.extensions_mut().insert(peer);
        }
        router.call(request)
    })
}

async fn serve_http_1<IO, S>(stream: IO, service: S, limits: Limits, shutdown: &Shutdown)
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<
            Request<hyper::body::Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
        >,
{
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_header_size(MAX_HEADER_BYTES)
        .half_close(false);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke: {error}");
    }
}

async fn serve_http_2<IO, S>(stream: IO, service: S, limits: Limits, shutdown: &Shutdown)
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service<
            Request<hyper::body::Incoming>,
            Response = axum::response::Response,
            Error = std::convert::Infallible,
            Future: Send + 'static,
        >,
{
    let mut builder = http2::Builder::new(TokioExecutor::new());
    let streams = u32::try_from(limits.requests.max(1)).unwrap_or(u32::MAX);
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(limits.header_timeout)
        .max_concurrent_streams(streams)
        .max_header_list_size(MAX_HEADER_BYTES as u32)
        .initial_stream_window_size(HTTP_2_WINDOW)
        .initial_connection_window_size(2 * HTTP_2_WINDOW);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("a connection broke: {error}");
    }
}

/// Why a handshake failed, in one word.
fn handshake_reason(error: &io::Error) -> &'static str {
    use rustls::{CertificateError as Certificate, Error};
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match tls {
        Some(Error::NoCertificatesPresented) => "no-certificate",
        Some(Error::InvalidCertificate(why)) => match why {
            Certificate::Expired | Certificate::ExpiredContext { .. } => "expired",
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => "not-yet-valid",
            Certificate::UnknownIssuer => "unknown-issuer",
            Certificate::ApplicationVerificationFailure => "not-a-sender",
            _ => "certificate",
        },
        Some(_) => "handshake",
        None => "broken-handshake",
    }
}
