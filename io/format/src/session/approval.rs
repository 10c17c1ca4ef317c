//! Approvals of a session: a party has checked it and signs its fingerprint.
//!
//! A session file that an attacker or the other sender made could give a share away. So a
//! sender blinds nothing before it holds approvals by the receiver and the other sender.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
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
use crate::keys::Ciphertext;
use crate::keys::certificate::{PartyCertificate, SignatureContext};

/// One party's approval as it is in a file: signed by somebody, and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approval {
    signed: Signed<ApprovalStatement>,
    fingerprint: Fingerprint,
    ciphertext: Option<Ciphertext>,
}

/// Proof that the receiver and the other sender have approved a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approvals {
    own: PartyId,
    fingerprint: Fingerprint,
    ciphertext: Option<Ciphertext>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    ciphertext: Option<String>,
}

impl Statement for ApprovalStatement {
    const FORMAT: &str = "reshare-approval/2";
    const CONTEXT: SignatureContext = SignatureContext::Approval;

    fn format(&self) -> &str {
        &self.format
    }

    fn party(&self) -> u64 {
        self.party
    }
}

impl Approval {
    /// The largest file of an approval that is read.
    pub const MAX_BYTES: u64 = MAX_STATEMENT_BYTES;

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
    /// `ciphertext` is what the higher sender has encapsulated for the lower one's key, in a
    /// session that has such a key.
    ///
    /// # Errors
    /// [`StatementError::Own`](super::StatementError::Own) when the certificate is no party's of
    /// this session, or may not sign now; [`ApprovalError::Ciphertext`] when there is no ciphertext
    /// where one belongs, or one where none does.
    pub fn sign(
        session: &Session,
        trust: &SessionTrust,
        certificate: &PartyCertificate,
        now: OffsetDateTime,
        ciphertext: Option<Ciphertext>,
    ) -> Result<Self, ApprovalError> {
        let party = Self::signer(session, trust, certificate, now)?;
        check_ciphertext(session, party, ciphertext.as_ref())?;
        let fingerprint = session.fingerprint();
        let statement = ApprovalStatement {
            format: ApprovalStatement::FORMAT.to_owned(),
            session_id: session.id().to_string(),
            fingerprint: fingerprint.to_string(),
            party: party.index().into(),
            approved_at: Timestamp::from(now),
            ciphertext: ciphertext.as_ref().map(|ciphertext| STANDARD.encode(ciphertext.bytes())),
        };
        Ok(Self { signed: Signed::sign(statement, party, certificate)?, fingerprint, ciphertext })
    }

    /// Whether a party encapsulates a secret when it approves a session.
    #[must_use]
    pub fn encapsulates(session: &Session, party: PartyId) -> bool {
        session.encapsulation_key().is_some() && session.senders()[1].party == party
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
        let ciphertext = signed.statement.ciphertext.as_ref().map(|text| {
            let bytes = STANDARD.decode(text).ok();
            bytes.and_then(|bytes| Ciphertext::from_bytes(&bytes))
        });
        let ciphertext = match ciphertext {
            Some(None) => return Err(ApprovalError::NotACiphertext),
            Some(ciphertext) => ciphertext,
            None => None,
        };
        Ok(Self { signed, fingerprint, ciphertext })
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
        self.signed.verify(trust, now, *approved_at, now)?;
        check_ciphertext(session, party, self.ciphertext.as_ref())
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
        let ciphertext = ciphertext_of(approvals)?.cloned();
        Ok(Self { own, fingerprint: session.fingerprint(), ciphertext })
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

    /// What the higher sender has encapsulated, where its approval is among them and the session
    /// has a key for it.
    #[must_use]
    pub fn ciphertext(&self) -> Option<&Ciphertext> {
        self.ciphertext.as_ref()
    }
}

/// Checks that a ciphertext is there exactly where one belongs.
fn check_ciphertext(
    session: &Session,
    party: PartyId,
    ciphertext: Option<&Ciphertext>,
) -> Result<(), ApprovalError> {
    let expected = Approval::encapsulates(session, party);
    match ciphertext.is_some() == expected {
        true => Ok(()),
        false => Err(ApprovalError::Ciphertext { party, expected }),
    }
}

/// The one ciphertext of all approvals: with two, nobody knows which one the other sender uses.
fn ciphertext_of(approvals: &[Approval]) -> Result<Option<&Ciphertext>, ApprovalError> {
    let mut all = approvals
        .iter()
        .filter_map(|approval| Some((approval.party(), approval.ciphertext.as_ref()?)));
    let Some((party, first)) = all.next() else { return Ok(None) };
    match all.all(|(_, other)| other == first) {
        true => Ok(Some(first)),
        false => Err(ApprovalError::TwoCiphertexts { party }),
    }
}
