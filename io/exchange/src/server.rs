//! The receiver's listeners, and how they end.

use std::future::ready;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reshare_format::session::Session;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::admission::Admission;
use super::gate::Gate;
use super::identity::{IdentityError, TlsIdentity};
use super::inbox::Inbox;
use super::limits::Limits;
use super::monitor::{Monitor, Stage};
use super::routes::{self, Delivery};
use super::run_facts::RunFacts;
use super::shutdown::Shutdown;
use super::tls::{KeyExchange, server_config};

/// The receiver's server, bound to its address but not serving yet.
pub struct Endpoint {
    listener: TcpListener,
    gate: Arc<Gate>,
}

/// What a server is made of.
#[derive(Debug)]
pub struct EndpointParts<'a> {
    /// The session.
    pub session: &'a Session,
    /// The receiver's certificate and key.
    pub identity: &'a TlsIdentity,
    /// Where deliveries go.
    pub inbox: Arc<Inbox>,
    /// What shows the server's state.
    pub monitor: Arc<Monitor>,
    /// What bounds it.
    pub limits: Limits,
    /// What it takes from senders.
    pub key_exchange: KeyExchange,
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
    /// Listens for deliveries into an open inbox.
    ///
    /// # Errors
    /// [`ServerError`] when the address is taken or the certificate is not the receiver's.
    pub async fn bind(listen: SocketAddr, parts: EndpointParts<'_>) -> Result<Self, ServerError> {
        let EndpointParts { session, identity, inbox, monitor, limits, key_exchange } = parts;
        let config = Arc::new(server_config(identity, key_exchange)?);
        let listener = bind(listen).await?;
        monitor.opened(&inbox, RunFacts::of(session, identity));
        monitor.enter(Stage::Receiving);
        let delivery = Delivery::new(session, inbox, Arc::clone(&monitor), limits);
        let delivery = Arc::new(delivery);
        let connections = session.senders().map(|sender| sender.party);
        let gate = Gate {
            acceptor: TlsAcceptor::from(config),
            names: identity.names.clone(),
            router: routes::router(Arc::clone(&delivery)),
            turned_away: routes::turned_away(delivery),
            monitor,
            limits,
            admission: Admission::new(limits.handshakes),
            connections: connections.map(|party| (party, Semaphore::new(limits.connections))),
            classic: connections.map(|party| (party, AtomicBool::new(false))),
        };
        Ok(Self { listener, gate: Arc::new(gate) })
    }

    /// The address of the listener.
    ///
    /// # Errors
    /// Any error of the system.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until it is asked to end, then waits a short time for requests in flight.
    pub fn serve(self, shutdown: Shutdown) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            let Self { listener, gate } = self;
            let ends = shutdown.clone();
            let admit = |address: SocketAddr| ready(gate.admission.admit(address.ip()));
            accept(&listener, &ends, admit, |stream, address, place| {
                Arc::clone(&gate).serve(stream, address, place, shutdown.clone())
            })
            .await;
        })
    }
}

impl std::fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Endpoint").field("listener", &self.listener).finish_non_exhaustive()
    }
}

/// How long requests in flight may take after the server is asked to end.
const SHUTDOWN_GRACE: Duration = Duration::from_millis(1500);
/// How long to wait when the system cannot open another connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often that is logged.
const ACCEPT_LOG_PERIOD: Duration = Duration::from_secs(60);

/// Checks whether [`Endpoint::bind`] could listen on an address, and releases it.
///
/// # Errors
/// [`ServerError::Listen`].
pub async fn try_listen(address: SocketAddr) -> Result<(), ServerError> {
    bind(address).await.map(drop)
}

pub(super) async fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|source| ServerError::Listen { address, source })
}

/// Accepts connections until the server is asked to end. `admit` limits them: it makes the next
/// one wait, or evicts another one.
pub(super) async fn accept<Admitting, Serving>(
    listener: &TcpListener,
    shutdown: &Shutdown,
    admit: impl Fn(SocketAddr) -> Admitting,
    serve: impl Fn(TcpStream, SocketAddr, Admitting::Output) -> Serving,
) where
    Admitting: Future,
    Serving: Future<Output = ()> + Send + 'static,
{
    let mut tasks = JoinSet::new();
    let accepting = async {
        let mut logged: Option<tokio::time::Instant> = None;
        loop {
            match listener.accept().await {
                Ok((stream, address)) => {
                    let place = admit(address).await;
                    tasks.spawn(serve(stream, address, place));
                }
                Err(error) => {
                    if logged.is_none_or(|at| at.elapsed() > ACCEPT_LOG_PERIOD) {
                        tracing::warn!("cannot accept a connection: {error}");
                        logged = Some(tokio::time::Instant::now());
                    }
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
    let _ = timeout(SHUTDOWN_GRACE, async { while tasks.join_next().await.is_some() {} }).await;
}
