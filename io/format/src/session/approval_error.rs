//! What can be wrong with an approval of a session.

use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;

use super::{FingerprintError, SessionMismatch, StatementError};

/// Why a session is not approved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApprovalError {
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// A file is refused.
    #[error("approval {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<ApprovalError>,
    },
    /// As any statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// A fingerprint that is none.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// An approval of another session, or of this one before somebody changed it.
    #[error(
        "party {party} approved the session with fingerprint {}, this one has {}",
        mismatch.got,
        mismatch.expected
    )]
    OtherSession {
        /// Who approved.
        party: PartyId,
        /// The two sessions.
        mismatch: SessionMismatch,
    },
    /// An approval by somebody else.
    #[error("party {party} is none of this session")]
    NotAParty {
        /// Who approved.
        party: PartyId,
    },
    /// Parties that have not approved.
    #[error("the session is not approved: no approval by {}", listed(parties))]
    Missing {
        /// Those whose approval is needed.
        parties: Vec<PartyId>,
    },
    /// A ciphertext that is none.
    #[error("its ciphertext is none of ML-KEM-768")]
    NotACiphertext,
    /// A ciphertext that is missing, or that nobody can use.
    #[error("party {party}'s approval {}", match expected {
        true => "has no ciphertext for the session's encapsulation_key",
        false => "has a ciphertext, which only the higher sender's has, in a session with an \
                  encapsulation_key",
    })]
    Ciphertext {
        /// Who approved.
        party: PartyId,
        /// Whether one belongs there.
        expected: bool,
    },
    /// Two approvals of one party that give two keys.
    #[error("party {party} has approved the session twice, with two ciphertexts")]
    TwoCiphertexts {
        /// Who approved.
        party: PartyId,
    },
    /// Only senders need approvals.
    #[error("party {party} is no sender of this session")]
    NotASender {
        /// The party.
        party: PartyId,
    },
}

impl Refusable for ApprovalError {}

impl ApprovalError {
    pub(super) fn in_file(self, path: &Path) -> Self {
        Self::File { path: path.to_owned(), source: Box::new(self) }
    }
}

fn listed(parties: &[PartyId]) -> String {
    let parties: Vec<String> = parties.iter().map(|party| format!("party {party}")).collect();
    parties.join(" and ")
}
