//! Why a ledger is refused.

use std::io;
use std::path::PathBuf;

use reshare_engine::party::PartyId;
use reshare_files::fault::Refusable;
use reshare_format::session::SessionMismatch;

/// A ledger that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("ledger {}", path.display())]
pub struct LedgerError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub defect: LedgerDefect,
}

/// What is wrong with a ledger.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LedgerDefect {
    /// There is none: a session is blinded where its ledger was made, and nowhere else.
    #[error("there is no ledger of this session and sender here")]
    Missing,
    /// There was one.
    #[error("there is no ledger of this session and sender here: one was made, and is gone")]
    Lost,
    /// Older than it was when a run last opened it.
    #[error(
        "it is an older state of itself: it has {got} commits, and had {expected} when a run last \
         wrote in it"
    )]
    RolledBack {
        /// By the register.
        expected: u64,
        /// By its header.
        got: u64,
    },
    /// Made on another machine, or as another file.
    #[error("it is not at home here: {}", moved(*machine, *file))]
    Elsewhere {
        /// Whether the machine is another one.
        machine: bool,
        /// Whether the file is another one.
        file: bool,
    },
    /// To be adopted, and not from elsewhere.
    #[error("it is at home here: there is nothing to adopt")]
    AtHome,
    /// The register next to the ledgers is not what this program wrote.
    #[error("the register of the ledgers in its state directory is damaged at line {line}")]
    Register {
        /// Where.
        line: u64,
    },
    /// Another process works with it.
    #[error("process {process} works with this ledger")]
    InUse {
        /// Its id, or that it is unknown.
        process: String,
    },
    /// Others may read or change it.
    #[error("its mode is {mode:o}: it must be 600")]
    Permissions {
        /// The permission bits.
        mode: u32,
    },
    /// Something else lies there.
    #[error("it is no ledger")]
    NotALedger,
    /// Of another version of the program.
    #[error("its format is {got}, this version of reshare reads format {expected}")]
    Version {
        /// The known one.
        expected: u32,
        /// The one found.
        got: u32,
    },
    /// Shorter than it was when it was last used.
    #[error("it is truncated: {got} bytes are left of {expected}")]
    Truncated {
        /// Bytes by its header.
        expected: u64,
        /// Bytes found.
        got: u64,
    },
    /// Not what this program wrote.
    #[error("it is corrupted: the {what} at byte {offset} is not as it was written")]
    Corrupt {
        /// What.
        what: &'static str,
        /// Where it begins.
        offset: u64,
    },
    /// Another session's.
    #[error(transparent)]
    OtherSession(#[from] SessionMismatch),
    /// Another sender's.
    #[error("it belongs to party {got}, expected party {expected}")]
    OtherSender {
        /// Expected.
        expected: PartyId,
        /// Found.
        got: PartyId,
    },
    /// Rows that are no batch to be blinded.
    #[error("rows to be recorded are out of order or have not one tag each")]
    Rows,
    /// An earlier write failed: nobody knows what of it is on the disk.
    #[error("an earlier write to it failed")]
    FailedBefore,
    /// The file system refuses.
    #[error("cannot read or write it")]
    Io(#[from] io::Error),
}

impl Refusable for LedgerError {
    fn is_refusal(&self) -> bool {
        !matches!(
            self.defect,
            LedgerDefect::Io(_)
                | LedgerDefect::InUse { .. }
                | LedgerDefect::FailedBefore
                | LedgerDefect::AtHome
        )
    }
}

/// What is not as it was when a ledger was made.
fn moved(machine: bool, file: bool) -> &'static str {
    match (machine, file) {
        (true, true) => "it was made on another machine, as another file",
        (true, false) => "it was made on another machine",
        _ => "this file is a copy of the one that was made",
    }
}
