//! Files that other users may have made, and locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens a regular file for reading; `None` when the path is anything else.
///
/// Never follows a symbolic link and never waits for a FIFO.
///
/// # Errors
/// Any error of the file system; a missing file is [`io::ErrorKind::NotFound`].
pub fn open_regular(path: &Path) -> io::Result<Option<File>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(file.metadata()?.is_file().then_some(file)),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP | Errno::NXIO) => Ok(None),
            _ => Err(error),
        },
    }
}

/// How long to wait for a lock, and how often to try.
const LOCK_TIMEOUT: Duration = Duration::from_millis(500);
const LOCK_RETRY_PERIOD: Duration = Duration::from_millis(10);

/// Locks a file exclusively and retries for a moment while it is locked.
///
/// A newly forked child holds its parent's locks until it executes another program, so a lock
/// that disappears at once does not mean that the file is in use.
///
/// # Errors
/// [`TryLockError::WouldBlock`] when it stays locked; any other error of the file system.
pub fn lock_soon(file: &File) -> Result<(), TryLockError> {
    let start = Instant::now();
    loop {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) if start.elapsed() < LOCK_TIMEOUT => {
                std::thread::sleep(LOCK_RETRY_PERIOD);
            }
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn links_and_fifos_are_no_regular_files() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), b"x").unwrap();
        std::os::unix::fs::symlink(at("file"), at("link")).unwrap();
        let fifo = std::process::Command::new("mkfifo").arg(at("fifo")).status().unwrap();
        assert!(fifo.success());
        assert!(open_regular(&at("file")).unwrap().is_some());
        assert!(open_regular(&at("link")).unwrap().is_none());
        assert!(open_regular(&at("fifo")).unwrap().is_none());
        assert!(open_regular(directory.path()).unwrap().is_none());
    }
}
