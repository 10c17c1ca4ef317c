//! Receipts: the receiver's signed word that what it has loaded is what was delivered.
//!
//! A sender cannot look into the receiver's database. With a receipt it may remove what it has
//! of a session, on nobody's mere word.

use std::path::Path;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::file_error::OnFile;
use reshare_files::input_file::read_input;
use reshare_files::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use crate::keys::certificate::{
    CertificateChain, PartyCertificate, Purpose, SignatureContext, SignedDocument,
};
use crate::package::hex_bytes;
use crate::session::{Session, SessionMismatch, SessionTrust};

mod error;
mod package;

pub use error::ReceiptError;
pub use package::{ReceivedPackage, content_of_parts};

/// How far the receiver's clock may be ahead of this machine's.
const CLOCK_TOLERANCE: Duration = Duration::minutes(1);

/// What the receiver's comparison found: everything equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Both packages, the lower sender's first.
    pub packages: [ReceivedPackage; 2],
    /// Rows that were rebuilt once more and are in the table, bit for bit.
    pub rows: u64,
    /// Rows that could not be rebuilt from these packages.
    pub left_over: u64,
}

/// A receipt as it lies in a file: signed by somebody, and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedReceipt {
    statement: Statement,
    compared: Compared,
    receiver: PartyId,
    chain: CertificateChain,
    signature: Vec<u8>,
}

/// Proof that the receiver of a session has compared what it loaded with both packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    compared: Compared,
    receiver: PartyId,
    verified_at: Timestamp,
}

/// What is signed, field by field in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    format: String,
    session_id: String,
    #[serde(with = "hex_bytes")]
    fingerprint: Fingerprint,
    receiver: u64,
    packages: [PackageStatement; 2],
    rows_compared: u64,
    left_over: u64,
    verified_at: Timestamp,
}

/// One package of the statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PackageStatement {
    sender: u64,
    #[serde(with = "hex_bytes")]
    manifest_blake3: blake3::Hash,
    #[serde(with = "hex_bytes")]
    content_blake3: blake3::Hash,
    rows: u64,
}

impl UnverifiedReceipt {
    /// The format, the first field of what is signed.
    pub const FORMAT: &str = "reshare-receipt/1";
    /// The largest file that is read.
    pub const MAX_FILE_BYTES: u64 = 128 << 10;

    /// Signs what a comparison found, as the receiver.
    ///
    /// # Errors
    /// As [`check_signer`].
    pub fn sign(
        session: &Session,
        trust: &SessionTrust,
        certificate: &PartyCertificate,
        compared: Compared,
        now: OffsetDateTime,
    ) -> Result<Self, ReceiptError> {
        check_signer(session, trust, certificate, now)?;
        let (chain, receiver) = (certificate.chain().clone(), session.receiver().party);
        let statement = Statement {
            format: Self::FORMAT.to_owned(),
            session_id: session.id().to_string(),
            fingerprint: session.fingerprint(),
            receiver: receiver.index().into(),
            packages: compared.packages.map(PackageStatement::from),
            rows_compared: compared.rows,
            left_over: compared.left_over,
            verified_at: Timestamp::from(now),
        };
        let message = statement.to_bytes()?;
        let signature = certificate.sign(SignatureContext::Receipt, &message);
        let signature = signature.map_err(ReceiptError::Own)?;
        Ok(Self { statement, compared, receiver, chain, signature })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ReceiptError`] when it cannot be read or is not of the documented form.
    pub fn load(path: &Path) -> Result<Self, ReceiptError> {
        let bytes = read_input(path, Self::MAX_FILE_BYTES).on("read", path)?;
        let read = Self::parse(&bytes);
        read.map_err(|source| ReceiptError::File { path: path.to_owned(), source: source.into() })
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`ReceiptError`] when they are not of the documented form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        if bytes.len() as u64 > Self::MAX_FILE_BYTES {
            return Err(ReceiptError::TooLarge { max: Self::MAX_FILE_BYTES });
        }
        let document: SignedDocument<Statement> =
            serde_json::from_slice(bytes).map_err(ReceiptError::Json)?;
        let statement = &document.statement;
        if statement.format != Self::FORMAT {
            let got = statement.format.clone();
            return Err(ReceiptError::Format { expected: Self::FORMAT, got });
        }
        let party = |index| PartyId::try_from(index).map_err(ReceiptError::UnknownParty);
        let receiver = party(statement.receiver)?;
        let [lower, higher] = &statement.packages;
        let packages =
            [lower.received(party(lower.sender)?), higher.received(party(higher.sender)?)];
        let (rows, left_over) = (statement.rows_compared, statement.left_over);
        let compared = Compared { packages, rows, left_over };
        let signature = document.signature().ok_or(ReceiptError::NotCanonical)?;
        let chain = document.chain();
        let chain =
            chain.map_err(|source| ReceiptError::Certificate { party: receiver, source })?;
        let receipt = Self { statement: document.statement, compared, receiver, chain, signature };
        if receipt.to_bytes()? != bytes {
            return Err(ReceiptError::NotCanonical);
        }
        Ok(receipt)
    }

    /// The bytes of the file: compact JSON in canonical field order and a line feed.
    ///
    /// # Errors
    /// [`ReceiptError::Json`], which does not happen with what this type holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        let document = SignedDocument::new(self.statement.clone(), &self.signature, &self.chain);
        document.to_bytes().map_err(ReceiptError::Json)
    }

    /// Verifies that the receiver of this very session signed it.
    ///
    /// The signature is judged at the moment that it names: a certificate may end before its
    /// receipt is used. A load may be compared when the session's life is over.
    ///
    /// # Errors
    /// A [`ReceiptError`] that says what does not fit.
    pub fn verify(
        self,
        session: &Session,
        trust: &SessionTrust,
        now: OffsetDateTime,
    ) -> Result<Receipt, ReceiptError> {
        check_same_session(session, trust)?;
        let (expected, got) = (session.fingerprint(), self.statement.fingerprint);
        if got != expected || self.statement.session_id != session.id().as_str() {
            return Err(SessionMismatch { expected, got }.into());
        }
        let (party, expected) = (self.receiver, session.receiver().party);
        if party != expected {
            return Err(ReceiptError::NotTheReceiver { expected, got: party });
        }
        let senders = session.senders().map(|sender| sender.party);
        let named = self.compared.packages.map(|package| package.sender);
        if named != senders {
            return Err(ReceiptError::OtherSenders { expected: senders, got: named });
        }
        let verified_at = self.statement.verified_at;
        let (at, message) = (verified_at.moment(), self.statement.to_bytes()?);
        let message = (SignatureContext::Receipt, message.as_slice());
        trust
            .verify_signature(&self.chain, party, at, message, &self.signature)
            .map_err(|source| ReceiptError::Certificate { party, source })?;
        if at > now + CLOCK_TOLERANCE {
            return Err(ReceiptError::InFuture { verified_at, now: Timestamp::from(now) });
        }
        if at < session.not_before() {
            let not_before = Timestamp::from(session.not_before());
            return Err(ReceiptError::BeforeSession { verified_at, not_before });
        }
        Ok(Receipt { compared: self.compared, receiver: party, verified_at })
    }
}

impl Receipt {
    /// Reads a file and verifies it: see [`UnverifiedReceipt::verify`].
    ///
    /// # Errors
    /// As [`UnverifiedReceipt::load`] and [`UnverifiedReceipt::verify`], with the file's name.
    pub fn load(
        path: &Path,
        session: &Session,
        trust: &SessionTrust,
        now: OffsetDateTime,
    ) -> Result<Self, ReceiptError> {
        let verified = UnverifiedReceipt::load(path)?.verify(session, trust, now);
        let error = |source| ReceiptError::File { path: path.to_owned(), source };
        verified.map_err(|source| error(source.into()))
    }

    /// What was compared and found equal.
    #[must_use]
    pub fn compared(&self) -> &Compared {
        &self.compared
    }

    /// What it says of one sender's package.
    #[must_use]
    pub fn package_of(&self, sender: PartyId) -> Option<&ReceivedPackage> {
        self.compared.packages.iter().find(|package| package.sender == sender)
    }

    /// Who signed.
    #[must_use]
    pub fn receiver(&self) -> PartyId {
        self.receiver
    }

    /// When the comparison had ended.
    #[must_use]
    pub fn verified_at(&self) -> Timestamp {
        self.verified_at
    }
}

/// Checks that a certificate may sign a receipt of a session, before anything is compared.
///
/// # Errors
/// [`ReceiptError::Own`] when the certificate is no party's of this session, or may not sign
/// now; [`ReceiptError::NotTheReceiver`] when it is a sender's.
pub fn check_signer(
    session: &Session,
    trust: &SessionTrust,
    certificate: &PartyCertificate,
    now: OffsetDateTime,
) -> Result<(), ReceiptError> {
    check_same_session(session, trust)?;
    let got = trust.party_of(certificate.chain()).map_err(ReceiptError::Own)?;
    let expected = session.receiver().party;
    if got != expected {
        return Err(ReceiptError::NotTheReceiver { expected, got });
    }
    trust.verify(certificate.chain(), got, now, Purpose::Signature).map_err(ReceiptError::Own)
}

impl Statement {
    fn to_bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        serde_json::to_vec(self).map_err(ReceiptError::Json)
    }
}

impl PackageStatement {
    fn received(&self, sender: PartyId) -> ReceivedPackage {
        ReceivedPackage {
            sender,
            manifest_digest: self.manifest_blake3,
            content_digest: self.content_blake3,
            rows: self.rows,
        }
    }
}

impl From<ReceivedPackage> for PackageStatement {
    fn from(package: ReceivedPackage) -> Self {
        Self {
            sender: package.sender.index().into(),
            manifest_blake3: package.manifest_digest,
            content_blake3: package.content_digest,
            rows: package.rows,
        }
    }
}

/// The authority and the names must be those of the session that the receipt is of.
fn check_same_session(session: &Session, trust: &SessionTrust) -> Result<(), ReceiptError> {
    if trust.fingerprint() == session.fingerprint() {
        return Ok(());
    }
    Err(ReceiptError::OtherTrust)
}
