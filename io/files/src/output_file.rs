//! Files that the user names to be written: found to be writable before the work that they are for.
//!
//! A file that appears by rename takes the place of whatever has its name: a device, a pipe or a
//! link would be gone. So what exists and is no regular file is refused. A report is another
//! matter: it may be written *to* a pipe, a terminal or a device, and then nothing is replaced.

use std::fs::{self, File, FileType, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD, OFlags, accessat};
use rustix::io::Errno;

use crate::durable;

/// An output that cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {}", path.display())]
pub struct OutputError {
    /// The output.
    pub path: PathBuf,
    /// What is wrong with it.
    #[source]
    pub defect: OutputDefect,
}

/// Why an output cannot be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputDefect {
    /// Something that is no regular file has its name, and would be replaced.
    #[error("it is {0}, which would be replaced by a file")]
    Other(&'static str),
    /// A directory has its name.
    #[error("it is a directory")]
    Directory,
    /// Its directory is not there.
    #[error("there is no directory {}", .0.display())]
    NoDirectory(PathBuf),
    /// It is a named pipe that nobody reads.
    #[error("nothing reads from this pipe")]
    NoReader,
    /// It is a disk or a socket.
    #[error("it is {0}")]
    Unfit(&'static str),
    /// The file system refuses it.
    #[error(transparent)]
    Unwritable(#[from] io::Error),
}

impl OutputDefect {
    fn at(self, path: &Path) -> OutputError {
        OutputError { path: path.to_owned(), defect: self }
    }
}

/// Finds out whether a file can be made at `path`, or the one that is there be replaced. Nothing is
/// left behind.
///
/// # Errors
/// An [`OutputError`] when something else has that name, also a link, when its directory is not
/// there, or when no file can be made in it.
pub fn probe_output(path: &Path) -> Result<(), OutputError> {
    probe(path).map_err(|defect| defect.at(path))
}

fn probe(path: &Path) -> Result<(), OutputDefect> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => return Err(OutputDefect::Directory),
        Ok(found) if !found.is_file() => {
            return Err(OutputDefect::Other(name_of(found.file_type())));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let parent = durable::directory_of(path);
    if !parent.is_dir() {
        return Err(OutputDefect::NoDirectory(parent.to_owned()));
    }
    // Asked, and not tried: a run that is killed now must leave nothing there.
    let may_write = Access::WRITE_OK | Access::EXEC_OK;
    accessat(CWD, parent, may_write, AtFlags::EACCESS).map_err(io::Error::from)?;
    Ok(())
}

/// What something that is no regular file is called.
fn name_of(kind: FileType) -> &'static str {
    if kind.is_symlink() {
        "a symbolic link"
    } else if kind.is_fifo() {
        "a pipe"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

/// Where a report goes.
#[derive(Debug)]
pub enum ReportOutput {
    /// A file that appears whole or not at all.
    File(PathBuf),
    /// This process' standard output, by one of its names.
    Stdout,
    /// This process' standard error, by one of its names.
    Stderr,
    /// A pipe, a terminal or another device that takes bytes.
    Stream(PathBuf, File),
}

impl ReportOutput {
    /// Opens what `path` names, before the report is there.
    ///
    /// Never waits: a pipe needs a reader by now.
    ///
    /// # Errors
    /// As [`probe_output`]; a pipe without a reader, a disk and a socket are refused too.
    pub fn open(path: &Path) -> Result<Self, OutputError> {
        Self::find(path).map_err(|defect| defect.at(path))
    }

    fn find(path: &Path) -> Result<Self, OutputDefect> {
        match path.to_str() {
            Some("/dev/stdout" | "/dev/fd/1" | "/proc/self/fd/1") => return Ok(Self::Stdout),
            Some("/dev/stderr" | "/dev/fd/2" | "/proc/self/fd/2") => return Ok(Self::Stderr),
            _ => {}
        }
        let is_descriptor = path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd");
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => {
                let kind = found.file_type();
                if kind.is_fifo() || kind.is_char_device() || (is_descriptor && kind.is_file()) {
                    return Ok(Self::Stream(path.to_owned(), open_stream(path)?));
                }
                if !kind.is_file() {
                    return Err(OutputDefect::Unfit(name_of(kind)));
                }
            }
            _ => {}
        }
        probe(path)?;
        Ok(Self::File(path.to_owned()))
    }

    /// Writes the report.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::File(path) => durable::write_whole(&*path, bytes),
            Self::Stdout => io::stdout().write_all(bytes).and_then(|()| io::stdout().flush()),
            Self::Stderr => io::stderr().write_all(bytes),
            Self::Stream(_, stream) => stream.write_all(bytes),
        }
    }

    /// The path that was given.
    #[must_use]
    pub fn path(&self) -> &Path {
        match self {
            Self::File(path) | Self::Stream(path, _) => path,
            Self::Stdout => Path::new("/dev/stdout"),
            Self::Stderr => Path::new("/dev/stderr"),
        }
    }
}

/// Opens a pipe or device to write to its end.
fn open_stream(path: &Path) -> Result<File, OutputDefect> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits().cast_signed();
    let opened = OpenOptions::new().append(true).custom_flags(flags).open(path);
    let stream =
        opened.map_err(|error| match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NXIO) => OutputDefect::NoReader,
            _ => error.into(),
        })?;
    // It was opened without waiting; a report that is longer than the pipe holds waits for its
    // reader.
    let flags = rustix::fs::fcntl_getfl(&stream).map_err(io::Error::from)?;
    rustix::fs::fcntl_setfl(&stream, flags - OFlags::NONBLOCK).map_err(io::Error::from)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, Mode, mknodat};

    use super::*;

    fn pipe(path: &Path) {
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    }

    #[test]
    fn what_is_no_regular_file_is_not_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::write(at("file"), b"old").expect("written");
        symlink(at("file"), at("link")).expect("a link");
        symlink(at("none"), at("dangling")).expect("a link");
        pipe(&at("pipe"));
        for name in ["link", "dangling", "pipe", "/dev/null", "", "none/file"] {
            assert!(probe_output(&at(name)).is_err(), "{name}");
        }
        probe_output(&at("file")).expect("a file may be replaced");
        probe_output(&at("new")).expect("a file may be made");
        assert_eq!(fs::read(at("file")).expect("there"), b"old");
        let count = fs::read_dir(directory.path()).expect("readable").count();
        assert_eq!(count, 4, "nothing is left behind");
    }

    #[test]
    fn a_report_goes_to_a_pipe_or_device_and_replaces_neither_these_nor_links() {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        pipe(&at("pipe"));
        let alone = ReportOutput::open(&at("pipe")).expect_err("nobody reads");
        assert!(matches!(alone.defect, OutputDefect::NoReader));
        let flags = OFlags::NONBLOCK.bits().cast_signed();
        let reader = OpenOptions::new().read(true).custom_flags(flags).open(at("pipe"));
        let mut reader = reader.expect("opened");
        ReportOutput::open(&at("pipe")).expect("a reader").write(b"report").expect("written");
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("read");
        assert_eq!(text, "report");
        symlink(at("file"), at("link")).expect("a link");
        assert!(ReportOutput::open(&at("link")).is_err());
        ReportOutput::open(Path::new("/dev/null")).expect("taken").write(b"x").expect("written");
        let kind = fs::metadata("/dev/null").expect("there").file_type();
        assert!(kind.is_char_device());
        assert!(matches!(ReportOutput::open(Path::new("/dev/stdout")), Ok(ReportOutput::Stdout)));
        assert!(ReportOutput::open(directory.path()).is_err());
    }
}
