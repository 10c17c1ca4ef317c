//! Final reports on standard output: text for people, JSON for programs.

use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_files::leftovers::Leftovers;
use serde::Serialize;

use crate::args::{OutputArgs, ReportArgs};
use crate::failure::Failure;

/// A report and how long its run took.
#[derive(Serialize)]
struct Timed<'a, R: Serialize> {
    #[serde(flatten)]
    report: &'a R,
    seconds: f64,
}

/// Prints a report: as JSON where that was asked for, else as text.
pub(crate) fn print(
    output: &OutputArgs,
    report: &impl Serialize,
    took: Duration,
    text: impl FnOnce() -> String,
) -> Result<(), Failure> {
    if output.json {
        let timed = Timed { report, seconds: took.as_secs_f64() };
        return line(&serde_json::to_string_pretty(&timed).map_err(Failure::failed)?);
    }
    line(&text())
}

/// Prints text and a line end on standard output.
///
/// A reader that closes the pipe, such as `head`, has read what it wanted: that is no failure.
///
/// # Errors
/// Any error of the system, such as that the disk is full.
pub(crate) fn line(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let printed = writeln!(out, "{text}").and_then(|()| out.flush());
    match printed {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(Failure::failed(format!("cannot print the report: {error}")))
        }
        _ => Ok(()),
    }
}

/// Writes a report as JSON, and the ids of rows left over as a list, to files that appear whole
/// or not at all.
pub(crate) fn write(
    to: &ReportArgs,
    report: &impl Serialize,
    leftovers: &Leftovers,
) -> Result<(), Failure> {
    let write = |path: &Path, bytes: &[u8]| {
        durable::write_whole(path, bytes).on("write", path).map_err(Failure::failed)
    };
    if let Some(path) = &to.report {
        let mut json = serde_json::to_vec_pretty(report).map_err(Failure::failed)?;
        json.push(b'\n');
        write(path, &json)?;
    }
    if let Some(path) = to.leftover_ids.as_ref().filter(|_| !leftovers.is_empty()) {
        let mut ids: Vec<i64> = leftovers.ids().collect();
        ids.sort_unstable();
        let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
        write(path, lines.as_bytes())?;
    }
    Ok(())
}
