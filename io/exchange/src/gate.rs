//! The steps of a connection for deliveries: admission, the handshake, the limit on its sender's
//! connections, then HTTP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use reshare_engine::party::PartyId;
use tokio::io::BufReader;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::admission::{Admission, Place};
use super::http::{Ended, Serving, linger, serve};
use super::identity::PartyNames;
use super::limits::Limits;
use super::log::Shown;
use super::monitor::Monitor;
use super::routes::Peer;
use super::shutdown::Shutdown;
use super::tls::{HTTP_2, is_classic, with_claimed_names};

/// What every connection for deliveries needs.
pub(super) struct Gate {
    pub(super) acceptor: TlsAcceptor,
    pub(super) names: PartyNames,
    pub(super) router: Router,
    /// Answers every request that the receiver is busy.
    pub(super) turned_away: Router,
    pub(super) monitor: Arc<Monitor>,
    pub(super) limits: Limits,
    pub(super) admission: Arc<Admission>,
    /// How many more connections each sender may open.
    pub(super) connections: [(PartyId, Semaphore); 2],
    /// Whether each sender has come with X25519 alone.
    pub(super) classic: [(PartyId, AtomicBool); 2],
}

impl Gate {
    /// Serves one connection to its end.
    pub(super) async fn serve(
        self: Arc<Self>,
        stream: TcpStream,
        address: SocketAddr,
        mut place: Place,
        shutdown: Shutdown,
    ) {
        // Small answers are sent at once. Without the option the socket still works.
        let _ = stream.set_nodelay(true);
        let handshake = place.unless_evicted(self.handshake(stream, address)).await;
        let Some(shaken) = handshake else {
            let why = "no handshake yet, and too many others wait";
            return self.refuse("crowded-out", address, "", why);
        };
        let Some((stream, peer)) = shaken else { return };
        let name = Arc::clone(&peer.name);
        let http_2 = stream.get_ref().1.alpn_protocol() == Some(HTTP_2);
        let connections = self.connections.iter().find(|(party, _)| *party == peer.party);
        let (peer, limits) = (Some(peer), self.limits);
        let serving = |router: &Router| {
            let router = router.clone();
            serve(stream, Serving { http_2, router, peer, limits, shutdown })
        };
        let ended = match connections.map(|(_, connections)| connections.try_acquire()) {
            Some(Ok(_connection)) => {
                drop(place);
                serving(&self.router).await
            }
            // It keeps its place, so that it can still be evicted.
            _ => place.unless_evicted(serving(&self.turned_away)).await.unwrap_or(Ok(())),
        };
        match ended {
            Ok(()) => {}
            Err(Ended::SlowHeaders) => {
                tracing::debug!(%address, "no more requests: the connection is closed");
            }
            Err(Ended::NotHttp) => {
                self.refuse(
                    "not-http",
                    address,
                    &name,
                    "what came is no HTTP, or breaks its rules",
                );
            }
        }
    }

    /// Finds out whose connection it is; `None` when it is refused.
    async fn handshake(
        &self,
        stream: TcpStream,
        address: SocketAddr,
    ) -> Option<(TlsStream<BufReader<TcpStream>>, Peer)> {
        // rustls reads four KiB at a time.
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        let accepting = self.acceptor.accept(stream).into_fallible();
        let accepting = timeout(self.limits.header_timeout, accepting);
        let (handshake, names) = with_claimed_names(accepting).await;
        let names = names.unwrap_or_default();
        let stream = match handshake {
            Ok(Ok(stream)) => stream,
            Ok(Err((error, stream))) => {
                let (reason, why) = handshake_reason(&error);
                let why = match why {
                    Some(why) => format!("{why} ({error})"),
                    None => error.to_string(),
                };
                self.refuse(reason, address, &names, &why);
                // So the other end can read the alert.
                linger(stream).await;
                return None;
            }
            Err(_) => {
                self.refuse("slow-handshake", address, &names, "no handshake in time");
                return None;
            }
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let Some(party) = certificate.and_then(|der| self.names.sender_of(der)) else {
            self.refuse("not-a-sender", address, &names, "the certificate is no sender's");
            return None;
        };
        let name = self.names.senders.iter().find(|(sender, _)| *sender == party);
        let name = name.map_or(String::new(), |(_, name)| name.to_string());
        if is_classic(stream.get_ref().1.negotiated_key_exchange_group()) {
            self.note_classic(party, address, &name);
        }
        Some((stream, Peer { party, address, name: name.into() }))
    }

    /// Logs that a sender's key exchange was X25519 alone, at its first such connection.
    fn note_classic(&self, sender: PartyId, address: SocketAddr, name: &str) {
        let noted = self.classic.iter().find(|(party, _)| *party == sender);
        if noted.is_some_and(|(_, noted)| !noted.swap(true, Ordering::Relaxed)) {
            let names = Shown(name);
            tracing::warn!(
                %address, %sender, %names,
                "classic key exchange (X25519): who stores this connection can read it once there is a \
                 large quantum computer. Parts are sealed for themselves"
            );
        }
    }

    fn refuse(&self, reason: &'static str, address: SocketAddr, names: &str, why: &str) {
        self.monitor.refuse(reason, |unlogged| {
            let (names, why) = (Shown(names), Shown(why));
            tracing::warn!(%address, reason, %names, unlogged, "connection refused: {why}");
        });
    }
}

/// What is read from a socket at once, at most.
const READ_BYTES: usize = 128 << 10;

/// Why a handshake failed: in one word, and in clearer words than the library's if it has some.
fn handshake_reason(error: &io::Error) -> (&'static str, Option<&'static str>) {
    use rustls::{CertificateError as Certificate, Error, PeerIncompatible};
    let tls = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
    match tls {
        Some(Error::NoCertificatesPresented) => {
            ("no-certificate", Some("the client shows no certificate"))
        }
        Some(Error::InvalidCertificate(why)) => match why {
            Certificate::Expired | Certificate::ExpiredContext { .. } => {
                ("expired", Some("the client's certificate has expired"))
            }
            Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                ("not-yet-valid", Some("the client's certificate is not valid yet"))
            }
            Certificate::UnknownIssuer => (
                "unknown-issuer",
                Some("another authority than the session's made the certificate"),
            ),
            Certificate::ApplicationVerificationFailure => {
                ("not-a-sender", Some("the certificate is that of no sender of this session"))
            }
            // Another authority with the same name as the session's.
            Certificate::BadSignature => (
                "certificate",
                Some("the session's authority did not sign the client's certificate"),
            ),
            _ => ("certificate", Some("the client's certificate is not fit for this")),
        },
        Some(Error::PeerIncompatible(PeerIncompatible::NoKxGroupsInCommon)) => {
            ("key-exchange", Some("the client offers no key exchange that this receiver takes"))
        }
        Some(Error::AlertReceived(_)) => {
            ("handshake", Some("the client refuses this receiver, or its certificate"))
        }
        Some(_) => ("handshake", Some("the client speaks no TLS 1.3 that this receiver takes")),
        None => ("broken-handshake", None),
    }
}
