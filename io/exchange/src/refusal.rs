//! Refusals: their answers to the client, and the reasons by which they are counted.

use std::io;

use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use reshare_engine::party::PartyId;
use reshare_files::causes::with_causes;
use reshare_files::ids::IdRange;
use reshare_format::keys::certificate::CertificateError;
use reshare_format::package::{ManifestError, PackageError, PartName, PartRecordError};
use reshare_format::session::ApprovalError;

use super::listing::RefusalBody;

/// The reason of a receiver whose inbox is full for the moment.
pub(super) const INBOX_FULL: &str = "inbox-full";
/// The reason of a manifest that lists a part which is not there.
pub(super) const PART_MISSING: &str = "part-missing";
/// The reason of [`Refusal::Closed`], after which a sender looks whether it was itself.
pub(super) const CLOSED: &str = "closed";

/// Why a request is refused; nothing has changed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("no such route: see docs/protocol.md")]
    NoRoute,
    #[error("this route takes no such method: see docs/protocol.md")]
    Method,
    #[error("this receiver has another session")]
    OtherSession,
    #[error("this certificate is that of party {peer}: it may touch no other package")]
    OtherParty { peer: PartyId },
    #[error("a part's name is part-, its index in six digits or more, and .age")]
    NotAPart,
    #[error("Repr-Digest is missing or holds neither sha-256 nor reshare-blake3")]
    NoDigest,
    #[error("Content-Length is missing")]
    NoLength,
    #[error("a body is sent whole and as it is: no {header}")]
    NotWhole { header: &'static str },
    #[error("the body has {bytes} bytes, the most is {max}")]
    TooLarge { bytes: u64, max: u64 },
    #[error("the body is not what Repr-Digest says")]
    OtherDigest,
    #[error("the body has {got} bytes where {announced} were announced")]
    OtherLength { announced: u64, got: u64 },
    #[error("the body stalled or was too slow")]
    Slow,
    #[error("the body broke off")]
    Broken,
    #[error("a package has {max} parts at the most")]
    TooManyParts { max: usize },
    #[error("the package would have more than {max} bytes")]
    PackageTooLarge { max: u64 },
    #[error("the receiver's disk is nearly full")]
    DiskFull,
    #[error("the package is closed: nothing in it changes any more")]
    Closed,
    #[error("Reshare-Part-Record is not Base64 of a record, a full stop and Base64 of a signature")]
    NotARecord,
    #[error("a part with a record comes after the sender's manifest-chain.pem")]
    NoChain,
    #[error("the part record is refused: {}", with_causes(.0))]
    Record(PartRecordError),
    #[error("the part record is of another part than the body")]
    OtherRecord,
    #[error("the part was blinded with another key than the parts before it")]
    OtherKeys,
    #[error("{name} was used: rows of ids {ids} are loaded or being loaded, and it cannot change")]
    Used { name: PartName, ids: IdRange },
    #[error("{name} is being merged: try again later")]
    BeingMerged { name: PartName },
    #[error("this sender's half of the inbox, {max} bytes, is full: the other sender is behind")]
    InboxFull { max: u64 },
    #[error("{name} is listed in the manifest and has not arrived")]
    Missing { name: PartName },
    #[error("{name} is not the part that the manifest lists")]
    OtherPart { name: PartName },
    #[error("the manifest is refused: {}", with_causes(.0))]
    Manifest(ManifestError),
    #[error("the manifest's signature is refused: {}", with_causes(.0))]
    Signature(CertificateError),
    #[error("the approval is refused: {}", with_causes(.0))]
    Approval(ApprovalError),
    #[error("this sender has too many requests in flight: try again later")]
    Busy,
    #[error("another manifest of this sender is on its way: try again later")]
    OtherManifest,
    #[error("{parts} parts of this package are still on their way: they end or time out first")]
    Underway { parts: usize },
    #[error("this sender has {max} connections already: try again later")]
    TooManyConnections { max: usize },
    #[error("the receiver cannot write")]
    Disk(#[source] io::Error),
    #[error("the receiver's disk failed while this package was closed: it must be started again")]
    Uncertain,
    #[error("the receiver failed")]
    Lost,
}

impl Refusal {
    /// An error of the file system; a full disk is a separate refusal.
    pub(super) fn disk(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull,
            _ => Self::Disk(error),
        }
    }

    /// What is wrong with the files of a signature. The sender does not see their paths at the
    /// receiver.
    pub(super) fn signature(error: PackageError) -> Self {
        match error {
            PackageError::Signature { source, .. } => Self::Signature(source),
            PackageError::File(error) => Self::disk(error.source),
            other => Self::Disk(io::Error::other(other)),
        }
    }

    /// The status of the answer and the reason in one word.
    pub(super) fn status(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "no-route"),
            Self::Method => (StatusCode::METHOD_NOT_ALLOWED, "method"),
            Self::OtherSession => (StatusCode::NOT_FOUND, "other-session"),
            Self::OtherParty { .. } => (StatusCode::FORBIDDEN, "other-party"),
            Self::NotAPart => (StatusCode::BAD_REQUEST, "part-name"),
            Self::NoDigest => (StatusCode::BAD_REQUEST, "no-digest"),
            Self::NoLength => (StatusCode::LENGTH_REQUIRED, "no-length"),
            Self::NotWhole { .. } => (StatusCode::BAD_REQUEST, "not-whole"),
            Self::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Self::OtherDigest => (StatusCode::BAD_REQUEST, "other-digest"),
            Self::OtherLength { .. } => (StatusCode::BAD_REQUEST, "other-length"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "slow"),
            Self::Broken => (StatusCode::BAD_REQUEST, "broken"),
            Self::NotARecord => (StatusCode::BAD_REQUEST, "part-record"),
            Self::NoChain => (StatusCode::CONFLICT, "no-chain"),
            Self::Record(_) | Self::OtherKeys => (StatusCode::UNPROCESSABLE_ENTITY, "part-record"),
            Self::OtherRecord => (StatusCode::BAD_REQUEST, "other-record"),
            Self::Used { .. } => (StatusCode::CONFLICT, "used"),
            Self::BeingMerged { .. } => (StatusCode::SERVICE_UNAVAILABLE, "being-merged"),
            Self::InboxFull { .. } => (StatusCode::SERVICE_UNAVAILABLE, INBOX_FULL),
            Self::TooManyParts { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too-many-parts"),
            Self::PackageTooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "package-too-large"),
            Self::DiskFull => (StatusCode::INSUFFICIENT_STORAGE, "disk-full"),
            Self::Closed => (StatusCode::CONFLICT, CLOSED),
            Self::Missing { .. } => (StatusCode::CONFLICT, PART_MISSING),
            Self::OtherPart { .. } => (StatusCode::CONFLICT, "other-part"),
            Self::Manifest(_) => (StatusCode::UNPROCESSABLE_ENTITY, "manifest"),
            Self::Signature(_) => (StatusCode::UNPROCESSABLE_ENTITY, "signature"),
            Self::Approval(_) => (StatusCode::UNPROCESSABLE_ENTITY, "approval"),
            Self::Busy | Self::OtherManifest => (StatusCode::SERVICE_UNAVAILABLE, "busy"),
            Self::Underway { .. } => (StatusCode::SERVICE_UNAVAILABLE, "underway"),
            Self::TooManyConnections { .. } => {
                (StatusCode::SERVICE_UNAVAILABLE, "too-many-connections")
            }
            Self::Disk(_) => (StatusCode::INTERNAL_SERVER_ERROR, "disk"),
            Self::Uncertain => (StatusCode::INTERNAL_SERVER_ERROR, "disk"),
            Self::Lost => (StatusCode::INTERNAL_SERVER_ERROR, "failed"),
        }
    }

    /// Whether the body is incomplete or too slow: then the rest is not worth reading.
    pub(super) fn ends_body(&self) -> bool {
        matches!(
            self,
            Self::Slow | Self::Broken | Self::OtherLength { .. } | Self::InboxFull { .. }
        )
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, reason) = self.status();
        let body = RefusalBody { error: reason.to_owned(), message: self.to_string() };
        let mut response = json(status, &body);
        if self.ends_body() {
            let close = axum::http::HeaderValue::from_static("close");
            response.headers_mut().insert(header::CONNECTION, close);
        }
        response
    }
}

/// Answers with JSON and a line feed.
pub(super) fn json(status: StatusCode, body: &impl serde::Serialize) -> Response {
    // These types are text and numbers only: JSON can write all of it.
    let mut text = serde_json::to_vec(body).unwrap_or_default();
    text.push(b'\n');
    json_text(status, text.into())
}

/// Answers with JSON that is already serialised.
pub(super) fn json_text(status: StatusCode, text: Bytes) -> Response {
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}
