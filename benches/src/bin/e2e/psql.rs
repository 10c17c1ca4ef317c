//! psql: what every other way of moving rows is held against.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Failure;
use crate::processes;

const COLUMNS: &str = "id, version_id, left_code, left_mask, right_code, right_mask";

/// A table of one party in one database.
pub(crate) struct Table<'a> {
    pub(crate) url: &'a str,
    /// Schema and name, quoted.
    pub(crate) name: &'a str,
}

impl Table<'_> {
    /// Runs SQL and returns what it gives, without decoration.
    pub(crate) fn sql(&self, sql: &str) -> Result<String, Failure> {
        Ok(processes::output(psql(self.url).args(["-A", "-t", "-c", sql]))?.trim().to_owned())
    }

    /// Copies the rows with ids from `first` to `last` to standard output.
    pub(crate) fn copy_out(&self, first: usize, last: usize) -> Command {
        let name = self.name;
        let rows = format!("SELECT {COLUMNS} FROM {name} WHERE id BETWEEN {first} AND {last}");
        let mut command = psql(self.url);
        command.arg("-c").arg(format!("COPY ({rows}) TO STDOUT (FORMAT binary)"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// Copies rows in from standard input.
    pub(crate) fn copy_in(&self) -> Command {
        let mut command = psql(self.url);
        command.arg("-c").arg(format!("COPY {} ({COLUMNS}) FROM STDIN (FORMAT binary)", self.name));
        command.stdout(Stdio::null());
        command
    }
}

/// Copies rows out of one table and through a pipe into another one.
pub(crate) fn pipe(
    from: &Table<'_>,
    to: &Table<'_>,
    [first, last]: [usize; 2],
) -> Result<[Command; 2], Failure> {
    let (reader, writer) = std::io::pipe()?;
    let (mut out, mut into) = (from.copy_out(first, last), to.copy_in());
    out.stdout(writer);
    into.stdin(reader);
    Ok([out, into])
}

/// A command's standard output as a new file.
pub(crate) fn to_file(command: &mut Command, path: &Path) -> Result<(), Failure> {
    command.stdout(File::create(path)?);
    Ok(())
}

/// A command's standard input from a file.
pub(crate) fn from_file(command: &mut Command, path: &Path) -> Result<(), Failure> {
    command.stdin(File::open(path)?);
    Ok(())
}

pub(crate) fn psql(url: &str) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url]);
    command
}
