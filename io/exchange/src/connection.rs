//! One connection to the receiver, and one attempt at a request on it.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::client_error::{AttemptError, ClientError};
use super::tls::{KeyExchange, server_certificate_defect};
use super::upload_body::UploadBody;

/// The receiver's address, and how to authenticate it.
#[derive(Clone)]
pub(super) struct Dialer {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) server_name: ServerName<'static>,
    pub(super) connector: TlsConnector,
    /// What the connector offers.
    pub(super) key_exchange: KeyExchange,
    pub(super) timeout: Duration,
}

/// How one attempt failed.
pub(super) enum Failed {
    /// Another attempt may succeed.
    Again(AttemptError),
    /// No attempt will succeed.
    Never(ClientError),
}

/// The sending half of a connection, and the task that drives it.
#[derive(Debug)]
pub(super) struct Sending {
    requests: SendRequest<UploadBody>,
    driver: Option<JoinHandle<hyper::Result<()>>>,
}

impl Sending {
    /// Whether the connection has ended.
    pub(super) fn is_closed(&self) -> bool {
        self.requests.is_closed()
    }

    /// What ended the connection, if its driver reports it. A request that comes too late only
    /// learns that the connection has ended.
    async fn cause(&mut self) -> Option<hyper::Error> {
        let driver = timeout(DRIVER_END, self.driver.take()?).await;
        driver.ok()?.ok()?.err()
    }
}

/// How long the driver of a broken connection may take to report the cause.
const DRIVER_END: Duration = Duration::from_secs(1);

impl Dialer {
    /// Connects, authenticates both ends, and starts a task that drives the connection.
    pub(super) async fn connect(&self) -> Result<Sending, Failed> {
        let dial = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            // Small requests are sent at once. Without the option the socket still works.
            let _ = stream.set_nodelay(true);
            self.connector.connect(self.server_name.clone(), stream).await
        };
        let stream = match timeout(self.timeout, dial).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.failed(error)),
            Err(_) => return Err(Failed::Again(AttemptError::Timeout(self.timeout))),
        };
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (requests, connection) = shaken.map_err(|error| self.broken(error))?;
        Ok(Sending { requests, driver: Some(tokio::spawn(connection)) })
    }

    /// Sends one request and reads the whole answer.
    pub(super) async fn ask(
        &self,
        sending: &mut Sending,
        request: Request<UploadBody>,
        longest: Duration,
        max_answer_bytes: usize,
    ) -> Result<Response<Bytes>, Failed> {
        let requests = &mut sending.requests;
        let asked = async {
            requests.ready().await?;
            let (head, body) = requests.send_request(request).await?.into_parts();
            Ok::<_, hyper::Error>(Response::from_parts(head, Limited::new(body, max_answer_bytes)))
        };
        let answered = async {
            let answer = asked.await.map_err(|error| self.broken(error))?;
            let (head, body) = answer.into_parts();
            match body.collect().await {
                Ok(body) => Ok(Response::from_parts(head, body.to_bytes())),
                Err(error) => match error.downcast::<hyper::Error>() {
                    Ok(error) => Err(self.broken(*error)),
                    Err(_) => {
                        let what = "a request, larger than any".to_owned();
                        Err(Failed::Never(ClientError::Answer { what }))
                    }
                },
            }
        };
        match timeout(longest, answered).await {
            Ok(Err(Failed::Again(error))) => match sending.cause().await {
                Some(cause) if tls_error(&cause).is_some() => Err(self.broken(cause)),
                _ => Err(Failed::Again(error)),
            },
            Ok(answered) => answered,
            Err(_) => Err(Failed::Again(AttemptError::Timeout(longest))),
        }
    }

    /// Separates alerts, which are permanent, from failures of the network.
    ///
    /// In TLS 1.3 the receiver's verdict on a certificate arrives after the handshake, so any read
    /// or write may return it.
    fn broken(&self, error: hyper::Error) -> Failed {
        if error.is_user() {
            return Failed::Never(ClientError::Read(error));
        }
        match tls_error(&error) {
            Some(tls) => self.judged(tls.clone(), || AttemptError::Http(error)),
            None => Failed::Again(AttemptError::Http(error)),
        }
    }

    fn failed(&self, source: io::Error) -> Failed {
        let tls = source.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()).cloned();
        let again = || AttemptError::Connect { host: self.host.clone(), source };
        match tls {
            Some(tls) => self.judged(tls, again),
            None => Failed::Again(again()),
        }
    }

    fn judged(&self, tls: rustls::Error, again: impl FnOnce() -> AttemptError) -> Failed {
        use rustls::{AlertDescription as Alert, Error};
        let host = self.host.clone();
        let why = match tls {
            Error::InvalidCertificate(error) => {
                let why = server_certificate_defect(&error);
                return Failed::Never(ClientError::NotTheReceiver { host, why });
            }
            // This program's ends agree on all else that is negotiated.
            Error::AlertReceived(Alert::HandshakeFailure)
                if self.key_exchange == KeyExchange::Hybrid =>
            {
                return Failed::Never(ClientError::NoHybridKeyExchange { host });
            }
            Error::AlertReceived(Alert::AccessDenied) => {
                "it is not that of a sender of the session"
            }
            Error::AlertReceived(Alert::UnknownCA) => "another certificate authority made it",
            Error::AlertReceived(Alert::CertificateExpired) => {
                "it has expired, or is not valid yet"
            }
            Error::AlertReceived(Alert::CertificateRequired) => "it asks for one",
            Error::AlertReceived(
                Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::DecryptError,
            ) => "it is not fit for its purpose",
            _ => return Failed::Again(again()),
        };
        Failed::Never(ClientError::CertificateRefused { host, why })
    }
}

/// Looks for a TLS error among the causes of a connection's failure.
fn tls_error(error: &hyper::Error) -> Option<&rustls::Error> {
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Some(tls);
        }
        // The source of an I/O error skips the error that it wraps.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(tls) = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            return Some(tls);
        }
        cause = error.source();
    }
    None
}
