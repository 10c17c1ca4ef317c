//! Approvals of a session: who has looked at it and signs for its fingerprint.
//!
//! A session file that an attacker or the other sender made would give a share away. So a
//! sender blinds nothing before it holds approvals by the receiver and the other sender.

use std::path::{Path, PathBuf};

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::file_error::OnFile;
use reshare_files::input_file::read_input;
use reshare_files::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use time::{Duration, OffsetDateTime};

use super::approval_error::ApprovalError;
use super::{Session, SessionMismatch, SessionTrust, parse_fingerprint};
use crate::keys::certificate::{
    CertificateChain, PartyCertificate, Purpose, SignatureContext, SignedDocument,
};

/// How far another party's clock may be ahead of this machine's.
const CLOCK_TOLERANCE: Duration = Duration::minutes(1);

/// One party's approval as it lies in a file: signed by somebody, and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    statement: Statement,
    fingerprint: Fingerprint,
    party: PartyId,
    chain: CertificateChain,
    signature: Vec<u8>,
}

/// Proof that the receiver and the other sender have approved a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    own: PartyId,
    fingerprint: Fingerprint,
}

/// What is signed, field by field in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    format: String,
    session_id: String,
    fingerprint: String,
    party: u64,
    approved_at: Timestamp,
}

impl Approval {
    /// The format, the first field of what is signed.
    pub const FORMAT: &str = "reshare-approval/1";
    /// The largest file that is read.
    pub const MAX_FILE_BYTES: u64 = 128 << 10;

    /// Approves a session as the party that a certificate names.
    ///
    /// # Errors
    /// [`ApprovalError::Own`] when the certificate is no party's of this session, or may not
    /// sign now.
    pub fn sign(
        session: &Session,
        trust: &SessionTrust,
        certificate: &PartyCertificate,
        now: OffsetDateTime,
    ) -> Result<Self, ApprovalError> {
        check_same_session(session, trust)?;
        let party = trust.party_of(certificate.chain()).map_err(ApprovalError::Own)?;
        let chain = certificate.chain().clone();
        trust.verify(&chain, party, now, Purpose::Signature).map_err(ApprovalError::Own)?;
        let fingerprint = session.fingerprint();
        let statement = Statement {
            format: Self::FORMAT.to_owned(),
            session_id: session.id().to_string(),
            fingerprint: fingerprint.to_string(),
            party: party.index().into(),
            approved_at: Timestamp::from(now),
        };
        let message = statement.to_bytes()?;
        let signature = certificate.sign(SignatureContext::Approval, &message);
        let signature = signature.map_err(ApprovalError::Own)?;
        Ok(Self { statement, fingerprint, party, chain, signature })
    }

    /// The usual name of a party's file.
    #[must_use]
    pub fn file_name(party: PartyId) -> String {
        format!("approval-{party}.json")
    }

    /// Who claims to approve.
    #[must_use]
    pub fn party(&self) -> PartyId {
        self.party
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ApprovalError`] when it cannot be read or is not of the documented form.
    pub fn load(path: &Path) -> Result<Self, ApprovalError> {
        let bytes = read_input(path, Self::MAX_FILE_BYTES).on("read", path)?;
        let read = Self::parse(&bytes);
        read.map_err(|source| ApprovalError::File { path: path.to_owned(), source: source.into() })
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`ApprovalError`] when they are not of the documented form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApprovalError> {
        if bytes.len() as u64 > Self::MAX_FILE_BYTES {
            return Err(ApprovalError::TooLarge { max: Self::MAX_FILE_BYTES });
        }
        let document: SignedDocument<Statement> =
            serde_json::from_slice(bytes).map_err(ApprovalError::Json)?;
        let statement = &document.statement;
        if statement.format != Self::FORMAT {
            let got = statement.format.clone();
            return Err(ApprovalError::Format { expected: Self::FORMAT, got });
        }
        let fingerprint = parse_fingerprint(&statement.fingerprint)?;
        let party = PartyId::try_from(statement.party).map_err(ApprovalError::UnknownParty)?;
        let signature = document.signature().ok_or(ApprovalError::NotCanonical)?;
        let chain = document.chain();
        let chain = chain.map_err(|source| ApprovalError::Certificate { party, source })?;
        let approval = Self { statement: document.statement, fingerprint, party, chain, signature };
        if approval.to_bytes()? != bytes {
            return Err(ApprovalError::NotCanonical);
        }
        Ok(approval)
    }

    /// The bytes of the file: compact JSON in canonical field order and a line feed.
    ///
    /// # Errors
    /// [`ApprovalError::Json`], which does not happen with what this type holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ApprovalError> {
        let document = SignedDocument::new(self.statement.clone(), &self.signature, &self.chain);
        document.to_bytes().map_err(ApprovalError::Json)
    }

    /// Verifies that a party of the session approved this very session.
    ///
    /// # Errors
    /// An [`ApprovalError`] that says what does not fit.
    pub fn verify(
        &self,
        session: &Session,
        trust: &SessionTrust,
        now: OffsetDateTime,
    ) -> Result<(), ApprovalError> {
        check_same_session(session, trust)?;
        let (party, approved_at) = (self.party, self.statement.approved_at);
        let (expected, got) = (session.fingerprint(), self.fingerprint);
        if got != expected || self.statement.session_id != session.id().as_str() {
            let mismatch = SessionMismatch { expected, got };
            return Err(ApprovalError::OtherSession { party, mismatch });
        }
        if trust.name_of(party).is_none() {
            return Err(ApprovalError::NotAParty { party });
        }
        let message = self.statement.to_bytes()?;
        let message = (SignatureContext::Approval, message.as_slice());
        trust
            .verify_signature(&self.chain, party, now, message, &self.signature)
            .map_err(|source| ApprovalError::Certificate { party, source })?;
        if approved_at.moment() > now + CLOCK_TOLERANCE {
            return Err(ApprovalError::InFuture { party, approved_at, now: Timestamp::from(now) });
        }
        Ok(())
    }
}

impl Approvals {
    /// Verifies approvals as a sender must, before it blinds anything: all that are given, and
    /// among them the receiver's and the other sender's.
    ///
    /// # Errors
    /// An [`ApprovalError`] that names the approval at fault, or the parties whose approval
    /// is missing.
    pub fn verify(
        session: &Session,
        trust: &SessionTrust,
        own: PartyId,
        approvals: &[Approval],
        now: OffsetDateTime,
    ) -> Result<Self, ApprovalError> {
        check_same_session(session, trust)?;
        let other = session.other_sender(own).ok_or(ApprovalError::NotASender { party: own })?;
        for approval in approvals {
            approval.verify(session, trust, now)?;
        }
        let wanted = [other.party, session.receiver().party];
        let given = |party: &PartyId| approvals.iter().any(|approval| approval.party == *party);
        let missing: Vec<PartyId> = wanted.into_iter().filter(|party| !given(party)).collect();
        if !missing.is_empty() {
            return Err(ApprovalError::Missing { parties: missing });
        }
        Ok(Self { own, fingerprint: session.fingerprint() })
    }

    /// As [`Self::verify`], with approvals in files.
    ///
    /// # Errors
    /// As [`Self::verify`], and [`ApprovalError::File`] with the file's name.
    pub fn load(
        session: &Session,
        trust: &SessionTrust,
        own: PartyId,
        files: &[PathBuf],
        now: OffsetDateTime,
    ) -> Result<Self, ApprovalError> {
        let mut approvals = Vec::with_capacity(files.len());
        for path in files {
            let approval = Approval::load(path)?;
            approval.verify(session, trust, now).map_err(|source| ApprovalError::File {
                path: path.clone(),
                source: source.into(),
            })?;
            approvals.push(approval);
        }
        Self::verify(session, trust, own, &approvals, now)
    }

    /// The sender for which they were verified.
    #[must_use]
    pub fn own(&self) -> PartyId {
        self.own
    }

    /// The session that they approve.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

impl Statement {
    fn to_bytes(&self) -> Result<Vec<u8>, ApprovalError> {
        serde_json::to_vec(self).map_err(ApprovalError::Json)
    }
}

/// The authority and the names must be those of the session that is approved.
fn check_same_session(session: &Session, trust: &SessionTrust) -> Result<(), ApprovalError> {
    if trust.fingerprint() == session.fingerprint() {
        return Ok(());
    }
    Err(ApprovalError::OtherTrust)
}
