//! What can be wrong with a package, its parts and its manifest.

use std::io;
use std::path::PathBuf;

use reshare_engine::party::PartyId;
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_files::ids::IdRange;
use reshare_files::timestamp::Timestamp;

use super::{PartName, PartRecordError};
use crate::keys::certificate::CertificateError;
use crate::session::{SessionMismatch, StatementError};
use crate::share_file::ShareFileDefect;

/// A part that cannot be sealed or opened, and why.
#[derive(Debug, thiserror::Error)]
#[error("{name} ({})", path.display())]
pub struct PartError {
    /// The file.
    pub path: PathBuf,
    /// The part.
    pub name: PartName,
    /// What is wrong with it.
    #[source]
    pub defect: Box<PartDefect>,
}

/// One thing that is wrong with a part.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PartDefect {
    /// The file cannot be read.
    #[error("it cannot be read")]
    Read(#[source] io::Error),
    /// The file cannot be written.
    #[error("it cannot be written")]
    Write(#[source] io::Error),
    /// A directory, FIFO, device or symbolic link.
    #[error("it is not a regular file")]
    NotRegular,
    /// Another size than the manifest says.
    #[error("it has {got} bytes, the manifest says {expected}")]
    SealedSize {
        /// By the manifest.
        expected: u64,
        /// Found.
        got: u64,
    },
    /// Other bytes than the manifest says.
    #[error("its bytes are not those that the manifest lists")]
    SealedDigest {
        /// By the manifest.
        expected: blake3::Hash,
        /// Found.
        got: blake3::Hash,
    },
    /// Larger than the session allows.
    #[error("it has {bytes} bytes, the session allows {max}: fewer rows per part are needed")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The session's limit.
        max: u64,
    },
    /// More rows than its bytes can hold.
    #[error("{rows} rows do not fit into {bytes} bytes")]
    MoreRowsThanBytes {
        /// Rows by the manifest.
        rows: u64,
        /// Its size.
        bytes: u64,
    },
    /// The seal could not be made.
    #[error("it cannot be sealed")]
    Seal(#[source] age::EncryptError),
    /// No age file, or one whose header goes on for too long.
    #[error("it does not begin with an age header of at most {max} bytes")]
    SealHeader {
        /// The most bytes of a header.
        max: usize,
    },
    /// Sealed to somebody else.
    #[error("it is sealed to another recipient than this identity's")]
    OtherRecipient,
    /// The seal is broken.
    #[error("it cannot be unsealed")]
    Unseal(#[source] age::DecryptError),
    /// What it holds is not what it must hold.
    #[error("its content is refused")]
    Content(#[from] ShareFileDefect),
}

impl Refusable for PartError {
    fn is_refusal(&self) -> bool {
        match &*self.defect {
            PartDefect::Read(error) => error.is_refusal(),
            PartDefect::Write(_) => false,
            PartDefect::Content(defect) => defect.is_refusal(),
            _ => true,
        }
    }
}

/// Why a manifest is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// Too many bytes to be read.
    #[error("it has {bytes} bytes, at most {max} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// As any statement.
    #[error(transparent)]
    Statement(#[from] StatementError),
    /// The right meaning in other bytes than the canonical ones.
    #[error("it is not in canonical form, from byte {offset} on")]
    NotCanonical {
        /// The first byte that differs.
        offset: usize,
    },
    /// A part whose name is not that of its index.
    #[error("part {index} is named {name}")]
    PartName {
        /// The index.
        index: u64,
        /// The name.
        name: PartName,
    },
    /// A part listed twice.
    #[error("{name} is listed twice")]
    RepeatedPart {
        /// The part.
        name: PartName,
    },
    /// A part whose last id lies before its first.
    #[error("{name}: its id range ends at {last}, before it begins at {first}")]
    BackwardRange {
        /// The part.
        name: PartName,
        /// First id.
        first: i64,
        /// Last id.
        last: i64,
    },
    /// A part that begins before the one listed before it ends.
    #[error("{name} has ids {ids}, which do not lie after {before_ids} of {before}")]
    PartOrder {
        /// The part.
        name: PartName,
        /// Its ids.
        ids: IdRange,
        /// The part listed before.
        before: PartName,
        /// That part's ids.
        before_ids: IdRange,
    },
    /// A part with no rows, or with more than ids.
    #[error("{name}: {rows} rows are no possible number for ids {ids}")]
    PartRows {
        /// The part.
        name: PartName,
        /// Its rows.
        rows: u64,
        /// Its ids.
        ids: IdRange,
    },
    /// Totals that are not the sums of the parts.
    #[error("its total of {field} is {got}, the parts add up to {expected:?}")]
    Totals {
        /// Which total.
        field: &'static str,
        /// The sum; `None` when it overflows.
        expected: Option<u64>,
        /// What the manifest says.
        got: u64,
    },
    /// Another session's id.
    #[error("it belongs to session {got:?}, expected {expected:?}")]
    OtherSessionId {
        /// Expected.
        expected: String,
        /// Found.
        got: String,
    },
    /// Another session's fingerprint.
    #[error(transparent)]
    OtherSession(#[from] SessionMismatch),
    /// Another sender.
    #[error("it was made by party {got}, expected party {expected}")]
    OtherSender {
        /// Expected.
        expected: PartyId,
        /// Found.
        got: PartyId,
    },
    /// Another receiver.
    #[error("it was made for party {got}, expected party {expected}")]
    OtherReceiver {
        /// Expected.
        expected: PartyId,
        /// Found.
        got: PartyId,
    },
    /// A part with ids that the session does not have.
    #[error("{name} has ids {ids}, the session has {session}")]
    PartOutsideSession {
        /// The part.
        name: PartName,
        /// Its ids.
        ids: IdRange,
        /// The session's ids.
        session: IdRange,
    },
    /// A part larger than the session allows.
    #[error("{name} has {bytes} bytes, the session allows {max}")]
    PartTooLarge {
        /// The part.
        name: PartName,
        /// Its size.
        bytes: u64,
        /// The session's limit.
        max: u64,
    },
    /// A part with more rows than its bytes can hold.
    #[error("{name}: {rows} rows do not fit into {bytes} bytes")]
    MoreRowsThanBytes {
        /// The part.
        name: PartName,
        /// Its rows.
        rows: u64,
        /// Its size.
        bytes: u64,
    },
    /// A manifest without the signature that the session demands.
    #[error(
        "it is not signed: the session uses certificates, so manifest.sig and manifest-chain.pem belong to it"
    )]
    NotSigned,
    /// A signature where the session has nothing to verify it with.
    #[error("it is signed, but the session uses no certificates")]
    UnexpectedSignature,
    /// A signature that its sender's certificate does not bear out.
    #[error("its signature is not accepted as sender {sender}'s")]
    Signature {
        /// The sender.
        sender: PartyId,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// A signature made before or after the session's life.
    #[error("it was signed at {signed_at}, the session lives from {not_before} to {not_after}")]
    SignedOutsideSession {
        /// By the manifest.
        signed_at: Timestamp,
        /// The session's first second.
        not_before: Timestamp,
        /// The session's last second.
        not_after: Timestamp,
    },
}

/// Why a package is refused or cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PackageError {
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// A part is refused or cannot be written.
    #[error(transparent)]
    Part(#[from] PartError),
    /// The manifest is refused.
    #[error("manifest {}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The files of the manifest's signature are refused, or it cannot be made.
    #[error("{}", path.display())]
    Signature {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// A part record is refused, or cannot be made.
    #[error("{}, line {line}", path.display())]
    Record {
        /// The file of records.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// Why.
        #[source]
        source: PartRecordError,
    },
    /// The directory, or something in it, is not as in a package.
    #[error("{} {defect}", path.display())]
    Defect {
        /// The directory, or what is in it.
        path: PathBuf,
        /// What is wrong with it.
        defect: PackageDefect,
    },
}

/// One thing that is wrong with the directory of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PackageDefect {
    /// A package is a directory.
    #[error("is not a directory")]
    NotADirectory,
    /// A package that its sender has not closed.
    #[error("has no manifest: the package is not complete")]
    NotClosed,
    /// A package that may no longer change.
    #[error("has a manifest: the package is closed and cannot change")]
    AlreadyClosed,
    /// Something that the manifest does not list, or no part where a package is being made.
    #[error("is no part of the package")]
    ExtraFile,
    /// A file that is still being written or was left behind by a crash.
    #[error("is an unfinished file: somebody writes there, or a crash left it")]
    UnfinishedFile,
    /// A part that the manifest lists and that is not there.
    #[error("is listed in the manifest and missing")]
    MissingPart,
    /// A part that the manifest lists, and that has no record.
    #[error("has no record of {name}, which the manifest lists")]
    RecordMissing {
        /// The part.
        name: PartName,
    },
    /// A part whose record says something else than the manifest.
    #[error("has a record of {name} that is not what the manifest says")]
    RecordDiffers {
        /// The part.
        name: PartName,
    },
    /// A record of a part that the manifest does not list.
    #[error("has a record of {name}, which the manifest does not list")]
    RecordExtra {
        /// The part.
        name: PartName,
    },
    /// Records of a closed package that were replaced by others, or a line that was cut off.
    #[error("has more than the records of the parts that the manifest lists")]
    RecordsNotSettled,
    /// A directory, FIFO, device or symbolic link where a file belongs.
    #[error("is not a regular file")]
    NotRegular,
    /// A part of another size than the manifest says.
    #[error("has {got} bytes, the manifest says {expected}")]
    PartSize {
        /// By the manifest.
        expected: u64,
        /// Found.
        got: u64,
    },
}

impl PackageDefect {
    /// Names the directory, or what is in it.
    pub fn at(self, path: impl Into<PathBuf>) -> PackageError {
        PackageError::Defect { path: path.into(), defect: self }
    }
}

impl PackageError {
    /// Whether the package has no manifest yet.
    #[must_use]
    pub fn is_not_closed(&self) -> bool {
        matches!(self, Self::Defect { defect: PackageDefect::NotClosed, .. })
    }
}

impl Refusable for PackageError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::File(error) => error.is_refusal(),
            // Not complete yet: it may be the next time.
            Self::Defect { defect: PackageDefect::NotClosed, .. } => false,
            Self::Part(error) => error.is_refusal(),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_fails_is_no_refusal_and_what_it_holds_is() {
        let disk = FileError::new("read", "part", io::Error::from_raw_os_error(5));
        assert!(!PackageError::from(disk).is_refusal());
        let part = |kind: io::ErrorKind| {
            let (path, name) = ("part".into(), PartName::new(7));
            let defect = Box::new(PartDefect::Read(kind.into()));
            PackageError::Part(PartError { path, name, defect })
        };
        assert!(!part(io::ErrorKind::Other).is_refusal());
        assert!(part(io::ErrorKind::UnexpectedEof).is_refusal());
        assert!(PackageDefect::ExtraFile.at("x").is_refusal());
    }
}
