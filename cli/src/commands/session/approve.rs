//! `reshare session approve`.

use std::path::PathBuf;

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::session::{Approval, ApprovalError, Session, SessionTrust, StatementError};
use serde::Serialize;
use time::OffsetDateTime;

use crate::args::{AuthorityArgs, CertificateArgs, OutputArgs, OwnKeyArgs, StateArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hints::certificate_hint;
use crate::report;
use crate::setup::credentials::{certificate, trust};
use crate::setup::ledger::create_ledger;
use crate::setup::own_key::check_own_key;
use crate::setup::session::{check_fingerprint, load_session};

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The session file
    #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
    session: PathBuf,

    /// The fingerprint that was agreed on, to be compared
    #[arg(long, value_name = "HEX")]
    expect_fingerprint: Option<String>,

    /// This party, to be compared with the certificate's
    #[arg(long, value_name = "PARTY", env = "RESHARE_PARTY_ID")]
    party_id: Option<u64>,

    #[command(flatten)]
    own_key: OwnKeyArgs,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    certificate: CertificateArgs,

    #[command(flatten)]
    state: StateArgs,

    /// Write the approval to this file, for the senders [default: approval-PARTY.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// The result of an approval.
#[derive(Debug, Serialize)]
struct ApproveReport {
    party: u8,
    fingerprint: String,
    /// The file with the signature, if the session uses certificates.
    approval: Option<String>,
    /// For a sender: whether the ledger was created now; an existing one is kept.
    ledger_made: Option<bool>,
}

impl ApproveArgs {
    pub(super) fn run(&self, output: &OutputArgs) -> Outcome {
        let session = load_session(&self.session)?;
        check_fingerprint(&session, self.expect_fingerprint.as_deref())?;
        let (party, approval) = match trust(&session, &self.authority)? {
            Some(trust) => {
                let approval = self.sign(&session, &trust)?;
                (approval.party(), Some(approval))
            }
            None => (self.sender(&session)?, None),
        };
        check_own_key(&self.own_key, &session, party)?;
        let approval = approval.map(|approval| self.write(&approval)).transpose()?;
        let ledger_made = match session.sender(party) {
            Some(_) => Some(create_ledger(&session, party, &self.state.directory()?)?),
            None => None,
        };
        let report = ApproveReport {
            party: party.index(),
            fingerprint: session.fingerprint().to_string(),
            approval: approval.map(|path| path.display().to_string()),
            ledger_made,
        };
        self.print(output, &session, &report)?;
        Ok(Exit::Done)
    }

    /// Signs the fingerprint. Nothing is written yet.
    fn sign(&self, session: &Session, trust: &SessionTrust) -> Result<Approval, Failure> {
        let certificate = certificate(&self.certificate)?;
        let now = OffsetDateTime::now_utc();
        // A session may be approved before it is valid.
        session.check_time(now.max(session.not_before())).map_err(Failure::refused)?;
        let approval = Approval::sign(session, trust, &certificate, now).map_err(|error| {
            let hint = match &error {
                ApprovalError::Statement(StatementError::Own { source, .. }) => {
                    Some(certificate_hint(source))
                }
                _ => None,
            };
            Failure::refused(error).hint_if(hint)
        })?;
        let party = approval.party();
        if let Some(claimed) = self.party_id.filter(|id| *id != u64::from(party.index())) {
            let error = format!("--party-id is {claimed}, but the certificate is party {party}'s");
            return Err(Failure::refused(error));
        }
        Ok(approval)
    }

    /// Writes the approval, and returns its path.
    fn write(&self, approval: &Approval) -> Result<PathBuf, Failure> {
        let party = approval.party();
        let path = self.out.clone().unwrap_or_else(|| Approval::file_name(party).into());
        let bytes = approval.to_bytes().map_err(Failure::failed)?;
        durable::write_whole(&path, &bytes).on("write", &path).map_err(Failure::failed)?;
        Ok(path)
    }

    /// The sender of a session without certificates: only its ledger is created.
    fn sender(&self, session: &Session) -> Result<PartyId, Failure> {
        let [lower, higher] = session.senders().map(|sender| sender.party);
        let hint = format!(
            "the senders {lower} and {higher} approve a session without certificates: give --party-id"
        );
        let Some(party) = self.party_id else {
            return Err(
                Failure::usage("--party-id is missing: it says which sender this is").hint(hint)
            );
        };
        let party = PartyId::try_from(party).map_err(Failure::usage)?;
        session.check_sender(party).map_err(|error| Failure::refused(error).hint(hint))?;
        Ok(party)
    }

    fn print(
        &self,
        output: &OutputArgs,
        session: &Session,
        report: &ApproveReport,
    ) -> Result<(), Failure> {
        if output.json {
            let value = serde_json::to_string_pretty(report).map_err(Failure::failed)?;
            return report::line(&value);
        }
        report::session(output, session)?;
        let party = report.party;
        if let Some(path) = &report.approval {
            report::line(&format!("approved     by party {party}, for the senders: {path}"))?;
        }
        match report.ledger_made {
            Some(true) => {
                let directory = self.state.directory()?;
                report::line(&format!(
                    "ledger       of sender {party} made in {}",
                    directory.display()
                ))
            }
            Some(false) => {
                report::line(&format!("ledger       of sender {party} was there and is kept"))
            }
            None => Ok(()),
        }
    }
}
