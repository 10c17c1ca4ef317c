//! Unfinished files that a crash leaves behind.

use std::ffi::OsStr;
use std::fs::{self, TryLockError};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::directory::{directory_of, sync_directory};
use super::open::open_regular;

/// Separates the final name from the random letters in a temporary name.
pub(super) const TEMPORARY_MARK: &str = ".tmp-";
pub(super) const TEMPORARY_RANDOM_CHARS: usize = 8;

/// Whether a file name is a temporary name of [`super::DurableFile`].
#[must_use]
pub fn is_temporary(name: &OsStr) -> bool {
    let Some(name) = name.to_str() else { return false };
    let Some((front, random)) = name.rsplit_once(TEMPORARY_MARK) else { return false };
    front.len() > 1
        && front.starts_with('.')
        && random.len() == TEMPORARY_RANDOM_CHARS
        && random.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Removes the unfinished files that a crash left in a directory; returns how many.
///
/// Files that another process is still writing are locked, and are kept.
///
/// # Errors
/// Any error of the file system.
pub fn remove_leftovers(directory: &Path) -> io::Result<usize> {
    remove_unfinished(directory, is_temporary)
}

/// Removes the unfinished files that a crash left of one file.
///
/// Meant for files outside a package: their directory may hold files of other programs, which
/// are not touched.
///
/// # Errors
/// Any error of the file system; a missing directory is not an error.
pub fn remove_leftovers_of(path: &Path) -> io::Result<usize> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let mut prefix = OsStr::new(".").to_owned();
    prefix.push(name);
    let is_of_it = |found: &OsStr| {
        let front = found.len().checked_sub(TEMPORARY_MARK.len() + TEMPORARY_RANDOM_CHARS);
        is_temporary(found)
            && front.is_some_and(|front| found.as_bytes()[..front] == *prefix.as_bytes())
    };
    match remove_unfinished(directory_of(path), is_of_it) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
        other => other,
    }
}

fn remove_unfinished(directory: &Path, is_meant: impl Fn(&OsStr) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if !is_meant(&entry.file_name()) || !entry.file_type()?.is_file() {
            continue;
        }
        let Some(file) = open_regular(&entry.path())? else { continue };
        if matches!(file.try_lock(), Err(TryLockError::WouldBlock)) {
            continue;
        }
        match fs::remove_file(entry.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            other => {
                other?;
                removed += 1;
            }
        }
    }
    if removed > 0 {
        sync_directory(directory)?;
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::durable::DurableFile;

    fn names(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory).expect("readable");
        let mut names: Vec<_> = entries
            .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn leftovers_are_removed_but_neither_files_in_use_nor_those_of_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let in_use = DurableFile::create(at("busy")).unwrap();
        for name in [".part.tmp-Abcd1234", ".part.tmp-short", "part.tmp-Abcd1234", ".tmp-Abcd1234"]
        {
            fs::write(at(name), b"x").unwrap();
        }
        assert_eq!(remove_leftovers(directory.path()).unwrap(), 1);
        let left = names(directory.path());
        assert!(!left.contains(&".part.tmp-Abcd1234".to_owned()), "{left:?}");
        assert_eq!(left.len(), 4, "{left:?}");
        drop(in_use);
    }

    #[test]
    fn leftovers_of_one_file_are_removed_and_no_others() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let in_use = DurableFile::create(at("part")).unwrap();
        let kept = [".apart.tmp-Abcd1234", ".part.tmp-short", ".part2.tmp-Abcd1234", "part"];
        for name in kept.into_iter().chain([".part.tmp-Abcd1234"]) {
            fs::write(at(name), b"x").unwrap();
        }
        assert_eq!(remove_leftovers_of(&at("part")).unwrap(), 1);
        assert_eq!(names(directory.path()).len(), kept.len() + 1);
        drop(in_use);
        assert_eq!(names(directory.path()), kept);
        assert_eq!(remove_leftovers_of(&at("none/part")).unwrap(), 0);
    }
}
