//! Receipts: the receiver's signed statement that it loaded what was delivered.
//!
//! A sender cannot look into the receiver's database. A receipt is proof on which it may remove
//! what it has of a session.

use std::path::Path;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::file_error::OnFile;
use reshare_files::input_file::read_input;
use reshare_files::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use crate::keys::certificate::{PartyCertificate, SignatureContext};
use crate::package::hex_bytes;
use crate::session::{
    MAX_STATEMENT_BYTES, Session, SessionMismatch, SessionTrust, Signed, Statement, StatementError,
    check_trust, signer,
};

mod error;
mod package;

pub use error::ReceiptError;
pub use package::{ReceivedPackage, content_of_parts};

/// What the receiver's comparison found: everything equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compared {
    /// Both packages, the lower sender's first.
    pub packages: [ReceivedPackage; 2],
    /// Rows that were rebuilt once more and are in the table, equal bit for bit.
    pub rows: u64,
    /// Rows that could not be rebuilt from these packages.
    pub left_over: u64,
    /// What the rows of the table were compared with.
    pub with: ComparedWith,
}

/// What the rows of a table were compared with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ComparedWith {
    /// With the rows of both packages, which were rebuilt once more.
    #[default]
    Packages,
    /// With the digests that were recorded as the rows were merged and loaded.
    Digests,
}

/// What a receipt says where the comparison was not with packages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum OtherComparison {
    Digests,
}

/// A receipt as it is in a file: signed by somebody, and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnverifiedReceipt {
    signed: Signed<ReceiptStatement>,
    compared: Compared,
}

/// Proof that the receiver of a session has compared what it loaded with both packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    compared: Compared,
    receiver: PartyId,
    verified_at: Timestamp,
}

/// The signed statement, field by field in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ReceiptStatement {
    format: String,
    session_id: String,
    #[serde(with = "hex_bytes")]
    fingerprint: Fingerprint,
    receiver: u64,
    packages: [PackageStatement; 2],
    rows_compared: u64,
    left_over: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    compared_with: Option<OtherComparison>,
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

impl Statement for ReceiptStatement {
    const FORMAT: &str = "reshare-receipt/1";
    const CONTEXT: SignatureContext = SignatureContext::Receipt;

    fn format(&self) -> &str {
        &self.format
    }

    fn party(&self) -> u64 {
        self.receiver
    }
}

impl UnverifiedReceipt {
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
        let receiver = session.receiver().party;
        let statement = ReceiptStatement {
            format: ReceiptStatement::FORMAT.to_owned(),
            session_id: session.id().to_string(),
            fingerprint: session.fingerprint(),
            receiver: receiver.index().into(),
            packages: compared.packages.map(PackageStatement::from),
            rows_compared: compared.rows,
            left_over: compared.left_over,
            compared_with: match compared.with {
                ComparedWith::Packages => None,
                ComparedWith::Digests => Some(OtherComparison::Digests),
            },
            verified_at: Timestamp::from(now),
        };
        Ok(Self { signed: Signed::sign(statement, receiver, certificate)?, compared })
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ReceiptError`] when it cannot be read or is not of the documented form.
    pub fn load(path: &Path) -> Result<Self, ReceiptError> {
        let bytes = read_input(path, MAX_STATEMENT_BYTES).on("read", path)?;
        Self::parse(&bytes).map_err(|error| error.in_file(path))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`ReceiptError`] when they are not of the documented form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ReceiptError> {
        let signed = Signed::<ReceiptStatement>::parse(bytes)?;
        let statement = &signed.statement;
        let [lower, higher] = &statement.packages;
        let packages = [lower.received()?, higher.received()?];
        let (rows, left_over) = (statement.rows_compared, statement.left_over);
        let with = match signed.statement.compared_with {
            None => ComparedWith::Packages,
            Some(OtherComparison::Digests) => ComparedWith::Digests,
        };
        Ok(Self { compared: Compared { packages, rows, left_over, with }, signed })
    }

    /// The session that it claims to be about.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.signed.statement.fingerprint
    }

    /// The bytes of the file: compact JSON in canonical field order and a line feed.
    ///
    /// # Errors
    /// [`StatementError::Json`], which does not happen with what this type holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ReceiptError> {
        Ok(self.signed.to_bytes()?)
    }

    /// Verifies that the receiver of this very session signed it.
    ///
    /// The signature is verified at the time that the receipt gives: a certificate may expire
    /// before its receipt is used. A load may be compared after the session has expired.
    ///
    /// # Errors
    /// A [`ReceiptError`] that names what does not fit.
    pub fn verify(
        self,
        session: &Session,
        trust: &SessionTrust,
        now: OffsetDateTime,
    ) -> Result<Receipt, ReceiptError> {
        check_trust(session, trust)?;
        let statement = &self.signed.statement;
        let (expected, got) = (session.fingerprint(), statement.fingerprint);
        if got != expected || statement.session_id != session.id().as_str() {
            return Err(SessionMismatch { expected, got }.into());
        }
        let (party, expected) = (self.signed.party, session.receiver().party);
        if party != expected {
            return Err(ReceiptError::NotTheReceiver { expected, got: party });
        }
        let senders = session.senders().map(|sender| sender.party);
        let named = self.compared.packages.map(|package| package.sender);
        if named != senders {
            return Err(ReceiptError::OtherSenders { expected: senders, got: named });
        }
        let (verified_at, at) = (statement.verified_at, statement.verified_at.moment());
        self.signed.verify(trust, at, verified_at, now)?;
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
        verified.map_err(|error| error.in_file(path))
    }

    /// The comparison that found everything equal.
    #[must_use]
    pub fn compared(&self) -> &Compared {
        &self.compared
    }

    /// The entry for one sender's package.
    #[must_use]
    pub fn package_of(&self, sender: PartyId) -> Option<&ReceivedPackage> {
        self.compared.packages.iter().find(|package| package.sender == sender)
    }

    /// The signer.
    #[must_use]
    pub fn receiver(&self) -> PartyId {
        self.receiver
    }

    /// When the comparison ended.
    #[must_use]
    pub fn verified_at(&self) -> Timestamp {
        self.verified_at
    }
}

/// Checks that a certificate may sign a receipt of a session, before anything is compared.
///
/// # Errors
/// [`StatementError::Own`] when the certificate is no party's of this session, or may not sign
/// now; [`ReceiptError::NotTheReceiver`] when it is a sender's.
pub fn check_signer(
    session: &Session,
    trust: &SessionTrust,
    certificate: &PartyCertificate,
    now: OffsetDateTime,
) -> Result<(), ReceiptError> {
    let got = signer(session, trust, certificate, SignatureContext::Receipt, now)?;
    let expected = session.receiver().party;
    match got == expected {
        true => Ok(()),
        false => Err(ReceiptError::NotTheReceiver { expected, got }),
    }
}

impl PackageStatement {
    fn received(&self) -> Result<ReceivedPackage, StatementError> {
        Ok(ReceivedPackage {
            sender: self.sender.try_into().map_err(StatementError::UnknownParty)?,
            manifest_digest: self.manifest_blake3,
            content_digest: self.content_blake3,
            rows: self.rows,
        })
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
