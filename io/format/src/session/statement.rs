//! What parties state to each other: each statement with its signature in a file of its own,
//! compact JSON, the same bytes for the same content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reshare_engine::party::{PartyId, PartyOutOfRange};
use reshare_files::input_file::{without_bom, without_line_end};
use reshare_files::timestamp::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::{Session, SessionTrust};
use crate::keys::certificate::{
    CertificateChain, CertificateError, PartyCertificate, Purpose, SignatureContext,
};

/// How far another party's clock may be ahead of this machine's.
const CLOCK_TOLERANCE: Duration = Duration::minutes(1);

/// The largest file of a statement that is read.
pub(crate) const MAX_STATEMENT_BYTES: u64 = 128 << 10;

/// What is signed, field by field in canonical order.
pub(crate) trait Statement: Serialize + DeserializeOwned {
    /// The format, the first field.
    const FORMAT: &str;
    /// What the signature is about.
    const CONTEXT: SignatureContext;

    fn format(&self) -> &str;
    fn party(&self) -> u64;
}

/// A statement as it is in a file: signed by somebody, and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signed<S> {
    pub(crate) statement: S,
    /// Who claims to have signed.
    pub(crate) party: PartyId,
    chain: CertificateChain,
    signature: Vec<u8>,
}

/// The file, field by field in canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document<S> {
    statement: S,
    signature: String,
    chain: String,
}

impl<S: Statement> Signed<S> {
    /// Signs as a party whose certificate [`signer`] has found to be fit.
    pub(crate) fn sign(
        statement: S,
        party: PartyId,
        certificate: &PartyCertificate,
    ) -> Result<Self, StatementError> {
        let what = S::CONTEXT;
        let message = serde_json::to_vec(&statement).map_err(StatementError::Json)?;
        let signature = certificate.sign(what, &message);
        let signature = signature.map_err(|source| StatementError::Own { what, source })?;
        Ok(Self { statement, party, chain: certificate.chain().clone(), signature })
    }

    /// Reads the bytes of a file.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, StatementError> {
        let (what, max) = (S::CONTEXT, MAX_STATEMENT_BYTES);
        if bytes.len() as u64 > max {
            return Err(StatementError::TooLarge { what, max });
        }
        // The signature is about the statement alone: mail and editors may change what is around
        // it.
        let text = without_line_end(without_bom(bytes));
        let document = serde_json::from_slice(text).map_err(StatementError::Json)?;
        let Document::<S> { statement, signature, chain } = document;
        check_format(S::FORMAT, statement.format())?;
        let party = statement.party().try_into().map_err(StatementError::UnknownParty)?;
        let signature = STANDARD.decode(signature).map_err(|_| StatementError::NotCanonical)?;
        let chain = CertificateChain::from_canonical_pem(chain.as_bytes())
            .map_err(|source| StatementError::Signature { what, party, source })?;
        let signed = Self { statement, party, chain, signature };
        if without_line_end(&signed.to_bytes()?) != text {
            return Err(StatementError::NotCanonical);
        }
        Ok(signed)
    }

    /// The bytes of the file: compact JSON and a line feed.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, StatementError> {
        let (signature, chain) = (STANDARD.encode(&self.signature), self.chain.to_pem());
        let document = Document { statement: &self.statement, signature, chain };
        let mut bytes = serde_json::to_vec(&document).map_err(StatementError::Json)?;
        bytes.push(b'\n');
        Ok(bytes)
    }

    /// Verifies the signature by a certificate that is judged at a moment, and that the time of
    /// signing has come.
    pub(crate) fn verify(
        &self,
        trust: &SessionTrust,
        at: OffsetDateTime,
        signed_at: Timestamp,
        now: OffsetDateTime,
    ) -> Result<(), StatementError> {
        let (what, party) = (S::CONTEXT, self.party);
        let message = serde_json::to_vec(&self.statement).map_err(StatementError::Json)?;
        trust
            .verify_signature(&self.chain, party, at, (what, &message), &self.signature)
            .map_err(|source| StatementError::Signature { what, party, source })?;
        check_not_in_future(signed_at, now)
    }
}

/// The party of a session that a certificate names, found to be fit to sign now.
pub(crate) fn signer(
    session: &Session,
    trust: &SessionTrust,
    certificate: &PartyCertificate,
    what: SignatureContext,
    now: OffsetDateTime,
) -> Result<PartyId, StatementError> {
    check_trust(session, trust)?;
    let chain = certificate.chain();
    let party = trust.party_of(chain).and_then(|party| {
        trust.verify(chain, party, now, Purpose::Signature)?;
        Ok(party)
    });
    party.map_err(|source| StatementError::Own { what, source })
}

/// Checks that the authority and the names are those of a session.
pub(crate) fn check_trust(session: &Session, trust: &SessionTrust) -> Result<(), StatementError> {
    match trust.fingerprint() == session.fingerprint() {
        true => Ok(()),
        false => Err(StatementError::OtherTrust),
    }
}

pub(crate) fn check_format(expected: &'static str, got: &str) -> Result<(), StatementError> {
    match got == expected {
        true => Ok(()),
        false => Err(StatementError::Format { expected, got: got.to_owned() }),
    }
}

pub(crate) fn check_not_in_future(
    signed_at: Timestamp,
    now: OffsetDateTime,
) -> Result<(), StatementError> {
    match signed_at.moment() > now + CLOCK_TOLERANCE {
        true => Err(StatementError::InFuture { signed_at, now: Timestamp::from(now) }),
        false => Ok(()),
    }
}

/// What can be wrong with any statement of a party: an approval, a receipt or a manifest.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StatementError {
    /// More bytes than any such file has.
    #[error("it has more than {max} bytes, which no {what} has")]
    TooLarge {
        /// What it should be.
        what: SignatureContext,
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
    /// A certificate or signature that is not the party's.
    #[error("the signature of party {party}'s {what} is not accepted")]
    Signature {
        /// What is signed.
        what: SignatureContext,
        /// Who claims to have signed.
        party: PartyId,
        /// Why.
        source: CertificateError,
    },
    /// A signature from the future.
    #[error(
        "it was signed at {signed_at} by the clock of the machine that signed it, which has not come yet: by the clock of \
         this one it is {now}"
    )]
    InFuture {
        /// By the statement.
        signed_at: Timestamp,
        /// By this machine's clock.
        now: Timestamp,
    },
    /// One's own certificate cannot sign.
    #[error("this certificate cannot {}", what.deed())]
    Own {
        /// What was to be signed.
        what: SignatureContext,
        /// Why.
        source: CertificateError,
    },
    /// The authority was taken from another session.
    #[error("the authority is that of another session")]
    OtherTrust,
}
