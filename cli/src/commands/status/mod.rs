//! `reshare status`.

use std::path::{Path, PathBuf};

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_exchange::Inbox;
use reshare_format::package::{Timestamp, survey};
use reshare_format::session::Session;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::ledger::{Ledger, LedgerDefect};
use reshare_postgres::verified::load_state;

use crate::args::{OutputArgs, SessionArgs, StateArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::run::block_on;
use crate::setup::context::Context;
use crate::setup::database::{database, table_of};
use crate::setup::session::check_fingerprint;
use crate::text::printable;
use figures::{InboxStatus, LedgerStatus, LoadStatus, PackageStatus, StatusReport};

mod figures;
mod text;

#[derive(Debug, Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// The session's fingerprint, as the operators read it to each other (see `session show`)
    #[arg(long, value_name = "TEXT")]
    expect_fingerprint: Option<String>,

    #[command(flatten)]
    state: StateArgs,

    /// A package's directory, closed or not: may be given several times
    #[arg(long = "package", value_name = "DIR", num_args = 1)]
    packages: Vec<PathBuf>,

    /// The receiver's inbox, also while `receive` runs
    #[arg(long, value_name = "DIR")]
    inbox: Option<PathBuf>,

    /// URL of the receiver's database, or env:NAME: shows what is loaded
    #[arg(long, value_name = "URL", help_heading = "Database")]
    db_url: Option<String>,

    /// Schema of the receiver's table [default: SMPC_{environment}_{party}]
    #[arg(long, value_name = "SCHEMA", help_heading = "Database", requires = "db_url")]
    db_schema: Option<String>,
}

impl StatusArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let session = Context::open(&self.session)?.session;
        if self.expect_fingerprint.is_some() {
            check_fingerprint(&session, self.expect_fingerprint.as_deref())?;
        }
        let ledgers = self.ledgers(&session)?;
        let package = |directory: &PathBuf| package(&session, directory, None);
        let packages = self.packages.iter().map(package).collect::<Result<Vec<_>, _>>()?;
        let inbox = self.inbox.as_deref().map(|inbox| of_inbox(&session, inbox)).transpose()?;
        let load = self.load(&session)?;
        if ledgers.is_none() && packages.is_empty() && inbox.is_none() && load.is_none() {
            return Err(Failure::usage("nothing is named to report on").hint(
                "give what this party has: --party-id and --state-dir, --package, --inbox, --db-url",
            ));
        }
        let mut report = StatusReport {
            session: session.id().to_string(),
            fingerprint: session.fingerprint().to_string(),
            read_at: Timestamp::now(),
            ledgers,
            packages,
            inbox,
            load,
        };
        report.compare_with_delivered();
        let json = || serde_json::to_string_pretty(&report).map_err(Failure::failed);
        let shown = if output.json { json()? } else { printable(&report.text()) };
        report::line(&shown)?;
        Ok(Exit::Done)
    }

    /// The ledger of the sender that `--party-id` names, or every one that is in `--state-dir`.
    fn ledgers(&self, session: &Session) -> Result<Option<Vec<LedgerStatus>>, Failure> {
        let named = self.session.checks.party_id.map(PartyId::try_from).transpose();
        let named = named.map_err(Failure::usage)?.filter(|party| session.sender(*party).is_some());
        let senders = match (named, &self.state.state_dir) {
            (Some(sender), _) => vec![sender],
            (None, Some(_)) if self.session.checks.party_id.is_none() => {
                session.senders().map(|sender| sender.party).to_vec()
            }
            _ => return Ok(None),
        };
        let state = self.state.directory()?;
        let mut found = vec![];
        for sender in senders {
            match Ledger::glance(&state, &session.fingerprint(), sender) {
                Ok(figures) => found.push(LedgerStatus::of(sender, &figures)),
                Err(error) if matches!(error.defect, LedgerDefect::Missing) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Some(found))
    }

    fn load(&self, session: &Session) -> Result<Option<LoadStatus>, Failure> {
        let Some(url) = self.db_url.as_deref() else { return Ok(None) };
        let receiver = session.receiver().party;
        let table = table_of(session, receiver, self.db_schema.as_deref())?;
        let database = database(Some(url))?;
        let state = block_on(async {
            let state = load_state(&database, table.name(), session.fingerprint()).await;
            state.map_err(|error| Failure::from(PipelineError::from(error)))
        })?;
        Ok(Some(LoadStatus::of(table.name(), &state)))
    }
}

/// The package in a directory, which must be of this session.
fn package(
    session: &Session,
    directory: &Path,
    sender: Option<PartyId>,
) -> Result<PackageStatus, Failure> {
    let found = survey(directory).map_err(|error| Failure::from(PipelineError::from(error)))?;
    if let Some(closed) = found.as_ref().and_then(|found| found.closed.as_ref()) {
        let (got, place) = (closed.claims.fingerprint, directory.display());
        session.check_fingerprint(got).map_err(|_| {
            Failure::refused(format!("{place} is a package of another session, {got}"))
                .hint("give the session file that it was made with")
        })?;
        let by = closed.claims.sender;
        let expected = sender.map_or(session.sender(by).is_some(), |sender| sender == by);
        if !expected {
            return Err(Failure::refused(format!("{place} claims to be of party {by}")));
        }
    }
    Ok(PackageStatus::of(directory, sender, found))
}

fn of_inbox(session: &Session, directory: &Path) -> Result<InboxStatus, Failure> {
    let exists = Inbox::is_of(directory, session)?;
    let mut packages = vec![];
    for sender in session.senders().map(|sender| sender.party) {
        let path = Inbox::package_path(directory, sender);
        let loaded = Inbox::loaded(directory, session, sender)?;
        packages.push(package(session, &path, Some(sender))?.with_loaded(loaded));
    }
    Ok(InboxStatus { directory: directory.to_owned(), exists, packages })
}
