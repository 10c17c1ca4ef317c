//! Whether an error is a refusal or a failure: the one rule for all crates.

use std::error::Error;
use std::io;

use super::causes::causes;
use super::file_error::FileError;

/// An error that is either a refusal or a failure.
///
/// A *refusal* is about what is given: a key, session, file or row does not fit, and another run
/// with the same meets the same. A *failure* is about the moment: a disk, a server, a connection,
/// another process or a request to stop; another run may succeed.
pub trait Refusable: Error + 'static {
    /// Whether it is a refusal.
    ///
    /// Unless an error has its own answer, it is one if the file system is not among its causes.
    fn is_refusal(&self) -> bool
    where
        Self: Sized,
    {
        !causes(self).any(|cause| cause.is::<io::Error>())
    }
}

impl Refusable for FileError {}

/// Of bytes that are decoded while they are read: a disk may fail for a moment, but what it holds
/// does not get better by itself.
impl Refusable for io::Error {
    fn is_refusal(&self) -> bool {
        use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
        matches!(self.kind(), InvalidData | InvalidInput | UnexpectedEof)
    }
}
