//! Logs of lines that people and programs read.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;

use super::directory::{directory_of, sync_directory};
use super::open::lock_soon;

/// Appends a line to a file of mode 0600, which is made where it is not there; durable on return.
///
/// A line that a crash has cut stays as it is: the new one begins after a line end.
///
/// # Errors
/// Any error of the file system; that the path is no regular file, or a link; that another process
/// holds the file's lock.
pub fn append_line(path: &Path, line: &str) -> io::Result<()> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let is_new = path.symlink_metadata().is_err();
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true).mode(0o600).custom_flags(flags);
    let mut file = options.open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    lock_soon(&file).map_err(|error| match error {
        TryLockError::WouldBlock => io::Error::other("another process writes to it"),
        TryLockError::Error(error) => error,
    })?;
    let cut = if ends_with_a_line(&mut file)? { "" } else { "\n" };
    file.write_all(format!("{cut}{line}\n").as_bytes())?;
    file.sync_all()?;
    if is_new { sync_directory(directory_of(path)) } else { Ok(()) }
}

fn ends_with_a_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    #[test]
    fn a_line_after_one_that_was_cut_begins_a_new_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        append_line(&path, "one").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::write(&path, "one\ntw").unwrap();
        append_line(&path, "three").unwrap();
        append_line(&path, "four").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntw\nthree\nfour\n");
    }

    #[test]
    fn a_link_is_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        symlink(&target, &link).unwrap();
        assert!(append_line(&link, "line").is_err());
        assert!(!target.exists());
    }
}
