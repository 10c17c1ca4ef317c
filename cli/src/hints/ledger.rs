//! What to do about a sender's ledger.

use reshare_pipeline::ledger::{LedgerDefect, LedgerError};

use crate::failure::Failure;

impl From<LedgerError> for Failure {
    fn from(error: LedgerError) -> Self {
        let hint = ledger_hint(&error);
        let failure = match &error.defect {
            LedgerDefect::AtHome => Self::usage(error),
            _ => Self::of(error),
        };
        failure.hint(hint)
    }
}

/// What to do about a ledger that was made and is gone.
pub(crate) const LOST_LEDGER: &str = "look for it first: --state-dir, RESHARE_STATE_DIR; a backup \
    of it is of no use. If it is lost, nobody knows what was blinded: agree on a new session";

/// What to do about a part that the ledger does not know.
pub(super) const UNKNOWN_PART: &str = "is the ledger lost, restored or copied, or is --state-dir \
    another one? Rows that are blinded again with other shares give the receiver the difference: \
    find the ledger that the part was sealed with, or agree on a new session. A file that is \
    damaged, or that is not of this session, has to be moved away first";

/// What to do about a ledger that cannot be used.
pub(super) fn ledger_hint(error: &LedgerError) -> &'static str {
    match &error.defect {
        LedgerDefect::Missing => {
            "look for it first: --state-dir, RESHARE_STATE_DIR, the user whose home it is in. \
             `reshare session approve` makes one for a sender that has never blinded a row in this \
             session; one that has, and whose ledger is lost, needs a new session"
        }
        LedgerDefect::Lost => LOST_LEDGER,
        LedgerDefect::RolledBack { .. } => {
            "it was restored from a backup or a snapshot, and rows that were blinded since are not \
             in it: agree on a new session"
        }
        LedgerDefect::Elsewhere { .. } => {
            "a copy does not know what its original has blinded since. Run reshare where the \
             original is. Only if that was moved here for good, and was not used after the copy was \
             made: give --adopt-ledger, once. Otherwise agree on a new session"
        }
        LedgerDefect::AtHome => "leave --adopt-ledger out: it is for a ledger that was moved",
        LedgerDefect::Register { .. } => {
            "it says which ledgers were made here and how far they had come: find out what changed \
             it. If nobody knows, agree on new sessions, with another --state-dir"
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
