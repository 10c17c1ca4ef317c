//! What the file system refuses, and for which file.

use std::io;
use std::path::{Path, PathBuf};

/// A file or directory that cannot be read, written or otherwise used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}", path.display())]
pub struct FileError {
    /// What was tried, such as `read`.
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the file system says.
    pub source: io::Error,
}

impl FileError {
    /// An error of the file system, and the file that it is about.
    pub fn new(action: &'static str, path: impl Into<PathBuf>, source: io::Error) -> Self {
        Self { action, path: path.into(), source }
    }

    /// Whether there is no such file or directory.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        self.source.kind() == io::ErrorKind::NotFound
    }
}

/// Names the file that a result of the file system is about.
pub trait OnFile<T> {
    /// Adds what was tried, and on which file.
    ///
    /// # Errors
    /// That of the result, as a [`FileError`].
    fn on(self, action: &'static str, path: &Path) -> Result<T, FileError>;
}

impl<T> OnFile<T> for io::Result<T> {
    fn on(self, action: &'static str, path: &Path) -> Result<T, FileError> {
        self.map_err(|source| FileError::new(action, path, source))
    }
}
