//! Final reports on standard output: text for people, JSON for programs.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use reshare_files::file_error::OnFile;
use reshare_files::leftovers::Leftovers;
use reshare_files::output_file::ReportOutput;
use serde::Serialize;

use crate::args::{OutputArgs, ReportArgs};
use crate::failure::Failure;
use crate::runs;
use crate::streams;

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
    runs::report(report);
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
    bytes(format!("{text}\n").as_bytes())
}

/// As [`line`], of text that has its line end.
pub(crate) fn bytes(text: &[u8]) -> Result<(), Failure> {
    streams::print(text).map_err(not_printed)
}

/// As [`line`], but what nobody has read is a failure: it is not printed again.
pub(crate) fn line_once(text: &str) -> Result<(), Failure> {
    streams::print_all(format!("{text}\n").as_bytes()).map_err(not_printed)
}

fn not_printed(error: std::io::Error) -> Failure {
    Failure::failed(format!("cannot print the report: {error}"))
}

/// The files that a report goes to, opened before the work.
#[derive(Debug)]
pub(crate) struct ReportFiles {
    report: Option<ReportOutput>,
    leftover_ids: Option<ReportOutput>,
}

impl ReportFiles {
    /// Finds out that the files can be written, and opens those that are pipes or terminals.
    pub(crate) fn open(args: &ReportArgs) -> Result<Self, Failure> {
        let open = |path: &Option<PathBuf>, flag| {
            let opened = path.as_deref().map(ReportOutput::open).transpose();
            opened.map_err(|error| Failure::of_output(error, flag))
        };
        Ok(Self {
            report: open(&args.report, "--report")?,
            leftover_ids: open(&args.leftover_ids, "--leftover-ids")?,
        })
    }

    /// Writes a report as JSON, and the ids of rows left over as a list, if there are any.
    pub(crate) fn write(
        mut self,
        report: &impl Serialize,
        leftovers: &Leftovers,
    ) -> Result<(), Failure> {
        let write = |to: &mut ReportOutput, bytes: &[u8]| match to.write(bytes) {
            // Its reader has read what it wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.on("write", to.path()).map_err(Failure::failed),
        };
        if let Some(to) = &mut self.report {
            let mut json = serde_json::to_vec_pretty(report).map_err(Failure::failed)?;
            json.push(b'\n');
            write(to, &json)?;
        }
        if let Some(to) = self.leftover_ids.as_mut().filter(|_| !leftovers.is_empty()) {
            let mut ids: Vec<i64> = leftovers.ids().collect();
            ids.sort_unstable();
            let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
            write(to, lines.as_bytes())?;
        }
        Ok(())
    }
}
