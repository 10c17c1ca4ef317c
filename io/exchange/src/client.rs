//! A sender's client: requests to the receiver, with retries if they may help.

use std::error::Error as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use hyper::{Method, Request, Response, StatusCode, Uri, header};
use reshare_engine::party::PartyId;
use reshare_format::keys::certificate::Purpose;
use reshare_format::package::PartName;
use reshare_format::session::Session;
use rustls::pki_types::ServerName;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio_rustls::TlsConnector;

use super::announced::PART_RECORD;
use super::client_error::{AttemptError, ClientError};
use super::connection::{Dialer, Failed, Sending};
use super::digest::{REPR_DIGEST, ReprDigest};
use super::identity::TlsIdentity;
use super::idle::Idle;
use super::listing::{Listing, RefusalBody};
use super::log::{AttemptLog, Shown};
use super::refusal::INBOX_FULL;
use super::retry::Retry;
use super::standing::{RECEIVER, Standing};
use super::statements::SignedStatements;
use super::tls::{KeyExchange, client_config};
use super::upload_body::{Content, UploadBody};

/// Time-outs and limits of a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientOptions {
    /// How long a request is retried before the delivery ends.
    pub give_up_after: Duration,
    /// The longest pause before the second attempt; it doubles with each attempt.
    pub first_pause: Duration,
    /// The time limit for connecting, and for an answer after everything is sent.
    pub timeout: Duration,
    /// The minimum speed of sending a body, in bytes a second.
    pub bytes_per_second: u64,
    /// What is offered to the receiver.
    pub key_exchange: KeyExchange,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            give_up_after: Duration::from_secs(600),
            first_pause: Duration::from_millis(200),
            timeout: Duration::from_secs(60),
            bytes_per_second: 16 << 10,
            key_exchange: KeyExchange::Hybrid,
        }
    }
}

/// Where a package is delivered: one sender's package at the receiver of one session.
#[derive(Clone)]
pub struct DeliveryTarget {
    dialer: Dialer,
    /// Path of the package.
    path: Arc<str>,
    options: ClientOptions,
    /// Shared by all requests to this target.
    log: Arc<AttemptLog>,
    /// Attempts that have failed and were followed by another, of all requests.
    retries: Arc<AtomicU64>,
    /// Connections that no client uses now.
    idle: Arc<Idle>,
}

impl DeliveryTarget {
    /// Parses the receiver's URL and prepares this sender's authentication.
    ///
    /// # Errors
    /// [`ClientError`] when the URL is not valid, or the certificate is not the sender's.
    pub fn new(
        session: &Session,
        sender: PartyId,
        url: &str,
        identity: &TlsIdentity,
        options: ClientOptions,
    ) -> Result<Self, ClientError> {
        let names = &identity.names.senders;
        if let Some((_, name)) = names.iter().find(|(party, _)| *party == sender) {
            identity.check(name, Purpose::TlsClient)?;
        }
        let bad_url = || ClientError::Url { url: url.to_owned() };
        let uri: Uri = url.parse().map_err(|_| bad_url())?;
        let authority = uri.authority().ok_or_else(bad_url)?;
        let plain = uri.scheme_str() == Some("https")
            && uri.query().is_none()
            && !authority.as_str().contains('@');
        if !plain {
            return Err(bad_url());
        }
        // An IPv6 address is in brackets.
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| bad_url())?;
        let connector =
            TlsConnector::from(Arc::new(client_config(identity, options.key_exchange)?));
        let base = uri.path().trim_end_matches('/');
        let path = format!("{base}/v1/sessions/{}/parties/{sender}", session.id());
        let port = authority.port_u16().unwrap_or(HTTPS_PORT);
        let timeout = options.timeout;
        let key_exchange = options.key_exchange;
        let dialer = Dialer { host, port, server_name, connector, key_exchange, timeout };
        let (log, retries, idle) = (Arc::default(), Arc::default(), Arc::default());
        Ok(Self { dialer, path: path.into(), options, log, retries, idle })
    }

    /// The same target, without retries and with this time limit.
    #[must_use]
    pub fn once(mut self, timeout: Duration) -> Self {
        self.options.give_up_after = Duration::ZERO;
        self.options.timeout = timeout;
        self.dialer.timeout = timeout;
        self
    }

    /// What the receiver has of the package.
    ///
    /// # Errors
    /// A [`ClientError`] when the receiver does not answer with a list.
    pub fn list(&self) -> BoxFuture<'_, Result<Listing, ClientError>> {
        Box::pin(async move {
            let answer = self.client().request(Method::GET, "", None).await?;
            read_listing(answer.body())
        })
    }

    /// Counts the attempts that were followed by another.
    #[must_use]
    pub fn retries(&self) -> &Arc<AtomicU64> {
        &self.retries
    }

    /// Leaves this sender's own approval at the receiver, if there is one, and takes what other
    /// parties have signed.
    ///
    /// # Errors
    /// A [`ClientError`]: the receiver cannot be reached, does not accept this sender or its
    /// approval, or knows no such request.
    pub fn exchange_statements<'a>(
        &'a self,
        approval: Option<&'a [u8]>,
    ) -> BoxFuture<'a, Result<SignedStatements, ClientError>> {
        Box::pin(async move {
            let mut client = self.client();
            if let Some(approval) = approval {
                let content = Content::Memory(Bytes::copy_from_slice(approval));
                let blake3 = blake3::hash(approval);
                let upload = Upload { content: &content, blake3, record: None };
                client.put("/approval", upload).await?;
            }
            let answer = client.request(Method::GET, "/statements", None).await?;
            let what = || "what the parties have signed".to_owned();
            serde_json::from_slice(answer.body()).map_err(|_| ClientError::Answer { what: what() })
        })
    }

    /// Logs a failed attempt. A request without retries returns it as its error instead.
    fn log_failure(&self, what: &str, failed: &AttemptError) {
        let cause = failed.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        let why = format!("{failed}{cause}");
        let why = Shown(&why);
        let give_up_after = self.options.give_up_after;
        if give_up_after > Duration::ZERO && self.log.admit(Instant::now()) {
            let (host, seconds) = (&self.dialer.host, give_up_after.as_secs());
            tracing::warn!("{host} takes nothing, each request is tried for {seconds} s: {why}");
        } else {
            tracing::debug!(%what, "attempt failed: {why}");
        }
    }

    /// A client with a connection that no other client uses: on a long line a new one costs some
    /// round trips.
    #[must_use]
    pub fn client(&self) -> Client {
        Client { target: self.clone(), sending: None, sent: Arc::default() }
    }
}

impl std::fmt::Debug for DeliveryTarget {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Dialer { host, port, .. } = &self.dialer;
        f.debug_struct("DeliveryTarget")
            .field("host", host)
            .field("port", port)
            .finish_non_exhaustive()
    }
}

const HTTPS_PORT: u16 = 443;
/// The largest listing: enough for as many parts as a package may have.
const MAX_ANSWER_BYTES: usize = 128 << 20;

/// One connection to the receiver, opened when it is needed unless an earlier client has left one.
#[derive(Debug)]
pub struct Client {
    target: DeliveryTarget,
    sending: Option<Sending>,
    /// Counts the bytes of bodies that are handed to a connection.
    sent: Arc<AtomicU64>,
}

impl Client {
    /// The same, counting what it sends into `sent`.
    pub(super) fn counting(mut self, sent: &Arc<AtomicU64>) -> Self {
        self.sent = Arc::clone(sent);
        self
    }

    /// Connects before there is something to send. A failure is left to the first request.
    pub(super) async fn connect_ahead(&mut self) {
        if self.sending.is_none() {
            self.sending = match self.target.idle.take() {
                None => self.target.dialer.connect().await.ok(),
                idle => idle,
            };
        }
    }

    /// Asks what the receiver has of the package, and for the receiver's time.
    ///
    /// # Errors
    /// A [`ClientError`]: the receiver cannot be reached, or does not accept this sender.
    pub fn probe(&mut self) -> BoxFuture<'_, Result<ReceiverState, ClientError>> {
        Box::pin(async move {
            let answer = self.request(Method::GET, "", None).await?;
            let date = answer.headers().get(header::DATE).and_then(|date| date.to_str().ok());
            let receiver_time = date.and_then(|date| OffsetDateTime::parse(date, &Rfc2822).ok());
            ReceiverState::of(read_listing(answer.body())?, receiver_time)
        })
    }

    /// Delivers a part or a closing file; on return it is durable at the receiver.
    pub(super) async fn put(&mut self, place: &str, upload: Upload<'_>) -> Result<(), ClientError> {
        self.request(Method::PUT, place, Some(upload)).await.map(drop)
    }

    /// Uploads a part; what became of it, and where the receiver is.
    ///
    /// # Errors
    /// As every request's. A full inbox is none.
    pub(super) async fn put_part(
        &mut self,
        name: PartName,
        upload: Upload<'_>,
    ) -> Result<(Taken, Option<Standing>), ClientError> {
        let answer = self.request(Method::PUT, &format!("/parts/{name}"), Some(upload)).await?;
        let standing = answer.headers().get(RECEIVER).and_then(|value| value.to_str().ok());
        let taken = match answer.status() {
            StatusCode::ACCEPTED => Taken::Held,
            status if status.is_success() => Taken::Durable,
            _ => {
                // The receiver is well, and waits for the other sender: that may take hours.
                tracing::info!(
                    "{}: this sender's half of the inbox is full",
                    self.target.dialer.host
                );
                Taken::Full
            }
        };
        Ok((taken, standing.and_then(Standing::parse)))
    }

    /// Retries a request until it succeeds, is refused, or the time is up.
    pub(super) async fn request(
        &mut self,
        method: Method,
        place: &str,
        body: Option<Upload<'_>>,
    ) -> Result<Response<Bytes>, ClientError> {
        let what = || format!("{method} {}{place}", self.target.path);
        let what = what();
        let ClientOptions { give_up_after, first_pause, .. } = self.target.options;
        let mut retry = Retry::new(give_up_after, first_pause);
        loop {
            let failed = match self.attempt(&method, place, body).await {
                Ok(answer) if answer.status().is_success() => return Ok(answer),
                Ok(answer) if is_inbox_full(&answer) => {
                    // What was sent of the body is still on the line.
                    self.sending = None;
                    return Ok(answer);
                }
                Ok(answer) => judge(answer.status(), answer.body(), &what)?,
                Err(Failed::Never(error)) => return Err(error),
                Err(Failed::Again(error)) => error,
            };
            // The connection is in an unknown state: the next attempt opens another one.
            self.sending = None;
            self.target.log_failure(&what, &failed);
            if !retry.wait().await {
                let (attempts, tried) = retry.so_far();
                let source = Box::new(failed);
                return Err(ClientError::GaveUp { what, tried, attempts, source });
            }
            self.target.retries.fetch_add(1, Ordering::Relaxed);
        }
    }

    async fn attempt(
        &mut self,
        method: &Method,
        place: &str,
        body: Option<Upload<'_>>,
    ) -> Result<Response<Bytes>, Failed> {
        let DeliveryTarget { dialer, path, options, idle, .. } = &self.target;
        // Taken out: a request that is abandoned midway must not leave its connection to another.
        let open = self.sending.take().filter(|sending| !sending.is_closed());
        let mut sending = match open.or_else(|| idle.take()) {
            Some(sending) => sending,
            None => dialer.connect().await?,
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{path}{place}"))
            .header(header::HOST, format!("{}:{}", host_header(&dialer.host), dialer.port));
        let mut longest = options.timeout;
        let body = match body {
            None => UploadBody::empty(),
            Some(Upload { content, blake3, record }) => {
                let digest = ReprDigest::Blake3(*blake3.as_bytes());
                request = request.header(REPR_DIGEST, digest.to_string());
                // Said of an empty body, too.
                request = request.header(header::CONTENT_LENGTH, content.bytes());
                if let Some(record) = record {
                    request = request.header(PART_RECORD, record);
                }
                let seconds = content.bytes() / options.bytes_per_second.max(1);
                longest = longest.saturating_add(Duration::from_secs(seconds));
                UploadBody::of(content, &self.sent)
            }
        };
        let never = |_| Failed::Never(ClientError::Url { url: format!("{path}{place}") });
        let request = request.body(body).map_err(never)?;
        let answer = dialer.ask(&mut sending, request, longest, MAX_ANSWER_BYTES).await?;
        self.sending = Some(sending);
        Ok(answer)
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        if let Some(sending) = self.sending.take() {
            self.target.idle.put(sending);
        }
    }
}

/// What a request delivers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upload<'a> {
    pub(super) content: &'a Content,
    pub(super) blake3: blake3::Hash,
    /// What the sender has signed of a part.
    pub(super) record: Option<&'a str>,
}

/// What became of a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// It is durable, or its rows are loaded.
    Durable,
    /// It is in the receiver's memory until its rows are loaded.
    Held,
    /// There is no room for it while the other sender is behind.
    Full,
}

fn is_inbox_full(answer: &Response<Bytes>) -> bool {
    answer.status() == StatusCode::SERVICE_UNAVAILABLE
        && serde_json::from_slice(answer.body())
            .is_ok_and(|RefusalBody { error, .. }| error == INBOX_FULL)
}

/// What the receiver says it has of a sender's package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverState {
    /// Its list.
    pub listing: Listing,
    /// The number of parts.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The receiver's clock, to the second, if it sends one.
    pub receiver_time: Option<OffsetDateTime>,
}

impl ReceiverState {
    fn of(listing: Listing, receiver_time: Option<OffsetDateTime>) -> Result<Self, ClientError> {
        // What covers ids without a row is no part.
        let parts: Vec<_> = listing.parts.iter().filter(|part| part.bytes > 0).collect();
        let bytes = parts.iter().try_fold(0_u64, |all, part| all.checked_add(part.bytes));
        let (bytes, parts) = (bytes.ok_or_else(not_a_listing)?, parts.len() as u64);
        Ok(Self { listing, parts, bytes, receiver_time })
    }
}

fn read_listing(answer: &[u8]) -> Result<Listing, ClientError> {
    serde_json::from_slice(answer).map_err(|_| not_a_listing())
}

fn not_a_listing() -> ClientError {
    ClientError::Answer { what: "the list of parts".to_owned() }
}

/// Puts an IPv6 address in brackets.
fn host_header(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

/// Separates answers that may change from those that will not.
fn judge(status: StatusCode, answer: &[u8], what: &str) -> Result<AttemptError, ClientError> {
    let body = serde_json::from_slice(answer).unwrap_or_else(|_| RefusalBody {
        error: "unknown".to_owned(),
        message: "no reason that is understood".to_owned(),
    });
    let RefusalBody { error: reason, message } = body;
    let later = status.is_server_error()
        || [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    let (status, what) = (status.as_u16(), what.to_owned());
    if later {
        return Ok(AttemptError::Later { status, reason, message });
    }
    Err(ClientError::Refused { what, status, reason, message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_of_more_bytes_than_can_be_counted_is_no_answer() {
        let listing = |bytes: [u64; 2]| {
            let part = |(index, bytes)| {
                format!(r#"{{"name":"part-{index:06}.age","bytes":{bytes},"blake3":""}}"#)
            };
            let parts = bytes.into_iter().enumerate().map(part).collect::<Vec<_>>().join(",");
            let text = format!(r#"{{"closed":false,"parts":[{parts}]}}"#);
            ReceiverState::of(read_listing(text.as_bytes()).expect("a listing"), None)
        };
        let most = listing([u64::MAX - 1, 1]).expect("they can be counted");
        assert_eq!((most.parts, most.bytes), (2, u64::MAX));
        let more = listing([u64::MAX, 1]).expect_err("they cannot");
        assert!(matches!(more, ClientError::Answer { .. }), "{more}");
    }
}
