//! Standard output and standard error, which may be closed, full, or a pipe that nobody reads.
//!
//! What is said on standard error helps people and changes no outcome: if it cannot be written, it
//! is lost. What is printed on standard output is an answer: if it cannot be written, the command
//! has failed, unless its reader has gone away, such as `head`.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Writes a line on standard error, if it can be written.
macro_rules! say {
    ($($text:tt)*) => { $crate::streams::said(format_args!($($text)*)) };
}
pub(crate) use say;

/// What [`say!`] does.
pub(crate) fn said(text: Arguments<'_>) {
    // In one call: lines of several threads do not mix.
    let _ = io::stderr().lock().write_all(format!("{text}\n").as_bytes());
}

/// Standard error for a library that complains, or panics, when it cannot be written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LossyStderr;

impl Write for LossyStderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let _ = io::stderr().write_all(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes text on standard output as it is.
///
/// # Errors
/// Any error of the system, such as that the disk is full or that nobody reads the pipe.
pub(crate) fn print_all(text: &[u8]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush())
}

/// As [`print_all`], but a reader that has gone away has read what it wanted: that is no error.
///
/// # Errors
/// Any other error of the system.
pub(crate) fn print(text: &[u8]) -> io::Result<()> {
    match print_all(text) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        printed => printed,
    }
}
