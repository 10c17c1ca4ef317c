//! The routes of `/v1`: what may be requested, and by whom.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use axum::{Router, middleware};
use reshare_engine::party::PartyId;
use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{
    CHAIN_NAME, MAX_MANIFEST_BYTES, MAX_SIGNATURE_BYTES, PartName, SIGNATURE_NAME,
};
use reshare_format::session::{Approval, Session};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;

use super::announced::{Announced, PART_RECORD};
use super::body::BodyReader;
use super::digest::{BodyHasher, REPR_DIGEST, ReprDigest};
use super::inbox::Inbox;
use super::limits::Limits;
use super::line::MAX_BODY_BYTES;
use super::log::Shown;
use super::monitor::Monitor;
use super::proofs::Proof;
use super::refusal::{Refusal, json_text};
use super::room::{Admitted, OnFull, Room};
use super::slot::{Accepted, Slot};
use super::standing::RECEIVER;

/// The party whose certificate the connection uses.
#[derive(Debug, Clone)]
pub(super) struct Peer {
    pub(super) party: PartyId,
    /// The name in its certificate.
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
}

/// What the routes need.
pub(super) struct Delivery {
    pub(super) session_id: String,
    pub(super) max_part_bytes: u64,
    pub(super) inbox: Arc<Inbox>,
    pub(super) monitor: Arc<Monitor>,
    pub(super) limits: Limits,
    /// How many more requests each sender may make.
    pub(super) requests: [(PartyId, Semaphore); 2],
    /// Whether a sender's manifest is being received: only one at a time is held in memory.
    manifests: [(PartyId, Semaphore); 2],
}

impl Delivery {
    pub(super) fn new(
        session: &Session,
        inbox: Arc<Inbox>,
        monitor: Arc<Monitor>,
        limits: Limits,
    ) -> Self {
        let senders = session.senders().map(|sender| sender.party);
        Self {
            session_id: session.id().to_string(),
            max_part_bytes: session.max_part_bytes(),
            inbox,
            monitor,
            limits,
            requests: senders.map(|party| (party, Semaphore::new(limits.requests))),
            manifests: senders.map(|party| (party, Semaphore::new(1))),
        }
    }
}

/// All routes. Every refusal is counted, logged and answered.
pub(super) fn router(delivery: Arc<Delivery>) -> Router {
    let parties = "/v1/sessions/{session}/parties/{party}";
    let whole = |whole| put(put_whole).layer(Extension(whole));
    Router::new()
        .route(parties, get(list))
        .route(&format!("{parties}/parts/{{name}}"), put(put_part))
        .route(&format!("{parties}/{SIGNATURE_NAME}"), whole(Whole::Signature))
        .route(&format!("{parties}/{CHAIN_NAME}"), whole(Whole::Chain))
        .route(&format!("{parties}/manifest"), whole(Whole::Manifest))
        .route(&format!("{parties}/approval"), whole(Whole::Approval))
        .route(&format!("{parties}/statements"), get(statements))
        .route(&format!("{parties}/line"), post(drop_body))
        .fallback(async |State(delivery): Shared, request: Request| {
            delivery.refuse(Refusal::NoRoute, request).await
        })
        .method_not_allowed_fallback(async |State(delivery): Shared, request: Request| {
            delivery.refuse(Refusal::Method, request).await
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&delivery), bounded))
        .with_state(delivery)
}

type Shared = State<Arc<Delivery>>;

/// A refusal in an answer, with its reason for the log.
struct Refused(Refusal);

#[derive(Clone)]
struct Reason(&'static str, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let (_, word) = self.0.status();
        let mut text = self.0.to_string();
        if let Some(cause) = std::error::Error::source(&self.0) {
            text = format!("{text}: {cause}");
        }
        let mut response = self.0.into_response();
        response.extensions_mut().insert(Reason(word, text));
        response
    }
}

/// Answers every request that the receiver is busy: the sender has too many connections.
pub(super) fn turned_away(delivery: Arc<Delivery>) -> Router {
    Router::new()
        .fallback(
            async |State(delivery): Shared, Extension(peer): Extension<Peer>, request: Request| {
                let (method, path) = (request.method().clone(), request.uri().path().to_owned());
                let refusal = Refusal::TooManyConnections { max: delivery.limits.connections };
                let mut answer = Refused(refusal).into_response();
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                delivery.note(&peer, &method, &path, &answer);
                answer
            },
        )
        .with_state(delivery)
}

/// Limits concurrent requests; counts and logs the result of each.
///
/// A request runs to its end even if its client disconnects, so its work on the disk counts until
/// then. The limit also holds for clients that only open requests and drop them.
async fn bounded(
    State(delivery): Shared,
    Extension(peer): Extension<Peer>,
    request: Request,
    next: middleware::Next,
) -> Response {
    let running = tokio::spawn(async move {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let requests = delivery.requests.iter().find(|(party, _)| *party == peer.party);
        let response = match requests.map(|(_, requests)| requests.try_acquire()) {
            Some(Ok(_permit)) => next.run(request).await,
            _ => delivery.refuse(Refusal::Busy, request).await,
        };
        delivery.note(&peer, &method, &path, &response);
        delivery.with_standing(&peer, response)
    });
    running.await.unwrap_or_else(|_| Refused(Refusal::Lost).into_response())
}

async fn list(
    State(delivery): Shared,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refused> {
    let Path((session, party)) = path.map_err(|_| Refused(Refusal::NoRoute))?;
    let slot = Arc::clone(delivery.slot(&peer, &session, &party).map_err(Refused)?);
    let listing = blocking(move || Ok(slot.listing())).await.map_err(Refused)?;
    Ok(json_text(StatusCode::OK, listing))
}

/// Gives a sender what other parties have signed for it.
async fn statements(
    State(delivery): Shared,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Result<Response, Refused> {
    let Path((session, party)) = path.map_err(|_| Refused(Refusal::NoRoute))?;
    delivery.slot(&peer, &session, &party).map_err(Refused)?;
    let given = delivery.inbox.statements().for_sender(peer.party);
    Ok(json_text(StatusCode::OK, given.into()))
}

async fn put_part(
    State(delivery): Shared,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refused> {
    let mut body = delivery.body(&headers, body);
    let accept = async |body: &mut BodyReader| {
        let Path((session, party, name)) = path.map_err(|_| Refusal::NotAPart)?;
        let slot = delivery.slot(&peer, &session, &party)?;
        let name: PartName = name.parse().map_err(|_| Refusal::NotAPart)?;
        let digest = check_headers(&headers, delivery.max_part_bytes)?;
        let bytes = body.announced();
        let record = match headers.get(PART_RECORD) {
            Some(text) => {
                let text = text.to_str().map_err(|_| Refusal::NotARecord)?.to_owned();
                let slot = Arc::clone(slot);
                Some(blocking(move || slot.verify_record(&text, name, bytes)).await?)
            }
            None => None,
        };
        let rows = record.as_ref().map_or(0, |record| record.part().rows);
        let part = Announced { name, bytes, digest, record };
        let accepted = accept_part(slot, part, body).await?;
        slot.note_arrival();
        if accepted != Accepted::Same {
            delivery.monitor.arrived(rows, bytes);
        }
        Ok(accepted)
    };
    let accepted = accept(&mut body).await;
    finish(accepted, &headers, &mut body).await
}

/// Bodies that are read into memory as a whole before they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whole {
    Signature,
    Chain,
    Manifest,
    Approval,
}

impl Whole {
    const fn max_bytes(self) -> u64 {
        match self {
            Self::Signature => MAX_SIGNATURE_BYTES,
            Self::Chain => CertificateChain::MAX_PEM_BYTES,
            Self::Manifest => MAX_MANIFEST_BYTES,
            Self::Approval => Approval::MAX_BYTES,
        }
    }
}

/// Takes what is read whole: one handler for the four routes, which say what it is.
async fn put_whole(
    State(delivery): Shared,
    Extension(peer): Extension<Peer>,
    Extension(whole): Extension<Whole>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refused> {
    let mut body = delivery.body(&headers, body);
    let accept = async |body: &mut BodyReader| {
        let Path((session, party)) = path.map_err(|_| Refusal::NoRoute)?;
        let slot = Arc::clone(delivery.slot(&peer, &session, &party)?);
        let announced = check_headers(&headers, whole.max_bytes())?;
        // Held until the manifest is parsed and written.
        let _turn = match whole {
            Whole::Manifest => Some(delivery.manifest_turn(peer.party)?),
            Whole::Signature | Whole::Chain | Whole::Approval => None,
        };
        let bytes = body.collect().await?;
        let mut hasher = BodyHasher::new(announced);
        hasher.update(&bytes);
        hasher.finish().ok_or(Refusal::OtherDigest)?;
        if whole == Whole::Manifest {
            // What is loaded soon need not be written to a file first.
            slot.until_none_is_held(delivery.limits.held_wait).await;
        }
        let (delivery, peer) = (Arc::clone(&delivery), peer.party);
        let take = move || match whole {
            Whole::Signature => slot.keep_proof(Proof::Signature, &bytes),
            Whole::Chain => slot.keep_proof(Proof::Chain, &bytes),
            Whole::Manifest => slot.close(bytes),
            Whole::Approval => delivery.inbox.statements().take_approval(peer, &bytes),
        };
        blocking(take).await
    };
    let accepted = accept(&mut body).await;
    finish(accepted, &headers, &mut body).await
}

/// Reads a body and drops it: a sender measures its line before a run.
async fn drop_body(
    State(delivery): Shared,
    Extension(peer): Extension<Peer>,
    path: Result<Path<(String, String)>, PathRejection>,
    headers: HeaderMap,
    body: Body,
) -> Result<StatusCode, Refused> {
    let mut body = delivery.body(&headers, body);
    let read = async |body: &mut BodyReader| {
        let Path((session, party)) = path.map_err(|_| Refusal::NoRoute)?;
        delivery.slot(&peer, &session, &party)?;
        check_headers(&headers, MAX_BODY_BYTES as u64)?;
        while body.next().await?.is_some() {}
        Ok(Accepted::Same)
    };
    let read = read(&mut body).await;
    finish(read, &headers, &mut body).await
}

impl Delivery {
    /// Counts and logs the result of a request.
    fn note(&self, peer: &Peer, method: &Method, path: &str, response: &Response) {
        let Peer { party: sender, name, address } = peer;
        let (status, name, path) = (response.status().as_u16(), Shown(name), Shown(path));
        let Some(Reason(reason, text)) = response.extensions().get::<Reason>() else {
            self.monitor.accept();
            tracing::debug!(%sender, %method, %path, status, "served");
            return;
        };
        self.monitor.refuse(reason, |unlogged| {
            let text = Shown(text);
            tracing::warn!(
                %sender, %name, %address, %method, %path, status, reason, unlogged,
                "request refused: {text}"
            );
        });
    }

    /// Adds which receiver this is, and how far it is.
    fn with_standing(&self, peer: &Peer, mut response: Response) -> Response {
        let standing = self.inbox.slot(peer.party).map(|slot| slot.standing().to_string());
        if let Some(value) = standing.and_then(|standing| HeaderValue::from_str(&standing).ok()) {
            response.headers_mut().insert(RECEIVER, value);
        }
        response
    }

    /// The right to send a manifest, which one request of a sender has at a time.
    fn manifest_turn(&self, peer: PartyId) -> Result<SemaphorePermit<'_>, Refusal> {
        let turns = self.manifests.iter().find(|(party, _)| *party == peer);
        let turn = turns.and_then(|(_, turns)| turns.try_acquire().ok());
        turn.ok_or(Refusal::OtherManifest)
    }

    /// The package that a request is about. It must be of this session and the peer's own.
    fn slot(&self, peer: &Peer, session: &str, party: &str) -> Result<&Arc<Slot>, Refusal> {
        let peer = peer.party;
        if session != self.session_id {
            return Err(Refusal::OtherSession);
        }
        if party != peer.to_string() {
            return Err(Refusal::OtherParty { peer });
        }
        self.inbox.slot(peer).ok_or(Refusal::OtherParty { peer })
    }

    /// Refuses a request that reaches no handler.
    async fn refuse(&self, refusal: Refusal, request: Request) -> Response {
        let (head, body) = request.into_parts();
        let mut body = self.body(&head.headers, body);
        finish(Err(refusal), &head.headers, &mut body).await.into_response()
    }

    fn body(&self, headers: &HeaderMap, body: Body) -> BodyReader {
        // A request without a length is refused; its body is only read to be dropped.
        BodyReader::new(body, content_length(headers).unwrap_or(u64::MAX), self.limits)
    }
}

/// Answers. The rest of a refused body is read first, unless the client waits before sending it.
async fn finish(
    accepted: Result<Accepted, Refusal>,
    headers: &HeaderMap,
    body: &mut BodyReader,
) -> Result<StatusCode, Refused> {
    let waits = headers.contains_key(header::EXPECT);
    let ended = accepted.as_ref().is_err_and(Refusal::ends_body);
    if !waits && !ended {
        body.drain().await;
    }
    match accepted {
        Ok(Accepted::New) => Ok(StatusCode::CREATED),
        Ok(Accepted::Held) => Ok(StatusCode::ACCEPTED),
        Ok(Accepted::Replaced | Accepted::Same) => Ok(StatusCode::NO_CONTENT),
        Err(refusal) => Err(Refused(refusal)),
    }
}

fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// Checks what can be checked before the body is read.
fn check_headers(headers: &HeaderMap, max: u64) -> Result<ReprDigest, Refusal> {
    for header in ["content-range", "content-encoding"] {
        if headers.contains_key(header) {
            return Err(Refusal::NotWhole { header });
        }
    }
    let bytes = content_length(headers).ok_or(Refusal::NoLength)?;
    if bytes > max {
        return Err(Refusal::TooLarge { bytes, max });
    }
    let mut values = headers.get_all(REPR_DIGEST).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Refusal::NoDigest) };
    value.to_str().ok().and_then(ReprDigest::parse).ok_or(Refusal::NoDigest)
}

/// Receives a part, and digests it on the way. In memory, it is held; in a file, it is durable before
/// the answer.
async fn accept_part(
    slot: &Arc<Slot>,
    part: Announced,
    body: &mut BodyReader,
) -> Result<Accepted, Refusal> {
    let announced = part.digest;
    match admit(slot, part).await? {
        Admitted::Room(room) if room.is_in_memory() => hold_part(room, announced, body).await,
        Admitted::Room(room) => keep_part(room, announced, body).await,
        Admitted::Settled(accepted) => Ok(accepted),
        // It waits for that.
        Admitted::MemoryFull => Err(Refusal::Lost),
    }
}

/// Receives a part in memory.
async fn hold_part(
    mut room: Room,
    announced: ReprDigest,
    body: &mut BodyReader,
) -> Result<Accepted, Refusal> {
    let (mut hasher, mut hashed) = (BodyHasher::new(announced), 0);
    while let Some(piece) = body.next().await? {
        room.write(&piece).map_err(Refusal::disk)?;
        // Where it is, while it is in the cache, and without another copy.
        let ahead = &room.in_memory()[hashed..];
        let whole = ahead.len() / HASHED_BYTES * HASHED_BYTES;
        hasher.update(&ahead[..whole]);
        hashed += whole;
    }
    hasher.update(&room.in_memory()[hashed..]);
    let blake3 = hasher.finish().ok_or(Refusal::OtherDigest)?;
    // Its slot may be locked by another request that waits for the disk.
    blocking(move || room.commit(blake3)).await
}

/// Bytes that are hashed at once: BLAKE3 is at its full speed with pieces that begin and end at a
/// multiple of this.
const HASHED_BYTES: usize = 256 << 10;

/// Receives a part under a temporary name.
async fn keep_part(
    room: Room,
    announced: ReprDigest,
    body: &mut BodyReader,
) -> Result<Accepted, Refusal> {
    let (tx, pieces) = mpsc::channel(PIECES_AHEAD);
    let writing = tokio::task::spawn_blocking(move || write_part(room, announced, pieces));
    let received = async {
        while let Some(piece) = body.next().await? {
            if tx.send(Some(piece)).await.is_err() {
                // The disk refuses: the writer says why.
                return Ok(());
            }
        }
        // Without this end mark the writer takes a body that broke off for what it is.
        let _ = tx.send(None).await;
        Ok(())
    };
    let received: Result<(), Refusal> = received.await;
    drop(tx);
    let written = writing.await.unwrap_or(Err(Refusal::Lost));
    received.and(written)
}

/// Admits a part. While the memory or the inbox is full the request waits: what its sender has begun
/// to send stays on the line, and need not be sent again.
async fn admit(slot: &Arc<Slot>, part: Announced) -> Result<Admitted, Refusal> {
    let (part, start) = (Arc::new(part), Instant::now());
    let mut moved = slot.moved();
    loop {
        moved.borrow_and_update();
        let may_wait = start.elapsed() < FULL_WAIT;
        let full = if may_wait { OnFull::Wait } else { OnFull::UseFile };
        let admitted = blocking({
            let (slot, part) = (Arc::clone(slot), Arc::clone(&part));
            move || slot.admit(part, full)
        });
        match admitted.await {
            Err(Refusal::InboxFull { .. } | Refusal::BeingMerged { .. }) if may_wait => {
                tokio::time::sleep(FULL_PAUSE).await;
            }
            Ok(Admitted::MemoryFull) => {
                // Whether it changed or not, another look says more.
                let _ = timeout(FULL_PAUSE, moved.changed()).await;
            }
            admitted => return admitted,
        }
    }
}

/// How long a request waits for room in the inbox, and how often it looks.
const FULL_WAIT: Duration = Duration::from_secs(20);
const FULL_PAUSE: Duration = Duration::from_millis(100);

/// Pieces of a body, some 100 KiB each, that wait for the disk.
const PIECES_AHEAD: usize = 4;

fn write_part(
    mut room: Room,
    announced: ReprDigest,
    mut rx: mpsc::Receiver<Option<axum::body::Bytes>>,
) -> Result<Accepted, Refusal> {
    let mut hasher = BodyHasher::new(announced);
    loop {
        match rx.blocking_recv() {
            Some(Some(piece)) => {
                hasher.update(&piece);
                room.write(&piece).map_err(Refusal::disk)?;
            }
            Some(None) => break,
            None => return Err(Refusal::Broken),
        }
    }
    let blake3 = hasher.finish().ok_or(Refusal::OtherDigest)?;
    room.commit(blake3)
}

/// Runs work that waits for the disk outside the threads that drive connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(Refusal::Lost))
}
