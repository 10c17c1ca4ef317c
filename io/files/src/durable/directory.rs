//! Directories and the names in them.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use super::faults::{Call, meet};

/// Creates a directory of mode 0700 and its missing parents; all are durable on return.
///
/// An existing directory is left unchanged.
///
/// # Errors
/// Any error of the file system.
pub fn create_directory(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = directory_of(path);
    if parent != path {
        create_directory(parent)?;
    }
    match DirBuilder::new().mode(DIRECTORY_MODE).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
        other => other?,
    }
    sync_directory(parent)
}

/// Removes a file and makes that durable.
///
/// # Errors
/// Any error of the file system.
pub fn remove_file(path: &Path) -> io::Result<()> {
    meet(Call::Remove, path)?;
    fs::remove_file(path)?;
    sync_directory(directory_of(path))
}

/// Removes files of one directory and makes that durable with a single fsync.
///
/// # Errors
/// Any error of the file system; some files may already be removed.
pub fn remove_files(directory: &Path, names: impl IntoIterator<Item = String>) -> io::Result<()> {
    for name in names {
        let path = directory.join(name);
        meet(Call::Remove, &path)?;
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => other?,
        }
    }
    sync_directory(directory)
}

/// Removes an empty directory and makes that durable.
///
/// # Errors
/// Any error of the file system, for example that the directory is not empty.
pub fn remove_directory(path: &Path) -> io::Result<()> {
    meet(Call::Remove, path)?;
    fs::remove_dir(path)?;
    sync_directory(directory_of(path))
}

/// Makes the names of a directory durable.
///
/// Some file systems know no such thing, mostly over a network or in user space, and say so: there
/// it is up to the file system when a name is durable.
///
/// # Errors
/// Any other error of the file system. It is then unknown which of the names are on the disk.
pub fn sync_directory(directory: &Path) -> io::Result<()> {
    let sync = || {
        meet(Call::SyncDirectory, directory)?;
        File::open(directory)?.sync_all()
    };
    match sync() {
        Err(error) if is_not_known(&error) => {
            tracing::debug!("{} takes no fsync of a directory: {error}", directory.display());
            Ok(())
        }
        synced => synced,
    }
}

/// EINVAL, EOPNOTSUPP and ENOSYS: the file system has no such call.
pub(super) fn is_not_known(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// The directory of a path, `.` for a bare name.
pub(crate) fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// Bytes that this user may still write to the disk that holds a file or directory.
///
/// # Errors
/// Any error of the file system.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

const DIRECTORY_MODE: u32 = 0o700;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn directories_are_private_and_an_existing_one_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let deep = directory.path().join("a/b");
        create_directory(&deep).unwrap();
        create_directory(&deep).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().mode() & 0o777, 0o700);
    }
}
