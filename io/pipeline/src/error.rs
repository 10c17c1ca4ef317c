//! What can go wrong in a pipeline.

use std::path::PathBuf;

use reshare_engine::blind::BlindError;
use reshare_engine::merge::MergeError;
use reshare_engine::party::PartyId;
use reshare_exchange::{ClientError, InboxError};
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_files::ids::{IdRange, list_ranges};
use reshare_format::keys::SealKind;
use reshare_format::package::{PackageError, PartError, PartName, PartRecordError};
use reshare_format::receipt::ReceiptError;
use reshare_format::share_file::ShareFileError;
use reshare_postgres::compare::CompareError;
use reshare_postgres::export::ExportError;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::table::TableName;

use crate::ledger::LedgerError;

/// Why a pipeline ended before its end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PipelineError {
    /// The table cannot be read.
    #[error("the export failed")]
    Export(#[from] ExportError),
    /// The table cannot be written.
    #[error("the load failed")]
    Load(#[from] LoadError),
    /// The tables cannot be compared.
    #[error("the comparison failed")]
    Compare(#[from] CompareError),
    /// A file or directory cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// A share file is not what it must be.
    #[error(transparent)]
    ShareFile(#[from] ShareFileError),
    /// A package is not what it must be.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// A part is not what it must be.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The ledger of what was blinded is not what it must be.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A receipt is not what it must be.
    #[error(transparent)]
    Receipt(#[from] ReceiptError),
    /// The receiver did not take what was sent.
    #[error(transparent)]
    Delivery(#[from] ClientError),
    /// A part record cannot be signed.
    #[error("the part record cannot be made")]
    Record(#[from] PartRecordError),
    /// The inbox is not what it must be.
    #[error(transparent)]
    Inbox(#[from] InboxError),
    /// Parts that are needed were removed, since their rows had been loaded.
    #[error(
        "{part} is needed again: its rows were loaded and its file was removed, but the table has \
         no record of ids {ids}"
    )]
    PartGone {
        /// The part.
        part: PartName,
        /// The ids.
        ids: IdRange,
    },
    /// Rows cannot be blinded.
    #[error("the rows cannot be blinded")]
    Blind(#[from] BlindError),
    /// Rows cannot be merged.
    #[error("the two packages do not fit each other")]
    Merge(#[from] MergeError),
    /// A package claims to be of a party that does not send in this session.
    #[error("package {}: party {claimed} is no sender of this session", directory.display())]
    NotASender {
        /// The package.
        directory: PathBuf,
        /// What it claims.
        claimed: PartyId,
    },
    /// The session is about a list of ids, and it was not given.
    #[error("the session is about a list of ids: without the list no row can be held against it")]
    NoIdList,
    /// A sender sent a row that the session is not about.
    #[error("id {id} is in a package and not in the session's list of ids")]
    NotListed {
        /// The id.
        id: i64,
    },
    /// Two packages of one sender.
    #[error("both packages are of sender {sender}: one of each sender is needed")]
    SameSender {
        /// The sender.
        sender: PartyId,
    },
    /// The senders derived different keys.
    #[error("senders {lower} and {higher} blinded with different keys: their shares do not add up")]
    KeyCheck {
        /// The sender with the lower party id.
        lower: PartyId,
        /// The sender with the higher party id.
        higher: PartyId,
    },
    /// Certificates are needed and there is nothing to verify them with.
    #[error("this session uses certificates: its authority's certificate is needed")]
    NoAuthority,
    /// A sender of a session with certificates needs its own, and approvals by the others.
    #[error(
        "this session uses certificates: nothing is blinded without this sender's certificate and the others' approvals"
    )]
    NoCredentials,
    /// The identity does not open what is sealed for the session's recipient.
    #[error("the identity is not that of the session's recipient{}", kinds(*got, *expected))]
    OtherIdentity {
        /// Of which kind it is.
        got: SealKind,
        /// Of which kind the session's recipient is.
        expected: SealKind,
    },
    /// Another run is making this package.
    #[error("package {}: another run is making it", directory.display())]
    InUse {
        /// The package.
        directory: PathBuf,
    },
    /// A package holds a part that the sender's ledger has never recorded.
    #[error(
        "package {}: {part} is not a file that this sender's ledger has recorded",
        directory.display()
    )]
    UnknownPart {
        /// The package.
        directory: PathBuf,
        /// The part.
        part: PartName,
    },
    /// Delivered ids are in the target already.
    #[error(
        "{count} or more delivered ids are in {table} already, loaded by something else: {ids:?}"
    )]
    Conflict {
        /// The target.
        table: TableName,
        /// How many were found before the search ended.
        count: usize,
        /// The lowest of them.
        ids: Vec<i64>,
    },
    /// Ids are to be loaded again that a package does not cover yet.
    #[error("the packages do not cover ids {range} yet, which are to be loaded again")]
    NotCovered {
        /// The loaded range.
        range: IdRange,
    },
    /// Rows that are to be loaded again are not those that were loaded.
    #[error(
        "table {table}: rows of ids {} are not as this session loaded them: something else has \
         changed them since",
        list_ranges(.ranges)
    )]
    RowsChanged {
        /// The table.
        table: TableName,
        /// The loaded ranges, ascending.
        ranges: Vec<IdRange>,
    },
    /// A part of that many rows is larger than the session allows.
    #[error("parts of {rows} rows are too large: the session allows {limit}")]
    PartRows {
        /// Rows asked for.
        rows: usize,
        /// The most that fit.
        limit: usize,
    },
    /// A manifest cannot list as many parts.
    #[error("the rows make {parts} parts: a package has {limit} at the most")]
    TooManyParts {
        /// Parts by the size asked for.
        parts: usize,
        /// The most that fit.
        limit: usize,
    },
    /// The run was asked to stop.
    #[error("stopped on request; what was finished is kept")]
    Stopped,
    /// A thread could not be started.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// A thread or task ended without a result.
    #[error("a worker ended unexpectedly: this is a defect of reshare")]
    WorkerLost,
}

impl Refusable for PipelineError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Export(error) => error.is_refusal(),
            Self::Load(error) => error.is_refusal(),
            Self::Compare(error) => error.is_refusal(),
            Self::File(error) => error.is_refusal(),
            Self::ShareFile(error) => error.is_refusal(),
            Self::Package(error) => error.is_refusal(),
            Self::Part(error) => error.is_refusal(),
            Self::Ledger(error) => error.is_refusal(),
            Self::Delivery(error) => error.is_refusal(),
            Self::Inbox(error) => error.is_refusal(),
            Self::Receipt(error) => error.is_refusal(),
            Self::InUse { .. }
            | Self::NotCovered { .. }
            | Self::PartRows { .. }
            | Self::TooManyParts { .. }
            | Self::Stopped
            | Self::Thread(_)
            | Self::WorkerLost => false,
            _ => true,
        }
    }
}

/// Says so where another kind of identity was given.
fn kinds(got: SealKind, expected: SealKind) -> String {
    match got == expected {
        true => String::new(),
        false => format!(": it is {got}, the recipient {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use reshare_format::package::PackageDefect;

    use super::*;
    use crate::purge::PurgeError;

    /// Whether each error that passes a package's error on calls it a refusal.
    fn refusals(error: fn() -> PackageError) -> [bool; 4] {
        let inbox = InboxError::Package { path: "inbox".into(), source: Box::new(error()) };
        let [pipeline, client] =
            [PipelineError::from(error()).is_refusal(), ClientError::from(error()).is_refusal()];
        [pipeline, client, inbox.is_refusal(), PurgeError::from(error()).is_refusal()]
    }

    #[test]
    fn an_error_of_a_package_is_the_same_refusal_wherever_it_is_passed_on() {
        let disk = || FileError::new("read", "part", std::io::Error::from_raw_os_error(5)).into();
        assert_eq!(refusals(disk), [false; 4]);
        assert_eq!(refusals(|| PackageDefect::ExtraFile.at("x")), [true; 4]);
    }
}
