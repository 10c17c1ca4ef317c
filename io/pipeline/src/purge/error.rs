//! Why something is not removed.

use std::path::PathBuf;

use reshare_engine::party::PartyId;
use reshare_exchange::InboxError;
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_format::keys::AgreementKeyError;
use reshare_format::package::{PackageDefect, PackageError};
use reshare_format::session::SessionMismatch;
use reshare_format::share_file::ShareFileError;

/// Why something is not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// Something that is named, or is in it, is not to be removed.
    #[error("{} {defect}", path.display())]
    Defect {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        defect: PurgeDefect,
    },
    /// No package, or one that is not closed.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// No share file.
    #[error(transparent)]
    ShareFile(#[from] ShareFileError),
    /// No key.
    #[error(transparent)]
    Key(#[from] AgreementKeyError),
    /// No inbox of this session, or one in use.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

/// Why a file or directory is not removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeDefect {
    /// All of it is gone, or was never there.
    #[error("is not there{}", others(*named))]
    NothingThere {
        /// How many things were named.
        named: usize,
    },
    /// A link, a device or a directory.
    #[error("is not a regular file: nothing is removed through it")]
    NotRegular,
    /// A link or a file.
    #[error("is not a directory: nothing is removed through it")]
    NotADirectory,
    /// Hard links: to remove one name would leave the shares.
    #[error("has other names (hard links): its shares would stay there")]
    OtherNames,
    /// Something that is not of the package or inbox.
    #[error("is not listed: nothing is removed around what is not known")]
    Extra,
    /// Another session's.
    #[error("is of session {}, this is {}", .0.got, .0.expected)]
    OtherSession(SessionMismatch),
    /// A key that the session does not have.
    #[error("is not a key of this session")]
    OtherKey,
    /// A manifest that contradicts the session.
    #[error("claims to be of party {party}, which is no sender")]
    NoSender {
        /// Its claim.
        party: PartyId,
    },
    /// Named twice, or within another thing that is named.
    #[error("is named twice, by itself or with what it is in")]
    Twice,
}

impl PurgeDefect {
    pub(super) fn at(self, path: impl Into<PathBuf>) -> PurgeError {
        PurgeError::Defect { path: path.into(), defect: self }
    }
}

impl Refusable for PurgeError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::File(error) => error.is_refusal(),
            Self::Defect { defect: PurgeDefect::NothingThere { .. }, .. } => false,
            // It may be unfinished and still wanted.
            Self::Package(PackageError::Defect { defect: PackageDefect::NotClosed, .. }) => true,
            Self::Package(error) => error.is_refusal(),
            Self::ShareFile(error) => error.is_refusal(),
            Self::Key(error) => error.is_refusal(),
            Self::Inbox(error) => error.is_refusal(),
            _ => true,
        }
    }
}

/// That nothing else is there either.
fn others(named: usize) -> &'static str {
    if named > 1 { ", and nothing else that is named either" } else { "" }
}
