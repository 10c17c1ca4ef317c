//! The facts of a session, before they are checked as a whole.

use crate::keys::{AgreementPublicKey, EncapsulationKey, Recipient, SharedKeyId};
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use std::sync::Arc;
use time::OffsetDateTime;

use super::names::{Environment, SessionId};
use crate::keys::certificate::CertificateName;

/// The facts of a new session: everything but its nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewSession {
    /// The session's name.
    pub session_id: SessionId,
    /// The deployment whose databases it concerns.
    pub environment: Environment,
    /// The first second in which it is valid, UTC, whole seconds.
    pub not_before: OffsetDateTime,
    /// The last second in which it is valid, UTC, whole seconds, later than `not_before`.
    pub not_after: OffsetDateTime,
    /// The ids to be reshared.
    pub ids: SessionIds,
    /// The table's name, without its schema.
    pub table: String,
    /// The column that holds a row's id.
    pub id_column: String,
    /// The agree columns and share columns.
    pub layout: Arc<RowLayout>,
    /// The largest sealed part, in bytes.
    pub max_part_bytes: u64,
    /// The two parties that send, in any order.
    pub senders: [Sender; 2],
    /// The party whose shares are rebuilt.
    pub receiver: Receiver,
    /// The key that both senders have in a file: needed where there is no key of ML-KEM-768.
    pub shared_key_id: Option<SharedKeyId>,
    /// SHA-256 of the certificate authority (DER): present exactly if certificate names are.
    pub ca_sha256: Option<[u8; 32]>,
    /// Where the receiver listens; not covered by the fingerprint.
    pub server_url: Option<String>,
}

/// A party that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sender {
    /// Which party it is.
    pub party: PartyId,
    /// The name in its certificate, if certificates are used.
    pub certificate_name: Option<CertificateName>,
    /// The public half of its agreement key.
    pub agreement_key: AgreementPublicKey,
    /// The public half of its key of ML-KEM-768: only of the sender with the lower party id, and
    /// only if certificates are used.
    pub encapsulation_key: Option<EncapsulationKey>,
}

/// The party whose shares are rebuilt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Which party it is.
    pub party: PartyId,
    /// The name in its certificate, if certificates are used.
    pub certificate_name: Option<CertificateName>,
    /// The key that every part is sealed for.
    pub recipient: Recipient,
}

/// The ids of the rows to be reshared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionIds {
    /// Every id in a range that is in the senders' tables.
    Range(IdRange),
    /// The ids of a list in a separate file, see [`super::IdList`].
    List {
        /// BLAKE3 of the ids, each as i64 little-endian.
        digest: [u8; 32],
        /// The number of ids.
        count: u64,
    },
}

impl SessionIds {
    /// Takes a range as operators write it: the first id, and the first one after the range.
    ///
    /// Without an end the range is open and includes the highest possible id. `None` when the range
    /// is empty.
    #[must_use]
    pub fn from_start_end(start: i64, end: Option<i64>) -> Option<Self> {
        let last = end.map_or(Some(i64::MAX), |end| end.checked_sub(1))?;
        IdRange::new(start, last).map(Self::Range)
    }

    /// A range that holds every id. For a list this is every possible id, until its file is read.
    #[must_use]
    pub fn range(&self) -> IdRange {
        match self {
            Self::Range(range) => *range,
            Self::List { .. } => IdRange::ALL,
        }
    }

    /// The exclusive end of a range as [`SessionIds::from_start_end`] takes it.
    #[must_use]
    pub fn exclusive_end(range: IdRange) -> Option<i64> {
        range.last().checked_add(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_said_by_its_start_and_exclusive_end() {
        let range = |first, last| IdRange::new(first, last).map(SessionIds::Range);
        assert_eq!(SessionIds::from_start_end(1, Some(101)), range(1, 100));
        assert_eq!(SessionIds::from_start_end(-5, None), range(-5, i64::MAX));
        assert_eq!(SessionIds::from_start_end(7, Some(7)), None);
        assert_eq!(SessionIds::from_start_end(i64::MIN, Some(i64::MIN)), None);
        let open = IdRange::new(1, i64::MAX).expect("in order");
        assert_eq!(SessionIds::exclusive_end(open), None);
    }
}
