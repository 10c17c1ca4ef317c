//! What can be wrong with an approval of a session.

use std::path::PathBuf;

use reshare_engine::party::{PartyId, PartyOutOfRange};
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_files::timestamp::Timestamp;

use super::{FingerprintError, SessionMismatch};
use crate::keys::certificate::CertificateError;

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
    /// More bytes than any approval has.
    #[error("it has more than {max} bytes, which no approval has")]
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
    /// A fingerprint that is none.
    #[error(transparent)]
    Fingerprint(#[from] FingerprintError),
    /// A party that cannot exist.
    #[error("it names a party that cannot exist")]
    UnknownParty(#[source] PartyOutOfRange),
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
    /// Its certificate or signature is not that party's.
    #[error("the signature of party {party}'s approval is not accepted")]
    Certificate {
        /// Who claims to approve.
        party: PartyId,
        /// Why.
        source: CertificateError,
    },
    /// An approval from the future.
    #[error("party {party} approved at {approved_at}, which has not come yet: here it is {now}")]
    InFuture {
        /// Who approved.
        party: PartyId,
        /// By the approval.
        approved_at: Timestamp,
        /// By this machine's clock.
        now: Timestamp,
    },
    /// Parties that have not approved.
    #[error("the session is not approved: no approval by {}", listed(parties))]
    Missing {
        /// Those whose approval is needed.
        parties: Vec<PartyId>,
    },
    /// Only senders need approvals.
    #[error("party {party} is no sender of this session")]
    NotASender {
        /// The party.
        party: PartyId,
    },
    /// One's own certificate cannot approve.
    #[error("this certificate cannot approve the session")]
    Own(#[source] CertificateError),
    /// The authority was taken from another session.
    #[error("the authority is that of another session")]
    OtherTrust,
}

impl Refusable for ApprovalError {}

fn listed(parties: &[PartyId]) -> String {
    let parties: Vec<String> = parties.iter().map(|party| format!("party {party}")).collect();
    parties.join(" and ")
}
