//! `reshare purge`.

use std::path::{Path, PathBuf};

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_exchange::InboxError;
use reshare_format::keys::AgreementKeySource;
use reshare_format::package::{PackageDefect, PackageError, Timestamp};
use reshare_format::receipt::{Compared, ComparedWith};
use reshare_format::session::{Session, parse_fingerprint};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::purge::{Origin, Purge, PurgeDefect, PurgeError, Thing};
use reshare_postgres::verified::load_state;
use serde::Serialize;

use crate::args::{AuthorityArgs, OutputArgs, SessionArgs, StateArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::run::block_on;
use crate::runs;
use crate::setup::agreement::sender_of_key;
use crate::setup::context::Context;
use crate::setup::database::{database, table_of};
use crate::setup::receipt::{self, Aim, Removal};
use crate::streams::say;
use crate::text::{counted, printable};

#[derive(Debug, Args)]
pub(crate) struct PurgeArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// A closed package's directory: may be given several times
    #[arg(long = "package", value_name = "DIR", num_args = 1)]
    packages: Vec<PathBuf>,

    /// A share file, plain, blinded or rebuilt: may be given several times
    #[arg(long = "file", value_name = "FILE", num_args = 1)]
    files: Vec<PathBuf>,

    /// The receiver's inbox with both packages
    #[arg(long = "inbox", value_name = "DIR", num_args = 1)]
    inboxes: Vec<PathBuf>,

    /// A key of this session, file:PATH, or kms:ARN for the command that ends a key in AWS KMS: may
    /// be given several times. Nothing of the session can be sent or opened without it
    #[arg(long = "keys", value_name = "KEY", num_args = 1)]
    keys: Vec<AgreementKeySource>,

    /// Show what would be removed, and remove nothing
    #[arg(long)]
    dry_run: bool,

    /// Receiver: URL of the database that holds the load, or env:NAME [default: DATABASE_URL,
    /// then the libpq variables and .pgpass]
    #[arg(long, value_name = "URL", help_heading = "Whether the load was verified")]
    db_url: Option<String>,

    /// Receiver: schema of the table [default: SMPC_{environment}_{party}]
    #[arg(long, value_name = "SCHEMA", help_heading = "Whether the load was verified")]
    db_schema: Option<String>,

    /// Sender, which cannot see that database: the session's fingerprint, once the receiver's
    /// operator has confirmed that `verify` succeeded
    #[arg(
        long,
        value_name = "TEXT",
        help_heading = "Whether the load was verified",
        conflicts_with_all = ["db_url", "db_schema"]
    )]
    receiver_verified: Option<String>,

    /// Sender: the receipt that the receiver's `verify --receipt` signed. It must be about the
    /// package named here or, if none is, about what this sender's ledger has
    #[arg(
        long,
        value_name = "FILE",
        help_heading = "Whether the load was verified",
        conflicts_with_all = ["db_url", "db_schema", "receiver_verified"]
    )]
    receipt: Option<PathBuf>,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    state: StateArgs,
}

/// What was removed, or would be.
#[derive(Debug, Serialize)]
struct PurgeReport {
    removed: bool,
    /// Who states that the load is verified.
    verified: String,
    things: Vec<Thing>,
    /// What ends the keys in AWS KMS: commands for an administrator of theirs.
    commands: Vec<String>,
    /// Named paths that are missing: removed before, or mistyped.
    missing: Vec<PathBuf>,
}

impl PurgeArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("purge", &self.session, &self.state);
        let session = Context::open(&self.session)?.session;
        let named = [&self.packages, &self.files, &self.inboxes];
        let is_nothing_named = named.iter().all(|paths| paths.is_empty()) && self.keys.is_empty();
        if is_nothing_named && self.receipt.is_none() {
            let error = "nothing is named: give --package, --file, --inbox or --keys";
            return Err(Failure::usage(error).hint(
                "a sender that delivered over the network has no package: with --receipt alone, the receipt is compared \
                 with its ledger",
            ));
        }
        let purge = match is_nothing_named {
            true => Purge::default(),
            false => self.look(&session)?,
        };
        let (in_kms, commands) = self.in_kms(&session)?;
        if let Some(party) = self.whose(&session, in_kms) {
            runs::of_party(party);
        }
        let verified = self.verified(&session, &purge, in_kms)?;
        let missing = purge.missing().to_vec();
        for path in &missing {
            let path = path.display().to_string();
            let path = printable(&path);
            say!("note: {path} is not there: it was removed before, or it is mistyped");
        }
        let things = match self.dry_run {
            true => purge.things().to_vec(),
            false => purge.remove().map_err(failure)?,
        };
        if !self.dry_run && things.iter().any(Thing::is_key) {
            say!(
                "note: the name of a key is removed, not overwritten: an SSD, a copy-on-write file \
                 system, a snapshot or a backup may keep its bytes"
            );
        }
        let report = PurgeReport { removed: !self.dry_run, verified, things, commands, missing };
        runs::report(&report);
        let json = || serde_json::to_string_pretty(&report).map_err(Failure::failed);
        report::line(&if output.json { json()? } else { printable(&report.text()) })?;
        Ok(Exit::Done)
    }

    /// Whose run this is, where that shows: a sender may name it with --party-id.
    fn whose(&self, session: &Session, in_kms: Option<PartyId>) -> Option<PartyId> {
        let is_senders = self.receipt.is_some() || self.receiver_verified.is_some();
        let named = self.session.checks.party_id.is_some();
        in_kms.or((!is_senders && !named).then_some(session.receiver().party))
    }

    /// Checks everything that is named, before anything is removed.
    fn look(&self, session: &Session) -> Result<Purge, Failure> {
        let mut purge = Purge::default();
        self.packages
            .iter()
            .try_for_each(|path| purge.add_package(session, path))
            .map_err(failure)?;
        self.files.iter().try_for_each(|path| purge.add_file(session, path)).map_err(failure)?;
        self.inboxes.iter().try_for_each(|path| purge.add_inbox(session, path)).map_err(failure)?;
        for key in &self.keys {
            if let AgreementKeySource::File(path) = key {
                purge.add_key(session, path).map_err(failure)?;
            }
        }
        if !self.keys.iter().any(|key| matches!(key, AgreementKeySource::Kms(_))) {
            purge.check_any().map_err(failure)?;
        }
        Ok(purge)
    }

    /// The sender whose keys are in KMS, and the commands that end them.
    fn in_kms(&self, session: &Session) -> Result<(Option<PartyId>, Vec<String>), Failure> {
        let (mut owner, mut commands) = (None, vec![]);
        for key in &self.keys {
            let AgreementKeySource::Kms(id) = key else { continue };
            let party = sender_of_key(key, session)?;
            if owner.is_some_and(|owner| owner != party) {
                let error = "the keys in KMS are of both senders";
                return Err(Failure::refused(error)
                    .hint("each sender ends what is its own; nothing was removed"));
            }
            owner = Some(party);
            let region = id.region().map(|region| format!(" --region {region}"));
            commands.push(format!(
                "aws kms schedule-key-deletion --key-id {id} --pending-window-in-days 30{}",
                region.unwrap_or_default()
            ));
        }
        Ok((owner, commands))
    }

    /// Finds out whether the load was verified, and by whom.
    fn verified(
        &self,
        session: &Session,
        purge: &Purge,
        in_kms: Option<PartyId>,
    ) -> Result<String, Failure> {
        if let Some(path) = &self.receipt {
            return self.signed(session, path, purge, in_kms);
        }
        let Some(confirmed) = &self.receiver_verified else { return self.recorded(session) };
        let is_receivers = |thing: &&Thing| thing.origin == Origin::Receiver;
        if let Some(thing) = purge.things().iter().find(is_receivers) {
            let error = format!(
                "{} is the receiver's ({}): --receiver-verified is for senders",
                thing.path.display(),
                thing.what
            );
            return Err(Failure::refused(error).hint("give --db-url: the record of `verify`"));
        }
        let confirmed = parse_fingerprint(confirmed).map_err(Failure::usage)?;
        session.check_fingerprint(confirmed).map_err(|error| {
            Failure::refused(error)
                .hint("--receiver-verified is about another session: nothing was removed")
        })?;
        Ok("confirmed by the receiver's operator".to_owned())
    }

    /// What the receiver has signed about it.
    fn signed(
        &self,
        session: &Session,
        path: &Path,
        purge: &Purge,
        in_kms: Option<PartyId>,
    ) -> Result<String, Failure> {
        let claimed = self.session.checks.party_id.map(PartyId::try_from).transpose();
        let claimed = claimed.map_err(Failure::usage)?;
        if let Some((claimed, owner)) = claimed.zip(in_kms)
            && claimed != owner
        {
            let error = format!("--party-id is {claimed}, but the key in KMS is party {owner}'s");
            return Err(Failure::refused(error).hint("nothing was removed"));
        }
        let claimed = claimed.or(in_kms);
        let (authority, state) = (&self.authority, &self.state);
        let removal = Removal { session, purge, claimed, authority, state, aim: Aim::Remove };
        let (receipt, of_ledger) = receipt::check(path, &removal)?;
        let Compared { rows, left_over, with, .. } = *receipt.compared();
        let with = match with {
            ComparedWith::Packages => "packages",
            ComparedWith::Digests => "digests of what was merged",
        };
        let (receiver, at) = (receipt.receiver(), receipt.verified_at());
        let rows = counted(rows, "row");
        let of_ledger = match of_ledger {
            Some(sender) => {
                format!("\nthe receipt is about what the ledger of sender {sender} has")
            }
            None => String::new(),
        };
        Ok(format!(
            "{rows} equal to the {with}, {left_over} left over, {at}: signed by party \
             {receiver}{of_ledger}"
        ))
    }

    /// What the receiver's database records about it.
    fn recorded(&self, session: &Session) -> Result<String, Failure> {
        let party = session.receiver().party;
        let table = table_of(session, party, self.db_schema.as_deref())?;
        let database = database(self.db_url.as_deref())?;
        let state = block_on(async {
            let state = load_state(&database, table.name(), session.fingerprint()).await;
            state.map_err(|error| {
                Failure::from(PipelineError::from(error))
                    .hint("a sender gives --receipt or --receiver-verified instead")
            })
        })?;
        if let Some(verified) = &state.verified {
            let at = Timestamp::from(verified.verified_at);
            return Ok(format!("{} rows equal to the {}, {at}", verified.rows, verified.against));
        }
        let name = table.name();
        let error = match state.rows() {
            0 => format!("this session has loaded nothing into {name}: nothing was removed"),
            rows => format!(
                "{rows} rows are loaded into {name} and not verified, or more were loaded since: \
                 nothing was removed"
            ),
        };
        Err(Failure::refused(error).hint(
            "run `reshare verify` with both --package, or the merged --file, against this table \
             first; a sender gives --receipt or --receiver-verified, and packages without a row \
             are removed by hand",
        ))
    }
}

impl PurgeReport {
    fn text(&self) -> String {
        let done = if self.removed { "removed" } else { "would remove" };
        let mut text = format!("load verified: {}", self.verified);
        for Thing { path, what, files, bytes, .. } in &self.things {
            let path = path.display();
            let (files, bytes) = (counted(*files, "file"), counted(*bytes, "byte"));
            text.push_str(&format!("\n{done} {what} {path}: {files}, {bytes}"));
        }
        if self.things.is_empty() && self.missing.is_empty() && self.commands.is_empty() {
            text.push_str("\nnothing of this sender is on a disk to be removed: it delivered over the network");
        }
        for command in &self.commands {
            text.push_str(&format!("\nto end the key in KMS, its administrator runs: {command}"));
        }
        text
    }
}

fn failure(error: PurgeError) -> Failure {
    use PurgeDefect as D;
    let hint = match &error {
        PurgeError::Defect { defect, .. } => match defect {
            D::Extra => "find out what it is, and move it away; nothing was removed",
            D::NotADirectory | D::NotRegular => {
                "name the thing itself, not a link to it; nothing was removed"
            }
            D::OtherNames => "find the other names (find -samefile); nothing was removed",
            D::OtherKey => {
                "each session has keys of its own: name the one that it was made with; nothing was \
                 removed"
            }
            D::OtherSession(_) => {
                "give the session file that it was made with; nothing was removed"
            }
            D::NothingThere { .. } => "it was removed before, or it is mistyped",
            _ => "nothing was removed",
        },
        PurgeError::Package(PackageError::Defect { defect: PackageDefect::NotClosed, .. }) => {
            "a package without a manifest may be unfinished: remove it by hand if it is not wanted"
        }
        PurgeError::Inbox(InboxError::InUse { .. }) => {
            "end `reshare receive` first; nothing was removed"
        }
        PurgeError::File(_) => "what is gone is gone; run it again to continue",
        _ => "nothing was removed",
    };
    let failure = match &error {
        PurgeError::Defect { defect: D::Twice, .. } => Failure::usage(error),
        _ => Failure::of(error),
    };
    failure.hint(hint)
}
