//! Why something is not removed.

use std::path::PathBuf;

use reshare_engine::party::PartyId;
use reshare_exchange::InboxError;
use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_format::package::PackageError;
use reshare_format::session::SessionMismatch;
use reshare_format::share_file::ShareFileError;

/// Why something is not removed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PurgeError {
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// All of it is gone, or was never there.
    #[error("{} is not there{}", path.display(), others(*named))]
    NothingThere {
        /// The first thing that was named.
        path: PathBuf,
        /// How many were.
        named: usize,
    },
    /// A link, a device or a directory.
    #[error("{} is not a regular file: nothing is removed through it", path.display())]
    NotRegular {
        /// What was named.
        path: PathBuf,
    },
    /// A link or a file.
    #[error("{} is not a directory: nothing is removed through it", path.display())]
    NotADirectory {
        /// What was named.
        path: PathBuf,
    },
    /// Hard links: to remove one name would leave the shares.
    #[error("{} has other names (hard links): its shares would stay there", path.display())]
    OtherNames {
        /// The file.
        path: PathBuf,
    },
    /// Something that is not of the package or inbox.
    #[error("{} is not listed: nothing is removed around what is not known", path.display())]
    Extra {
        /// What it is.
        path: PathBuf,
    },
    /// Another session's.
    #[error("{} is of session {}, this is {}", path.display(), mismatch.got, mismatch.expected)]
    OtherSession {
        /// The file or directory.
        path: PathBuf,
        /// The two sessions.
        mismatch: SessionMismatch,
    },
    /// A manifest that contradicts the session.
    #[error("{} claims to be of party {party}, which is no sender", path.display())]
    NoSender {
        /// The package.
        path: PathBuf,
        /// Its claim.
        party: PartyId,
    },
    /// Named twice, or within another thing that is named.
    #[error("{} is named twice, by itself or with what it lies in", path.display())]
    Twice {
        /// The path.
        path: PathBuf,
    },
    /// No package, or one that is not closed.
    #[error(transparent)]
    Package(#[from] PackageError),
    /// No share file.
    #[error(transparent)]
    ShareFile(#[from] ShareFileError),
    /// No inbox of this session, or one in use.
    #[error(transparent)]
    Inbox(#[from] InboxError),
}

impl Refusable for PurgeError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::File(error) => error.is_refusal(),
            Self::NothingThere { .. } => false,
            // It may be unfinished and still wanted.
            Self::Package(error) => {
                error.is_refusal() || matches!(error, PackageError::NotClosed { .. })
            }
            Self::ShareFile(error) => error.is_refusal(),
            Self::Inbox(error) => error.is_refusal(),
            _ => true,
        }
    }
}

/// That nothing else is there either.
fn others(named: usize) -> &'static str {
    if named > 1 { ", and nothing else that is named either" } else { "" }
}
