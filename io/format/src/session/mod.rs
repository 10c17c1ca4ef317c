//! The session file, its meaning and its fingerprint.
//!
//! A [`Session`] is what all three parties have agreed on. A value of this type has always been
//! checked. The bytes of the fingerprint are documented in `docs/format.md`.

mod approval;
mod approval_error;
mod carried;
mod cross_check;
mod error;
mod facts;
mod file;
mod fingerprint;
mod fingerprint_text;
mod id_list;
mod mismatch;
mod names;
#[cfg(test)]
pub(crate) mod samples;
mod statement;
mod trust;
mod validate;

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::rand;
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use time::OffsetDateTime;

use crate::keys::{AgreementPublicKey, EncapsulationKey, SharedKeyId};

pub use approval::{Approval, Approvals};
pub use approval_error::ApprovalError;
pub use carried::CarriedCertificates;
pub use cross_check::Mismatch;
pub use error::SessionError;
pub use facts::{NewSession, Receiver, Sender, SessionIds};
pub(crate) use file::{quoted, text_position};
pub(crate) use fingerprint::Encoding;
pub use fingerprint_text::{
    FingerprintError, FingerprintMismatch, fingerprint_from_hex, fingerprint_groups,
    fingerprint_words, parse_fingerprint,
};
pub use id_list::{IdList, IdListError};
pub use mismatch::SessionMismatch;
pub use names::{Environment, SessionId};
pub use statement::StatementError;
pub(crate) use statement::{
    MAX_STATEMENT_BYTES, Signed, Statement, check_format, check_not_in_future, check_trust, signer,
};
pub use trust::{SessionTrust, TrustError};

/// One agreed resharing: immutable, checked, with its fingerprint.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    facts: NewSession,
    nonce: [u8; Session::NONCE_BYTES],
    fingerprint: Fingerprint,
    carried: Option<CarriedCertificates>,
}

impl Session {
    /// The protocol version of this program, and the only one that it accepts.
    pub const VERSION: u64 = 2;
    /// The length of the nonce.
    pub const NONCE_BYTES: usize = 32;
    /// The part size of a session that names none.
    pub const DEFAULT_MAX_PART_BYTES: u64 = 64 << 20;
    /// The largest part size a session may name.
    pub const MAX_PART_BYTES_LIMIT: u64 = 1 << 30;
    /// The largest session file that is read, in bytes.
    pub const MAX_FILE_BYTES: u64 = 256 << 10;

    /// Creates a session with a random nonce, so that no two sessions are the same.
    ///
    /// # Errors
    /// A [`SessionError`] that names what is wrong, or reports that random bytes are not available.
    pub fn create(facts: NewSession) -> Result<Self, SessionError> {
        let mut nonce = [0; Self::NONCE_BYTES];
        rand::fill(&mut nonce).map_err(|_| SessionError::Random)?;
        Self::with_nonce(facts, nonce)
    }

    /// Checks every fact; the senders may come in any order.
    fn with_nonce(
        mut facts: NewSession,
        nonce: [u8; Self::NONCE_BYTES],
    ) -> Result<Self, SessionError> {
        facts.senders.sort_by_key(|sender| sender.party);
        validate::check(&facts)?;
        let fingerprint = fingerprint::of(&facts, &nonce);
        Ok(Self { facts, nonce, fingerprint, carried: None })
    }

    /// The fingerprint of everything in the session except the transport.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The session's name.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.facts.session_id
    }

    /// The random bytes that make it unique.
    #[must_use]
    pub fn nonce(&self) -> &[u8; Self::NONCE_BYTES] {
        &self.nonce
    }

    /// The deployment whose databases it concerns.
    #[must_use]
    pub fn environment(&self) -> &Environment {
        &self.facts.environment
    }

    /// The first second in which it is valid.
    #[must_use]
    pub fn not_before(&self) -> OffsetDateTime {
        self.facts.not_before
    }

    /// The last second in which it is valid.
    #[must_use]
    pub fn not_after(&self) -> OffsetDateTime {
        self.facts.not_after
    }

    /// The ids to be reshared.
    #[must_use]
    pub fn ids(&self) -> &SessionIds {
        &self.facts.ids
    }

    /// The table's name, without its schema.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.facts.table
    }

    /// The column that holds a row's id.
    #[must_use]
    pub fn id_column(&self) -> &str {
        &self.facts.id_column
    }

    /// The agree columns and share columns.
    #[must_use]
    pub fn layout(&self) -> &Arc<RowLayout> {
        &self.facts.layout
    }

    /// The largest sealed part, in bytes.
    #[must_use]
    pub fn max_part_bytes(&self) -> u64 {
        self.facts.max_part_bytes
    }

    /// The most rows of one part, at least one.
    ///
    /// As many as are sure to fit into [`Session::max_part_bytes`], independent of their content.
    #[must_use]
    pub fn part_rows_limit(&self) -> usize {
        validate::rows_that_fit(&self.facts.layout, self.facts.max_part_bytes)
    }

    /// Both senders, the lower party id (which adds the blinding) first.
    #[must_use]
    pub fn senders(&self) -> [&Sender; 2] {
        let [lower, higher] = &self.facts.senders;
        [lower, higher]
    }

    /// The party whose shares are rebuilt.
    #[must_use]
    pub fn receiver(&self) -> &Receiver {
        &self.facts.receiver
    }

    /// The sender with a party id.
    #[must_use]
    pub fn sender(&self, party: PartyId) -> Option<&Sender> {
        self.facts.senders.iter().find(|sender| sender.party == party)
    }

    /// The sender with an agreement key.
    #[must_use]
    pub fn sender_with_key(&self, key: &AgreementPublicKey) -> Option<&Sender> {
        self.facts.senders.iter().find(|sender| sender.agreement_key == *key)
    }

    /// The sender that is not this party; `None` when this party is no sender.
    #[must_use]
    pub fn other_sender(&self, party: PartyId) -> Option<&Sender> {
        let [lower, higher] = self.senders();
        if party == lower.party {
            Some(higher)
        } else if party == higher.party {
            Some(lower)
        } else {
            None
        }
    }

    /// The key of ML-KEM-768 for which the higher sender encapsulates a secret: the lower sender's.
    #[must_use]
    pub fn encapsulation_key(&self) -> Option<&EncapsulationKey> {
        self.facts.senders[0].encapsulation_key.as_ref()
    }

    /// Which key both senders have in a file, if they need one.
    #[must_use]
    pub fn shared_key_id(&self) -> Option<SharedKeyId> {
        self.facts.shared_key_id
    }

    /// The SHA-256 of the certificate authority that all parties trust, if certificates are used.
    #[must_use]
    pub fn ca_sha256(&self) -> Option<&[u8; 32]> {
        self.facts.ca_sha256.as_ref()
    }

    /// Where the receiver listens. Not an agreed fact, so not covered by the fingerprint.
    #[must_use]
    pub fn server_url(&self) -> Option<&str> {
        self.facts.server_url.as_deref()
    }

    /// The schema that holds a party's table: `SMPC_{environment}_{party}`.
    #[must_use]
    pub fn database_schema(&self, party: PartyId) -> String {
        format!("SMPC_{}_{party}", self.facts.environment)
    }

    /// Checks that the session is valid at a moment; both ends are included.
    ///
    /// # Errors
    /// [`SessionError::NotYetValid`] or [`SessionError::Expired`].
    pub fn check_time(&self, now: OffsetDateTime) -> Result<(), SessionError> {
        let (not_before, not_after) = (self.facts.not_before, self.facts.not_after);
        // The last second ends when the next one begins.
        let now = now.replace_nanosecond(0).unwrap_or(now);
        if now < not_before {
            return Err(SessionError::NotYetValid { not_before, now });
        }
        if now > not_after {
            return Err(SessionError::Expired { not_after, now });
        }
        Ok(())
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("Session");
        out.field("id", self.id()).field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::keys::{AgreementKey, SharedKey};

    fn party(index: u8) -> PartyId {
        PartyId::new(index).expect("a party")
    }

    #[test]
    fn the_order_in_which_senders_are_given_does_not_matter() {
        let session = samples::session();
        let mut swapped = samples::facts();
        swapped.senders.reverse();
        let swapped = Session::with_nonce(swapped, *session.nonce()).expect("valid");
        assert_eq!(swapped, session);
        assert_eq!(session.senders().map(|sender| sender.party), [party(0), party(2)]);
        assert_eq!(session.sender(party(2)).map(|sender| sender.party), Some(party(2)));
        assert_eq!(session.other_sender(party(2)).map(|sender| sender.party), Some(party(0)));
        assert!(session.sender(party(1)).is_none() && session.other_sender(party(1)).is_none());
    }

    #[test]
    fn two_sessions_with_the_same_facts_differ() {
        let one = Session::create(samples::facts()).expect("valid");
        let two = Session::create(samples::facts()).expect("valid");
        assert_ne!(one.fingerprint(), two.fingerprint());
    }

    #[test]
    fn a_session_lives_from_its_first_to_its_last_second() {
        let session = samples::session();
        let second = Duration::seconds(1);
        assert!(session.check_time(session.not_before()).is_ok());
        let early = session.check_time(session.not_before() - Duration::nanoseconds(1));
        assert!(matches!(early, Err(SessionError::NotYetValid { .. })));
        let last = session.not_after() + second - Duration::nanoseconds(1);
        assert!(session.check_time(last).is_ok());
        let late = session.check_time(session.not_after() + second);
        assert!(matches!(late, Err(SessionError::Expired { .. })));
        let elsewhere = datetime!(2026-08-21 00:30 +01:00);
        assert!(session.check_time(elsewhere).is_err(), "it is 23:30 UTC the day before");
    }

    #[test]
    fn a_part_size_that_no_row_fits_is_refused() {
        let mut facts = samples::facts();
        let iris = Arc::new(RowLayout::iris());
        facts.layout = Arc::clone(&iris);
        let rows = Session::create(facts.clone()).expect("valid").part_rows_limit();
        assert_eq!(rows, 872);
        facts.max_part_bytes = 10_000;
        let refused = Session::create(facts).expect_err("no row fits");
        assert!(matches!(refused, SessionError::MaxPartBytes { got: 10_000, .. }));
    }

    #[test]
    fn a_schema_belongs_to_an_environment_and_a_party() {
        assert_eq!(samples::session().database_schema(party(2)), "SMPC_prod_2");
    }

    #[test]
    fn facts_that_contradict_each_other_are_refused() {
        let refuse = |change: &dyn Fn(&mut NewSession)| {
            let mut facts = samples::facts();
            change(&mut facts);
            Session::create(facts).expect_err("must be refused")
        };
        let error = refuse(&|facts| facts.receiver.party = party(2));
        assert!(matches!(error, SessionError::RepeatedParty { .. }));
        let error = refuse(&|facts| facts.senders[0].party = party(2));
        assert!(matches!(error, SessionError::RepeatedParty { .. }));
        let error =
            refuse(&|facts| facts.senders[1].agreement_key = facts.senders[0].agreement_key);
        assert!(matches!(error, SessionError::RepeatedAgreementKey));
        let error = refuse(&|facts| facts.receiver.certificate_name = None);
        assert!(
            matches!(error, SessionError::CertificatesIncomplete { key } if key == "receiver.certificate_name")
        );
        let error = refuse(&|facts| facts.ca_sha256 = None);
        assert!(
            matches!(error, SessionError::CertificatesIncomplete { key } if key == "trust.ca_sha256")
        );
        let error = refuse(&|facts| {
            facts.receiver.certificate_name = facts.senders[1].certificate_name.clone();
        });
        assert!(matches!(error, SessionError::RepeatedCertificateName { .. }));
        let error = refuse(&|facts| facts.not_after = facts.not_before);
        assert!(matches!(error, SessionError::Period { .. }));
        let error = refuse(&|facts| facts.not_before -= Duration::nanoseconds(1));
        assert!(matches!(error, SessionError::Time { key: "not_before", .. }));
        let error = refuse(&|facts| facts.not_after = datetime!(2027-01-01 00:00 +01:00));
        assert!(matches!(error, SessionError::Time { key: "not_after", .. }));
        let error = refuse(&|facts| facts.id_column = "version_id".into());
        assert!(matches!(error, SessionError::RepeatedColumn { name } if name == "version_id"));
        let error = refuse(&|facts| facts.table = "ir\nises".into());
        assert!(matches!(error, SessionError::SqlName { key: "table.name", .. }));
        let error = refuse(&|facts| facts.max_part_bytes = (1 << 30) + 1);
        assert!(matches!(error, SessionError::MaxPartBytes { .. }));
        let error = refuse(&|facts| facts.ids = SessionIds::List { digest: [0; 32], count: 0 });
        assert!(matches!(error, SessionError::EmptyList));
        for url in ["http://a.example", "https://", "https://a b", "https://a\u{1b}", ""] {
            let error = refuse(&|facts| facts.server_url = Some(url.into()));
            assert!(matches!(error, SessionError::ServerUrl), "{url:?}");
        }
    }

    #[test]
    fn a_session_without_certificates_is_one() {
        let mut facts = samples::facts();
        facts.ca_sha256 = None;
        facts.receiver.certificate_name = None;
        for sender in &mut facts.senders {
            sender.certificate_name = None;
            sender.agreement_key = *AgreementKey::generate().expect("made").public_key();
        }
        let refused = Session::create(facts.clone()).expect_err("nobody would sign the ciphertext");
        assert!(matches!(refused, SessionError::UnsignedEncapsulation), "{refused}");
        facts.senders[0].encapsulation_key = None;
        let refused = Session::create(facts.clone()).expect_err("P-256 alone");
        assert!(matches!(refused, SessionError::NotHybrid), "{refused}");
        facts.shared_key_id = Some(SharedKey::new([7; 32]).id());
        assert!(Session::create(facts).is_ok());
    }

    #[test]
    fn only_the_lower_sender_has_a_key_of_ml_kem() {
        let mut facts = samples::facts();
        let [lower, higher] = &mut facts.senders;
        higher.encapsulation_key = lower.encapsulation_key.take();
        let refused = Session::create(facts).expect_err("the higher sender encapsulates");
        assert!(
            matches!(refused, SessionError::MisplacedEncapsulationKey { party: at } if at == party(2))
        );
    }
}
