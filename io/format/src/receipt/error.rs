//! What can be wrong with a receipt.

use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_files::timestamp::Timestamp;

use crate::session::{SessionMismatch, StatementError};

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
    /// As any statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
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
    /// A receipt from before the session.
    #[error("it says verified at {verified_at}, and the session began at {not_before}")]
    BeforeSession {
        /// By the receipt.
        verified_at: Timestamp,
        /// The session's begin.
        not_before: Timestamp,
    },
}

impl Refusable for ReceiptError {}

impl ReceiptError {
    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::File { path: path.to_owned(), source: Box::new(self) }
    }
}
