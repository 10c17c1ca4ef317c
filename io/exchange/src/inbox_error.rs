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
    /// Something lies in a package that is no part.
    #[error("{} is no part: an inbox holds what was delivered and nothing else", path.display())]
    Extra {
        /// What it is.
        path: PathBuf,
    },
    /// A closed package is not what its manifest says.
    #[error("the package {} in the inbox is damaged or cannot be read", path.display())]
    Package {
        /// The package.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<PackageError>,
    },
    /// The inbox was made for another session.
    #[error(
        "{} is the inbox of session {}, this is {}",
        path.display(),
        mismatch.got,
        mismatch.expected
    )]
    OtherSession {
        /// The inbox.
        path: PathBuf,
        /// The two sessions.
        mismatch: SessionMismatch,
    },
    /// What says whose inbox it is holds no fingerprint.
    #[error("{} holds no session's fingerprint: the inbox is of no known session", path.display())]
    UnknownSession {
        /// The file.
        path: PathBuf,
    },
    /// It was asked to stop before all was read.
    #[error("stopped on request; what was delivered stays")]
    Stopped,
    /// Another process uses it.
    #[error("another receiver uses {}", path.display())]
    InUse {
        /// The inbox.
        path: PathBuf,
    },
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
