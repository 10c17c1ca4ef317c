//! A file that grows in place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::faults::{Call, meet};
use super::open::{lock_soon, open_regular};

/// A file that grows in place and belongs to one process at a time, until it is dropped.
#[derive(Debug)]
pub struct DurableLog {
    file: File,
    path: PathBuf,
}

impl DurableLog {
    /// Opens an existing regular file, never through a symbolic link, and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process has it,
    /// [`io::ErrorKind::InvalidInput`] when it is no regular file; what the file system says,
    /// also where it knows no locks.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_locked(path, OpenOptions::new().read(true).write(true))
    }

    /// Like [`Self::open`], to look at it alone: it can be locked, and nothing can be written.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_to_look(path: &Path) -> io::Result<Self> {
        Self::open_locked(path, OpenOptions::new().read(true))
    }

    fn open_locked(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = options.custom_flags(flags).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        match lock_soon(&file) {
            Ok(()) => Ok(Self { file, path: path.to_owned() }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Opens an existing regular file to read it, beside whoever has it and without a lock:
    /// what is read may change, and nothing can be written.
    ///
    /// # Errors
    /// As [`Self::open`], but never [`io::ErrorKind::WouldBlock`].
    pub fn open_beside(path: &Path) -> io::Result<Self> {
        match open_regular(path)? {
            Some(file) => Ok(Self { file, path: path.to_owned() }),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The file's length and permission bits.
    ///
    /// # Errors
    /// What the file system says.
    pub fn size_and_mode(&self) -> io::Result<(u64, u32)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), metadata.mode() & 0o7777))
    }

    /// Reads exactly as many bytes as `bytes` has room for.
    ///
    /// # Errors
    /// What the file system says; [`io::ErrorKind::UnexpectedEof`] behind the end.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Writes at a position; durable after [`Self::sync`].
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.write_all_at(bytes, offset)
    }

    /// Cuts off what lies behind `bytes`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn truncate(&self, bytes: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.set_len(bytes)
    }

    /// Makes everything that was written durable.
    ///
    /// After an error nobody knows what of it is on the disk: the file must be closed.
    ///
    /// # Errors
    /// What the file system says.
    pub fn sync(&self) -> io::Result<()> {
        meet(Call::Sync, &self.path)?;
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_log_that_is_looked_at_is_locked_and_takes_no_byte() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, b"log").unwrap();
        let log = DurableLog::open_to_look(&path).unwrap();
        assert_eq!(DurableLog::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(log.write_all_at(b"x", 0).is_err() && log.truncate(0).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"log");
    }
}
