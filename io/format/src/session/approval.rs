//! Approvals of a session: a party has checked it and signs its fingerprint.
//!
//! A session file that an attacker or the other sender made could give a share away. So a
//! sender blinds nothing before it holds approvals by the receiver and the other sender.

use std::path::{Path, PathBuf};

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::file_error::OnFile;
use reshare_files::input_file::read_input;
use reshare_files::timestamp::Timestamp;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;

use super::approval_error::ApprovalError;
use super::{
    MAX_STATEMENT_BYTES, Session, SessionMismatch, SessionTrust, Signed, Statement, check_trust,
    fingerprint_from_hex, signer,
};
use crate::keys::certificate::{PartyCertificate, SignatureContext};

/// One party's approval as it is in a file: signed by somebody, and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    signed: Signed<ApprovalStatement>,
    fingerprint: Fingerprint,
}

/// Proof that the receiver and the other sender have approved a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    own: PartyId,
    fingerprint: Fingerprint,
}

/// The signed statement, field by field in canonical order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalStatement {
    format: String,
    session_id: String,
    fingerprint: String,
    party: u64,
    approved_at: Timestamp,
}

impl Statement for ApprovalStatement {
    const FORMAT: &str = "reshare-approval/1";
    const CONTEXT: SignatureContext = SignatureContext::Approval;

    fn format(&self) -> &str {
        &self.format
    }

    fn party(&self) -> u64 {
        self.party
    }
}

impl Approval {
    /// The party of a session that a certificate names, found to be fit to approve it now.
    ///
    /// # Errors
    /// As [`Self::sign`].
    pub fn signer(
        session: &Session,
        trust: &SessionTrust,
        certificate: &PartyCertificate,
        now: OffsetDateTime,
    ) -> Result<PartyId, ApprovalError> {
        Ok(signer(session, trust, certificate, SignatureContext::Approval, now)?)
    }

    /// Approves a session as the party that a certificate names.
    ///
    /// # Errors
    /// [`StatementError::Own`](super::StatementError::Own) when the certificate is no party's of
    /// this session, or may not sign now.
    pub fn sign(
        session: &Session,
        trust: &SessionTrust,
        certificate: &PartyCertificate,
        now: OffsetDateTime,
    ) -> Result<Self, ApprovalError> {
        let party = Self::signer(session, trust, certificate, now)?;
        let fingerprint = session.fingerprint();
        let statement = ApprovalStatement {
            format: ApprovalStatement::FORMAT.to_owned(),
            session_id: session.id().to_string(),
            fingerprint: fingerprint.to_string(),
            party: party.index().into(),
            approved_at: Timestamp::from(now),
        };
        Ok(Self { signed: Signed::sign(statement, party, certificate)?, fingerprint })
    }

    /// The usual file name of a party's approval.
    #[must_use]
    pub fn file_name(party: PartyId) -> String {
        format!("approval-{party}.json")
    }

    /// Who claims to approve.
    #[must_use]
    pub fn party(&self) -> PartyId {
        self.signed.party
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`ApprovalError`] when it cannot be read or is not of the documented form.
    pub fn load(path: &Path) -> Result<Self, ApprovalError> {
        let bytes = read_input(path, MAX_STATEMENT_BYTES).on("read", path)?;
        Self::parse(&bytes).map_err(|error| error.in_file(path))
    }

    /// Reads the bytes of a file.
    ///
    /// # Errors
    /// [`ApprovalError`] when they are not of the documented form.
    pub fn parse(bytes: &[u8]) -> Result<Self, ApprovalError> {
        let signed = Signed::<ApprovalStatement>::parse(bytes)?;
        let fingerprint = fingerprint_from_hex(&signed.statement.fingerprint)?;
        Ok(Self { signed, fingerprint })
    }

    /// The bytes of the file: compact JSON in canonical field order and a line feed.
    ///
    /// # Errors
    /// [`StatementError::Json`](super::StatementError::Json), which does not happen with what this
    /// type holds.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ApprovalError> {
        Ok(self.signed.to_bytes()?)
    }

    /// Verifies that a party of the session approved this very session.
    ///
    /// # Errors
    /// An [`ApprovalError`] that names what does not fit.
    pub fn verify(
        &self,
        session: &Session,
        trust: &SessionTrust,
        now: OffsetDateTime,
    ) -> Result<(), ApprovalError> {
        check_trust(session, trust)?;
        let ApprovalStatement { session_id, approved_at, .. } = &self.signed.statement;
        let (party, expected, got) = (self.party(), session.fingerprint(), self.fingerprint);
        if got != expected || session_id != session.id().as_str() {
            let mismatch = SessionMismatch { expected, got };
            return Err(ApprovalError::OtherSession { party, mismatch });
        }
        if trust.name_of(party).is_none() {
            return Err(ApprovalError::NotAParty { party });
        }
        Ok(self.signed.verify(trust, now, *approved_at, now)?)
    }
}

impl Approvals {
    /// Verifies approvals as a sender must before it blinds anything: all that are given, which
    /// must include the receiver's and the other sender's.
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
        check_trust(session, trust)?;
        let other = session.other_sender(own).ok_or(ApprovalError::NotASender { party: own })?;
        for approval in approvals {
            approval.verify(session, trust, now)?;
        }
        let wanted = [other.party, session.receiver().party];
        let given = |party: &PartyId| approvals.iter().any(|approval| approval.party() == *party);
        let missing: Vec<PartyId> = wanted.into_iter().filter(|party| !given(party)).collect();
        if !missing.is_empty() {
            return Err(ApprovalError::Missing { parties: missing });
        }
        Ok(Self { own, fingerprint: session.fingerprint() })
    }

    /// As [`Self::verify`], with approvals from files.
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
            approval.verify(session, trust, now).map_err(|error| error.in_file(path))?;
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
