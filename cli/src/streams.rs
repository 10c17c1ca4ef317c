//! Standard output and standard error, which may be closed, full, or a pipe that nobody reads.
//!
//! What is said on standard error helps people and changes no outcome: if it cannot be written, it
//! is lost. What is printed on standard output is an answer: if it cannot be written, the command
//! has failed, unless its reader has gone away, such as `head`.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Whether each line on standard error is a JSON object. One for the process, as standard error is.
static LINES_ARE_JSON: AtomicBool = AtomicBool::new(false);
/// Whether an error is a JSON object, as with `--json`.
static ERRORS_ARE_JSON: AtomicBool = AtomicBool::new(false);

/// Says how standard error is written from now on.
pub(crate) fn set_form(lines_are_json: bool, errors_are_json: bool) {
    LINES_ARE_JSON.store(lines_are_json, Ordering::Relaxed);
    ERRORS_ARE_JSON.store(errors_are_json, Ordering::Relaxed);
}

/// Whether each line on standard error is a JSON object.
pub(crate) fn lines_are_json() -> bool {
    LINES_ARE_JSON.load(Ordering::Relaxed)
}

/// Whether an error on standard error is a JSON object.
pub(crate) fn errors_are_json() -> bool {
    lines_are_json() || ERRORS_ARE_JSON.load(Ordering::Relaxed)
}

/// Writes a line on standard error, if it can be written.
macro_rules! say {
    ($($text:tt)*) => { $crate::streams::said(format_args!($($text)*)) };
}
pub(crate) use say;

/// What [`say!`] does.
pub(crate) fn said(text: Arguments<'_>) {
    if lines_are_json() {
        return say_with(&text.to_string(), &Value::Null);
    }
    write_line(&text.to_string());
}

/// Writes a line on standard error: text as it is, or a JSON object with the text and these fields.
pub(crate) fn say_with(text: &str, fields: &Value) {
    if !lines_are_json() {
        return write_line(text);
    }
    let (level, message) = match text.split_once(": ") {
        Some(("error", message)) => ("ERROR", message),
        Some(("warning", message)) => ("WARN", message),
        Some(("note", message)) => ("INFO", message),
        _ => ("INFO", text),
    };
    let mut line = event(level, message);
    line.extend(fields.as_object().cloned().unwrap_or_default());
    write_line(&Value::Object(line).to_string());
}

/// Writes an error as a JSON object, where that was asked for; `false` where it is to be text.
pub(crate) fn say_error(error: Value) -> bool {
    let mut line = match (lines_are_json(), ERRORS_ARE_JSON.load(Ordering::Relaxed)) {
        (false, false) => return false,
        (false, true) => Map::new(),
        (true, _) => event("ERROR", error["message"].as_str().unwrap_or_default()),
    };
    line.insert("error".to_owned(), error);
    write_line(&Value::Object(line).to_string());
    true
}

/// What every line has in JSON.
fn event(level: &str, message: &str) -> Map<String, Value> {
    // Every year that a clock can have here has four digits.
    let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap_or_default();
    let fields = [("timestamp", now.as_str()), ("level", level), ("message", message)];
    fields.map(|(name, value)| (name.to_owned(), value.into())).into_iter().collect()
}

fn write_line(line: &str) {
    // In one call: lines of several threads do not mix.
    let _ = io::stderr().lock().write_all(format!("{line}\n").as_bytes());
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
