//! One line of a run report, and the files that have such lines.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use reshare_engine::fingerprint::Fingerprint;
use reshare_files::file_error::OnFile;
use reshare_files::input_file::open_input;
use reshare_format::session::Session;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::OffsetDateTime;

use super::samples::Sample;
use crate::failure::Failure;

/// What says that a line is one of these, and how it is to be read.
pub(super) const FORMAT: &str = "reshare-run";
pub(super) const VERSION: u64 = 1;

/// The largest file that is read, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 30;

/// What a run was and how it went. It holds no share, no key and no name of a machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunRecord {
    pub(crate) format: String,
    pub(crate) version: u64,
    /// The version of the program.
    pub(crate) program: String,
    pub(crate) command: String,
    pub(crate) session_id: String,
    pub(crate) fingerprint: String,
    /// Whose run it was; `None` where it ended before that was known.
    pub(crate) party: Option<u8>,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) started_at: OffsetDateTime,
    #[serde(with = "time::serde::rfc3339")]
    pub(crate) ended_at: OffsetDateTime,
    /// By a clock that nobody sets.
    pub(crate) seconds: f64,
    pub(crate) exit_code: u8,
    pub(crate) error: Option<RunError>,
    /// Requests to the receiver that were tried again; `None` where the command makes none.
    pub(crate) retries: Option<u64>,
    /// A signed receipt that the run wrote.
    pub(crate) receipt: Option<String>,
    /// What the command prints with `--json`.
    pub(crate) report: Option<Value>,
    pub(crate) stages: Vec<RunStage>,
    pub(crate) samples: Vec<Sample>,
}

/// Why a run ended, as `--json` says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunError {
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) causes: Vec<String>,
    pub(crate) note: Option<String>,
    pub(crate) hint: Option<String>,
}

/// What a run did for a while.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunStage {
    pub(crate) name: String,
    /// Seconds since the run began.
    pub(crate) begin: f64,
    pub(crate) end: f64,
    pub(crate) rows: u64,
    /// Rows that an earlier run had done.
    pub(crate) rows_skipped: u64,
    pub(crate) bytes: u64,
}

impl RunRecord {
    /// How it ended, in a word or two.
    pub(crate) fn outcome(&self) -> &'static str {
        match self.exit_code {
            0 => "done",
            1 => "failed",
            2 => "not understood",
            3 => "rows left over",
            4 => "refused",
            130 => "interrupted",
            143 => "terminated",
            _ => "ended",
        }
    }

    /// A number of its report.
    pub(crate) fn number(&self, name: &str) -> Option<u64> {
        self.report.as_ref()?.get(name)?.as_u64()
    }
}

/// The directory of a session's run reports in a state directory.
pub(crate) fn directory_in(state: &Path, fingerprint: &Fingerprint) -> PathBuf {
    state.join(fingerprint.to_string())
}

/// The file of a party's runs.
pub(super) fn file_name(party: Option<u8>) -> String {
    party.map_or_else(|| "runs.jsonl".to_owned(), |party| format!("runs-{party}.jsonl"))
}

/// The files with runs of a session in a state directory, in order.
///
/// # Errors
/// A [`Failure`] when the directory cannot be read.
pub(crate) fn files_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let is_ours = |name: &str| name.starts_with("runs") && name.ends_with(".jsonl");
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.on("read", directory).map_err(Failure::failed)?,
    };
    let entries = entries.collect::<io::Result<Vec<_>>>();
    let entries = entries.on("read", directory).map_err(Failure::failed)?;
    let mut files: Vec<PathBuf> = entries
        .iter()
        .filter(|entry| entry.file_name().to_str().is_some_and(is_ours))
        .map(fs::DirEntry::path)
        .collect();
    files.sort();
    Ok(files)
}

/// Reads the runs of a session from a file.
///
/// # Errors
/// A [`Failure`] when the file cannot be read, or of the first line that is no run of this session,
/// with its number.
pub(crate) fn read(path: &Path, session: &Session) -> Result<Vec<RunRecord>, Failure> {
    let mut bytes = Vec::new();
    let file =
        open_input(path).and_then(|file| file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes));
    file.on("read", path).map_err(Failure::failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        let error = format!("{} has more than {MAX_FILE_BYTES} bytes", path.display());
        return Err(Failure::refused(error));
    }
    let mut records = Vec::new();
    for (place, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let record = parse(line, session).map_err(|why| {
            let error = format!("{}, line {}: {why}", path.display(), place + 1);
            Failure::refused(error).hint(
                "a run that lost its disk or its power may leave half a line: take that line out of a copy, and \
                 give the copy with --runs",
            )
        })?;
        records.push(record);
    }
    Ok(records)
}

fn parse(line: &[u8], session: &Session) -> Result<RunRecord, String> {
    #[derive(Deserialize)]
    struct Head {
        format: String,
        version: u64,
        fingerprint: String,
    }
    // Errors of the parser show nothing of the line but names and places.
    let damaged = |error: serde_json::Error| format!("it is no run report ({error})");
    let head: Head = serde_json::from_slice(line).map_err(damaged)?;
    if head.format != FORMAT {
        return Err("it is no run report".to_owned());
    }
    if head.version != VERSION {
        let version = head.version;
        return Err(format!("it has version {version}, but this program reads {VERSION}"));
    }
    if head.fingerprint != session.fingerprint().to_string() {
        return Err("it is about another session".to_owned());
    }
    serde_json::from_slice(line).map_err(damaged)
}
