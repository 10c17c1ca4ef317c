//! What can be wrong with an inbox.

use std::path::PathBuf;

use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_format::package::{NoAuthority, PackageError};
use reshare_format::session::SessionMismatch;

/// What cannot be done with a file of an inbox.
pub(super) const USE: &str = "use the inbox at";

/// Why an inbox cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum InboxError {
    /// The session's authority is missing.
    #[error(transparent)]
    NoAuthority(#[from] NoAuthority),
    /// The file system refuses.
    #[error(transparent)]
    File(#[from] FileError),
    /// A closed package is not what its manifest says.
    #[error("the package {} in the inbox is damaged or cannot be read", path.display())]
    Package {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<PackageError>,
    },
    /// The directory, or something in it, is not as in an inbox of this session.
    #[error("{} {defect}", path.display())]
    Defect {
        /// The directory, or what is in it.
        path: PathBuf,
        /// What is wrong with it.
        defect: InboxDefect,
    },
    /// Another process uses it.
    #[error("another receiver uses {}", path.display())]
    InUse {
        /// The inbox.
        path: PathBuf,
    },
    /// It was asked to stop before all was read.
    #[error("stopped on request; what was delivered stays")]
    Stopped,
}

/// One thing that is wrong with an inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InboxDefect {
    /// Something in a package that is no part.
    #[error("is no part: an inbox holds what was delivered and nothing else")]
    Extra,
    /// The inbox was made for another session.
    #[error("is the inbox of session {}, this is {}", .0.got, .0.expected)]
    OtherSession(SessionMismatch),
    /// What says whose inbox it is holds no fingerprint.
    #[error("holds no session's fingerprint: the inbox is of no known session")]
    UnknownSession,
}

impl InboxDefect {
    pub(super) fn at(self, path: impl Into<PathBuf>) -> InboxError {
        InboxError::Defect { path: path.into(), defect: self }
    }
}

impl Refusable for InboxError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::File(error) => error.is_refusal(),
            Self::Stopped | Self::InUse { .. } => false,
            Self::Package { source, .. } => source.is_refusal(),
            _ => true,
        }
    }
}
