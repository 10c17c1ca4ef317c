//! A file that grows in place.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use super::birth::FileBirth;
use super::faults::{Call, meet};
use super::open::{lock_soon, open_regular};

/// A file that grows in place. One process holds its lock until the value is dropped.
#[derive(Debug)]
pub struct DurableLog {
    file: File,
    path: PathBuf,
}

impl DurableLog {
    /// Opens an existing regular file, never through a symbolic link, and locks it.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] when another process holds the lock,
    /// [`io::ErrorKind::InvalidInput`] when it is not a regular file; any other error of the file
    /// system, also that it has no locks.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_locked(path, OpenOptions::new().read(true).write(true))
    }

    /// Like [`Self::open`], but without a lock, for a file that something else keeps others from.
    ///
    /// # Errors
    /// As [`Self::open`], but never [`io::ErrorKind::WouldBlock`].
    pub fn open_alone(path: &Path) -> io::Result<Self> {
        let file = Self::open_regular_file(path, OpenOptions::new().read(true).write(true))?;
        Ok(Self { file, path: path.to_owned() })
    }

    /// Like [`Self::open`], but read-only: the file is locked and cannot be written.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_read_only(path: &Path) -> io::Result<Self> {
        Self::open_locked(path, OpenOptions::new().read(true))
    }

    fn open_locked(path: &Path, options: &mut OpenOptions) -> io::Result<Self> {
        let file = Self::open_regular_file(path, options)?;
        match lock_soon(&file) {
            Ok(()) => Ok(Self { file, path: path.to_owned() }),
            Err(TryLockError::WouldBlock) => Err(io::ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open_regular_file(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
        let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
        let file = options.custom_flags(flags).open(path)?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
    }

    /// Opens an existing regular file to read it without a lock, even while another process holds
    /// it: its content may change, and it cannot be written.
    ///
    /// # Errors
    /// As [`Self::open`], but never [`io::ErrorKind::WouldBlock`].
    pub fn open_unlocked(path: &Path) -> io::Result<Self> {
        match open_regular(path)? {
            Some(file) => Ok(Self { file, path: path.to_owned() }),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// The file's length and permission bits.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn size_and_mode(&self) -> io::Result<(u64, u32)> {
        let metadata = self.file.metadata()?;
        Ok((metadata.len(), metadata.mode() & 0o7777))
    }

    /// The file's length and permission bits, after what its group may is taken back: see
    /// [`close_to_group`](crate::private::close_to_group).
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn size_and_private_mode(&self) -> io::Result<(u64, u32)> {
        let mode = crate::private::close_to_group(&self.file, &self.path, 0o077)?;
        Ok((self.file.metadata()?.len(), mode))
    }

    /// The permission bits that [`Self::size_and_private_mode`] would leave. Changes nothing.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn mode_to_be(&self) -> io::Result<u32> {
        crate::private::as_closed_to_group(&self.file, 0o077)
    }

    /// Which file it is: see [`FileBirth`].
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn birth(&self) -> io::Result<FileBirth> {
        Ok(FileBirth::of(&self.file.metadata()?))
    }

    /// Fills `bytes` from a position.
    ///
    /// # Errors
    /// [`io::ErrorKind::UnexpectedEof`] past the end; any other error of the file system.
    pub fn read_exact_at(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    /// Writes at a position; durable after [`Self::sync`].
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.write_all_at(bytes, offset)
    }

    /// Truncates the file to `bytes`.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn truncate(&self, bytes: u64) -> io::Result<()> {
        meet(Call::Write, &self.path)?;
        self.file.set_len(bytes)
    }

    /// Makes everything that was written durable.
    ///
    /// After an error it is unknown which bytes are on the disk: the file must be closed.
    ///
    /// # Errors
    /// Any error of the file system.
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
    fn a_read_only_log_is_locked_and_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, b"log").unwrap();
        let log = DurableLog::open_read_only(&path).unwrap();
        assert_eq!(DurableLog::open(&path).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert!(log.write_all_at(b"x", 0).is_err() && log.truncate(0).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"log");
    }
}
