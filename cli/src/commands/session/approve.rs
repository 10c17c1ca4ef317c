//! `reshare session approve`.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::keys::Ciphertext;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::session::{Approval, ApprovalError, Session, SessionTrust, StatementError};
use reshare_pipeline::receivers::Acquaintance;
use serde::Serialize;
use time::OffsetDateTime;

use crate::args::{
    AuthorityArgs, CertificateArgs, EvidenceArgs, NetworkArgs, OutputArgs, OwnKeyArgs, StateArgs,
    WordsArgs,
};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hints::certificate_hint;
use crate::report;
use crate::setup::agreement::encapsulate;
use crate::setup::carried::Carried;
use crate::setup::credentials::{certificate, trust};
use crate::setup::ledger::{check_evidence, create_ledger};
use crate::setup::network::{check_network, new_network, write_network};
use crate::setup::own_key::check_own_key;
use crate::setup::receiver;
use crate::setup::session::{check_fingerprint, load_session};
use crate::streams::say;

#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The session file
    #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
    session: PathBuf,

    /// The fingerprint that was agreed on, in digits or words, to be compared
    #[arg(long, value_name = "TEXT")]
    expect_fingerprint: Option<String>,

    /// Approve without a question, as a script does: needs --expect-fingerprint
    #[arg(long)]
    yes: bool,

    /// This party, to be compared with the certificate's
    #[arg(long, value_name = "PARTY", env = "RESHARE_PARTY_ID")]
    party_id: Option<u64>,

    /// The party that receives, as its operator says: required if the session uses no certificates
    #[arg(long, value_name = "PARTY")]
    target_party_id: Option<u64>,

    /// Without certificates: this number is a new receiver's. Give it once, when the party receives
    /// for the first time
    #[arg(long, value_name = "PARTY")]
    new_party: Option<u64>,

    #[command(flatten)]
    own_key: OwnKeyArgs,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    certificate: CertificateArgs,

    #[command(flatten)]
    network: NetworkArgs,

    /// Make this party's network file from the session, once: there must be none yet. Its parties
    /// are then who is who, for all sessions to come
    #[arg(long, help_heading = "Certificates (if the session uses them)")]
    new_network: bool,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    evidence: EvidenceArgs,

    /// Write the approval to this file, for the senders [default: approval-PARTY.json]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    #[command(flatten)]
    words: WordsArgs,
}

/// Who approves, found to be fit to do so.
struct Approver {
    party: PartyId,
    /// What it signs with, where the session uses certificates.
    signer: Option<(SessionTrust, PartyCertificate)>,
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
        let carried = Carried::write(&session, &self.authority, &self.certificate)?;
        let (network, to_be_made) = match self.new_network {
            true => (None, Some(new_network(&session, &self.network)?)),
            false => (check_network(&session, &self.network)?, None),
        };
        let acquaintance = self.check_receiver(&session)?;
        let Approver { party, signer } = self.approver(&session)?;
        let is_sender = session.sender(party).is_some();
        check_own_key(&self.own_key, &session, party)?;
        if is_sender {
            receiver::check_own(&session, party, &self.state)?;
            let state = self.state.directory()?;
            check_evidence(&session, party, &state, &self.evidence.evidence)?;
        }
        self.confirm(output, &session, network.as_deref(), acquaintance)?;
        // Nothing is signed or written before this line, but certificates that are removed again. What
        // may be refused comes first.
        let ledger_made = match is_sender {
            true => Some(create_ledger(&session, party, &self.state.directory()?)?),
            false => None,
        };
        carried.keep();
        if let Some((path, network)) = &to_be_made {
            write_network(path, network)?;
            say!("note: who is who is now in {}, for all sessions to come", path.display());
        }
        if is_sender {
            receiver::remember(&session, party, &self.state)?;
        }
        let approval = match &signer {
            Some((trust, certificate)) => {
                let encapsulated = encapsulate(&session, party, &self.state)?;
                let ciphertext = encapsulated.map(|encapsulated| encapsulated.ciphertext);
                Some(self.write(&sign(&session, trust, certificate, ciphertext)?)?)
            }
            None => None,
        };
        let report = ApproveReport {
            party: party.index(),
            fingerprint: session.fingerprint().to_string(),
            approval: approval.map(|path| path.display().to_string()),
            ledger_made,
        };
        self.print(output, &report)?;
        Ok(Exit::Done)
    }

    /// Checks the receiver's number where no network file can: without certificates.
    fn check_receiver(&self, session: &Session) -> Result<Option<Acquaintance>, Failure> {
        let new_party = self.new_party.map(PartyId::try_from).transpose();
        let new_party = new_party.map_err(Failure::usage)?;
        match new_party {
            Some(_) if session.ca_sha256().is_some() => {
                let error = "--new-party is given, but this session uses certificates";
                return Err(Failure::usage(error).hint(
                    "drop it: a new party is added to the network file, with `reshare network add`",
                ));
            }
            Some(party) => session.check_receiver(party).map_err(|error| {
                Failure::refused(error).hint("--new-party is the number of the session's receiver")
            })?,
            None => {}
        }
        if let Some(target) = self.target_party_id {
            let target = PartyId::try_from(target).map_err(Failure::usage)?;
            session.check_receiver(target).map_err(|error| {
                Failure::refused(error).hint(
                    "do not approve this session: under another number the receiver would get \
                     shares at a second evaluation point. Ask the operator who made it",
                )
            })?;
        }
        receiver::check_known(session, self.target_party_id, &self.state, new_party)
    }

    /// Who approves: the party that the certificate names, or the sender that `--party-id` names.
    fn approver(&self, session: &Session) -> Result<Approver, Failure> {
        let Some(trust) = trust(session, &self.authority)? else {
            return Ok(Approver { party: self.sender(session)?, signer: None });
        };
        let certificate = certificate(&self.certificate)?;
        let now = OffsetDateTime::now_utc();
        // A session may be approved before it is valid.
        session.check_time(now.max(session.not_before())).map_err(Failure::refused)?;
        let party =
            Approval::signer(session, &trust, &certificate, now).map_err(approval_failure)?;
        if let Some(claimed) = self.party_id.filter(|id| *id != u64::from(party.index())) {
            let error = format!("--party-id is {claimed}, but the certificate is party {party}'s");
            return Err(Failure::refused(error));
        }
        Ok(Approver { party, signer: Some((trust, certificate)) })
    }

    /// Shows the session, and asks whether to approve it unless `--yes` says so.
    fn confirm(
        &self,
        output: &OutputArgs,
        session: &Session,
        network: Option<&Path>,
        acquaintance: Option<Acquaintance>,
    ) -> Result<(), Failure> {
        let receiver = session.receiver().party;
        if acquaintance == Some(Acquaintance::NewRecipient) {
            say!(
                "note: party {receiver} has received with another age recipient before: has its own \
                 operator read this session's fingerprint to you?"
            );
        }
        let text = report::session_text(session, network, self.words);
        if self.yes {
            if self.expect_fingerprint.is_none() {
                return Err(Failure::usage("--yes needs --expect-fingerprint").hint(
                    "without a question only the session is approved whose fingerprint the \
                     operators have compared",
                ));
            }
            return if output.json { Ok(()) } else { report::line(&text) };
        }
        let mut stderr = std::io::stderr();
        if !std::io::stdin().is_terminal() || !stderr.is_terminal() {
            let error = "there is no terminal on which to ask whether to approve this session";
            return Err(Failure::usage(error).hint(
                "a script gives --yes, and --expect-fingerprint with the fingerprint that the \
                 operators have compared",
            ));
        }
        say!("{text}");
        let question = format!(
            "Party {receiver} gets its share of every record, and no other party does. Have the \
             operators compared the fingerprint? Type yes to approve: "
        );
        let asked = stderr.write_all(question.as_bytes()).and_then(|()| stderr.flush());
        asked.map_err(Failure::failed)?;
        let mut answer = String::new();
        std::io::stdin().read_line(&mut answer).map_err(Failure::failed)?;
        match answer.trim() {
            "yes" => Ok(()),
            _ => Err(Failure::refused("not approved: nothing was signed, and no ledger was made")),
        }
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

    fn print(&self, output: &OutputArgs, report: &ApproveReport) -> Result<(), Failure> {
        if output.json {
            let value = serde_json::to_string_pretty(report).map_err(Failure::failed)?;
            return report::line(&value);
        }
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

/// Signs the fingerprint.
fn sign(
    session: &Session,
    trust: &SessionTrust,
    certificate: &PartyCertificate,
    ciphertext: Option<Ciphertext>,
) -> Result<Approval, Failure> {
    let now = OffsetDateTime::now_utc();
    Approval::sign(session, trust, certificate, now, ciphertext).map_err(approval_failure)
}

fn approval_failure(error: ApprovalError) -> Failure {
    let hint = match &error {
        ApprovalError::Statement(StatementError::Own { source, .. }) => {
            Some(certificate_hint(source))
        }
        _ => None,
    };
    Failure::refused(error).hint_if(hint)
}
