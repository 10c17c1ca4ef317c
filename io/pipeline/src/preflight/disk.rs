//! Directories on a disk: whether they are writable, how much space is free, and the file system.

use std::io;
use std::path::{Path, PathBuf};

use reshare_files::durable::free_bytes;
use rustix::fs::{Access, AtFlags, CWD, accessat, statfs};

/// Where a directory is or would be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The directory itself, or its nearest existing parent.
    pub existing: PathBuf,
    /// Bytes that this user may still write.
    pub free_bytes: u64,
    /// The kind of its file system.
    pub filesystem: Filesystem,
}

/// A kind of file system, as far as it affects how durable writes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filesystem {
    /// Any other kind, such as that of a local disk.
    Local(&'static str),
    /// In memory: lost after a restart.
    Memory,
    /// Over a network, where locks and what is durable depend on the server.
    Network(&'static str),
}

impl Place {
    /// Finds where a directory is or would be created, and checks that this user may write there.
    ///
    /// # Errors
    /// [`io::ErrorKind::NotADirectory`], [`io::ErrorKind::PermissionDenied`],
    /// [`io::ErrorKind::ReadOnlyFilesystem`], and any other error of the file system.
    pub fn of(directory: &Path) -> io::Result<Self> {
        let existing = nearest(directory)?;
        if !existing.metadata()?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        let access = Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK;
        // For the effective user of this process, not the real one.
        accessat(CWD, &existing, access, AtFlags::EACCESS)?;
        let (free_bytes, filesystem) = (free_bytes(&existing)?, Filesystem::of(&existing)?);
        Ok(Self { existing, free_bytes, filesystem })
    }
}

fn nearest(directory: &Path) -> io::Result<PathBuf> {
    for path in directory.ancestors() {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        match path.symlink_metadata() {
            Ok(_) => return Ok(path.to_owned()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(PathBuf::from("."))
}

impl Filesystem {
    fn of(path: &Path) -> io::Result<Self> {
        // The magic number has 32 bits; the width of the field depends on the platform.
        #[expect(clippy::cast_possible_truncation, reason = "the numbers have 32 bits")]
        let kind = statfs(path)?.f_type as u32;
        Ok(match kind {
            0x0102_1994 | 0x8584_58f6 => Self::Memory,
            0x6969 => Self::Network("nfs"),
            0x517b | 0xfe53_4d42 | 0xff53_4d42 => Self::Network("smb"),
            0x00c3_6400 => Self::Network("ceph"),
            0x6573_5546 => Self::Network("fuse"),
            0x0102_1997 => Self::Network("9p"),
            0xef53 => Self::Local("ext4"),
            0x5846_5342 => Self::Local("xfs"),
            0x9123_683e => Self::Local("btrfs"),
            0x2fc1_2fc1 => Self::Local("zfs"),
            0x794c_7630 => Self::Local("overlay"),
            0x4d44 => Self::Local("vfat"),
            0x2011_bab0 => Self::Local("exfat"),
            _ => Self::Local("another file system"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_that_is_missing_is_looked_for_above() {
        let directory = tempfile::tempdir().expect("a directory");
        let place = Place::of(&directory.path().join("a/b")).expect("writable");
        assert_eq!(place.existing, directory.path());
        assert!(place.free_bytes > 0);
        assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
    }

    #[test]
    fn a_file_is_no_place() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("file");
        std::fs::write(&file, "x").expect("written");
        for path in [file.clone(), file.join("below")] {
            let error = Place::of(&path).expect_err("no directory");
            assert_eq!(error.kind(), io::ErrorKind::NotADirectory, "{path:?}");
        }
    }

    #[test]
    fn shared_memory_is_distinguished_from_a_disk() {
        assert_eq!(
            Filesystem::of(Path::new("/dev/shm")).expect("Linux has it"),
            Filesystem::Memory
        );
    }
}
