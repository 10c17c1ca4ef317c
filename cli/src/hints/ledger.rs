//! What to do about a sender's ledger.

use reshare_pipeline::ledger::{LedgerDefect, LedgerError};

use crate::failure::Failure;

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let hint = ledger_hint(&error);
        Self::of(error).hint(hint)
    }
}

/// What to do about a ledger that cannot be used.
pub(super) fn ledger_hint(error: &LedgerError) -> &'static str {
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
            "another file is in the ledger's place: find out how it got there, and put the right \
             one back. If that is lost, agree on a new session"
        }
        LedgerDefect::Version { .. } => "use the version of reshare that made it",
        LedgerDefect::Rows => "a defect of reshare: please report it",
        // Truncated, corrupted, or something that no hint is better for.
        _ => "what was blinded is no longer known: agree on a new session",
    }
}
