//! A sender's ledger: where it lies, and how it is made and opened.

use std::path::{Path, PathBuf};

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::ledger::{Ledger, LedgerDefect, LedgerError};
use reshare_pipeline::sender::{LedgeredSender, SenderKeys};

use crate::failure::Failure;

/// Where a sender keeps its ledgers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ledger")]
pub(crate) struct StateArgs {
    /// Directory of this sender's ledgers, which belong to it alone and are never copied
    /// [default: $XDG_STATE_HOME/reshare, then ~/.local/state/reshare]
    #[arg(long, value_name = "DIR", env = "RESHARE_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// The directory asked for, or the default one.
    pub(crate) fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.state_dir {
            return Ok(directory.clone());
        }
        // As the XDG specification says: a relative path does not count.
        let absolute = |name| {
            std::env::var_os(name).map(PathBuf::from).filter(|directory| directory.is_absolute())
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/state")));
        state.map(|state| state.join("reshare")).ok_or_else(|| {
            Failure::usage("there is no home directory for the ledger")
                .hint("give --state-dir DIR or set RESHARE_STATE_DIR")
        })
    }

    /// Opens the ledger of the sender whose keys these are.
    pub(crate) fn ledgered(
        &self,
        session: &Session,
        keys: SenderKeys,
    ) -> Result<LedgeredSender, Failure> {
        ledgered(session, keys, &self.directory()?)
    }
}

/// Makes the ledger with which a sender may blind in a session; `false` when it was there.
///
/// Called where an operator approves a session, and nowhere else.
pub(crate) fn create_ledger(
    session: &Session,
    sender: PartyId,
    state_dir: &Path,
) -> Result<bool, Failure> {
    Ledger::create(state_dir, &session.fingerprint(), sender).map_err(failure)
}

/// Opens the ledger of the sender whose keys these are, in a directory.
pub(crate) fn ledgered(
    session: &Session,
    keys: SenderKeys,
    state_dir: &Path,
) -> Result<LedgeredSender, Failure> {
    let ledger = Ledger::open(state_dir, &session.fingerprint(), keys.sender());
    let ledgered = ledger.and_then(|ledger| LedgeredSender::new(session, keys, ledger));
    ledgered.map_err(failure)
}

pub(crate) fn failure(error: LedgerError) -> Failure {
    let hint = ledger_hint(&error);
    let failure = if error.is_refusal() { Failure::refused(error) } else { Failure::failed(error) };
    failure.hint(hint)
}

/// What to do about a ledger that cannot be used.
pub(crate) fn ledger_hint(error: &LedgerError) -> &'static str {
    match &error.defect {
        LedgerDefect::Missing => {
            "look for it first: --state-dir, RESHARE_STATE_DIR, the user whose home it is in. \
             `reshare session approve` makes one for a sender that has never blinded a row in this \
             session; one that has, and whose ledger is lost, needs a new session"
        }
        LedgerDefect::InUse { .. } => "wait until that process has ended",
        LedgerDefect::Permissions { .. } => "chmod 600",
        LedgerDefect::Io(_) | LedgerDefect::FailedBefore => {
            "check the disk and the permissions of the state directory, and run it again"
        }
        LedgerDefect::NotALedger
        | LedgerDefect::OtherSession { .. }
        | LedgerDefect::OtherSender { .. } => {
            "another file lies where the ledger belongs: find out who put it there, and bring the \
             right one back. If that is lost, agree on a new session"
        }
        LedgerDefect::Version { .. } => "use the version of reshare that made it",
        LedgerDefect::Rows => "a defect of reshare: please report it",
        // Truncated, corrupted, or something that no hint is better for.
        _ => "what was blinded is no longer known: agree on a new session",
    }
}
