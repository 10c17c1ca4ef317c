//! Files that the user names. Opening one never waits for a pipe or a terminal.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use rustix::io::Errno;

/// Opens a regular file for reading, also through a symbolic link.
///
/// A FIFO without a writer does not block the program, and a terminal does not become its
/// controlling terminal: both are refused, as are directories, sockets and devices. Links are
/// followed only here, for files that an operator names; files that others put into a directory
/// are opened with [`crate::durable::open_regular`].
///
/// # Errors
/// [`NotRegular`] within [`io::ErrorKind::InvalidInput`] for anything but a regular file; any
/// other error of the file system.
pub fn open_input(path: &Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file =
        opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            // A socket, or a device without a driver.
            Some(Errno::NXIO | Errno::NODEV) => NotRegular.into(),
            _ => error,
        })?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(NotRegular.into()) }
}

/// Reads a file that the user names, at most one byte more than `most_bytes`.
///
/// The extra byte shows the caller that the file is too long.
///
/// # Errors
/// As [`open_input`], and any error while reading.
pub fn read_input(path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_input(path)?.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Text without the byte order mark that editors of Windows put before it.
#[must_use]
pub fn without_bom(text: &[u8]) -> &[u8] {
    text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text)
}

/// U+FEFF in UTF-8.
pub const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// A line without its end, whichever system wrote it: a line feed, a carriage return and a line
/// feed, or none.
#[must_use]
pub fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether the error is [`NotRegular`].
#[must_use]
pub fn is_not_regular(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotRegular>())
}

/// What lies there cannot be read as a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is a directory, pipe, socket or device, and no regular file")]
pub struct NotRegular;

impl From<NotRegular> for io::Error {
    fn from(error: NotRegular) -> Self {
        Self::new(io::ErrorKind::InvalidInput, error)
    }
}

#[cfg(test)]
mod tests {
    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    #[test]
    fn files_are_opened_through_links_and_nothing_else_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("file"), b"12345").expect("written");
        std::os::unix::fs::symlink(at("file"), at("link")).expect("a link");
        mknodat(CWD, at("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).expect("a socket");
        assert_eq!(read_input(&at("link"), 100).expect("read"), b"12345");
        assert_eq!(read_input(&at("file"), 2).expect("read"), b"123");
        for name in ["pipe", "socket", "", "/dev/null", "/dev/zero"] {
            let error = open_input(&at(name)).expect_err(name);
            assert!(is_not_regular(&error), "{name}: {error}");
        }
        let missing = open_input(&at("missing")).expect_err("not there");
        assert!(!is_not_regular(&missing));
    }
}
