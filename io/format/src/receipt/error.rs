//! What can be wrong with a receipt.

use std::path::PathBuf;

use reshare_engine::party::{PartyId, PartyOutOfRange};
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_files::timestamp::Timestamp;

use crate::keys::certificate::CertificateError;
use crate::session::SessionMismatch;

/// Why a receipt is not accepted, or cannot be signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReceiptError {
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// A file is refused.
    #[error("receipt {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ReceiptError>,
    },
    /// More bytes than any receipt has.
    #[error("it has more than {max} bytes, which no receipt has")]
    TooLarge {
        /// The limit.
        max: u64,
    },
    /// No JSON of the documented form.
    #[error("it is not of the documented form")]
    Json(#[source] serde_json::Error),
    /// Another format.
    #[error("its format is {got:?}, this program knows {expected:?}")]
    Format {
        /// The format this program knows.
        expected: &'static str,
        /// The format found.
        got: String,
    },
    /// The right meaning in other bytes than the canonical ones.
    #[error("it is not in canonical form")]
    NotCanonical,
    /// A party that cannot exist.
    #[error("it names a party that cannot exist")]
    UnknownParty(#[source] PartyOutOfRange),
    /// A receipt of another session.
    #[error(transparent)]
    OtherSession(#[from] SessionMismatch),
    /// A receipt of somebody who does not receive.
    #[error("the receiver, party {expected}, signs receipts, and this is party {got}")]
    NotTheReceiver {
        /// The session's receiver.
        expected: PartyId,
        /// Who signed.
        got: PartyId,
    },
    /// Packages of others than the senders.
    #[error("it names packages of parties {} and {}, and the senders are {} and {}",
        got[0], got[1], expected[0], expected[1])]
    OtherSenders {
        /// The session's senders, the lower party first.
        expected: [PartyId; 2],
        /// Those of the receipt.
        got: [PartyId; 2],
    },
    /// Its certificate or signature is not the receiver's.
    #[error("the signature of party {party}'s receipt is not accepted")]
    Certificate {
        /// Who claims to have signed.
        party: PartyId,
        /// Why.
        source: CertificateError,
    },
    /// A receipt from the future.
    #[error("it says verified at {verified_at}, which has not come yet: here it is {now}")]
    InFuture {
        /// By the receipt.
        verified_at: Timestamp,
        /// By this machine's clock.
        now: Timestamp,
    },
    /// A receipt from before the session.
    #[error("it says verified at {verified_at}, and the session began at {not_before}")]
    BeforeSession {
        /// By the receipt.
        verified_at: Timestamp,
        /// The session's begin.
        not_before: Timestamp,
    },
    /// One's own certificate cannot sign a receipt.
    #[error("this certificate cannot sign a receipt")]
    Own(#[source] CertificateError),
    /// The authority was taken from another session.
    #[error("the authority is that of another session")]
    OtherTrust,
}

impl Refusable for ReceiptError {}
