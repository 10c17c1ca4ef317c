//! `reshare demo`: the whole job once, on synthetic records.

use std::path::PathBuf;

use clap::Args;
use reshare_files::durable;
use reshare_fixtures::postgres::PostgresError;
use serde::Serialize;

use self::databases::Databases;
use self::parties::Parties;
use self::stages::{Demo, Stages, TimedStage};
use crate::args::{ConnectionArgs, OutputArgs, WorkArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::streams::say;

mod databases;
mod delivery;
mod files;
mod parties;
mod stages;
mod tables;

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {
    /// Rows of every party
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    rows: usize,

    /// The two parties that send
    #[arg(long, value_name = "PARTY,PARTY", value_delimiter = ',', default_values_t = [0, 1])]
    senders: Vec<u64>,

    /// The party whose share is rebuilt
    #[arg(long, value_name = "PARTY", default_value_t = 2)]
    target: u64,

    /// Seed of the records
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,

    /// Keep keys, session and packages in this new directory
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,

    /// Databases of your own, empty: those of party 0, 1 and 2, and the one to rebuild into
    /// [default: a throw-away PostgreSQL]
    #[arg(long, value_name = "URL", num_args = 1)]
    db_url: Vec<String>,

    #[command(flatten)]
    connections: ConnectionArgs,

    #[command(flatten)]
    work: WorkArgs,
}

/// The results of the demo.
#[derive(Debug, Serialize)]
struct DemoReport {
    /// Whether databases took part, or only files.
    databases: bool,
    rows: u64,
    equal: bool,
    stages: Vec<TimedStage>,
}

impl DemoArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let directory = self.directory()?;
        let path = directory.path();
        let parties = Parties::make(&self.senders, self.target, self.rows, path)?;
        let workers = crate::setup::database::workers(self.connections.count(), &self.work);
        let databases = self.databases(output)?;
        let with_databases = databases.is_some();
        let ((equal, stages), took) =
            run(output, Rerun::StartsOver("the demo is not finished"), |progress| async {
                let directory = path.to_owned();
                let (rows, seed) = (self.rows, self.seed);
                let row_bytes = parties.session.layout().row_share_bytes() as u64;
                let mut stages = Stages { row_bytes, rows: rows as u64, done: Vec::new() };
                let demo = Demo { parties, rows, seed, workers, directory, progress };
                let equal = match &databases {
                    Some(databases) => tables::demo(&demo, databases, &mut stages).await?,
                    None => files::demo(&demo, &mut stages).await?,
                };
                Ok((equal, stages.done))
            })?;
        let report =
            DemoReport { databases: with_databases, rows: self.rows as u64, equal, stages };
        report::print(output, &report, took, || report.text(self))?;
        Ok(if equal { Exit::Done } else { Exit::Refused })
    }

    /// A new directory: kept where that was asked for, else removed at the end.
    fn directory(&self) -> Result<Directory, Failure> {
        let Some(keep) = &self.keep else {
            let temporary = tempfile::Builder::new().prefix("reshare-demo-").tempdir();
            return Ok(Directory::Temporary(temporary.map_err(Failure::failed)?));
        };
        if keep.exists() {
            let error = format!("{} exists already", keep.display());
            return Err(Failure::usage(error).hint("--keep makes a new directory"));
        }
        durable::create_directory(keep).map_err(Failure::failed)?;
        Ok(Directory::Kept(keep.clone()))
    }

    /// The databases, unless there is no PostgreSQL on this machine.
    fn databases(&self, output: &OutputArgs) -> Result<Option<Databases>, Failure> {
        if !self.db_url.is_empty() {
            return Databases::given(&self.db_url).map(Some);
        }
        match Databases::throw_away() {
            Ok(databases) => Ok(Some(databases)),
            Err(PostgresError::NotInstalled { .. }) => {
                if !output.quiet {
                    say!(
                        "no PostgreSQL server is installed here: showing the file path only \
                         (`make setup` installs one)"
                    );
                }
                Ok(None)
            }
            Err(error) => Err(Failure::failed(error)),
        }
    }
}

/// Where the demo writes.
enum Directory {
    Temporary(tempfile::TempDir),
    Kept(PathBuf),
}

impl Directory {
    fn path(&self) -> &std::path::Path {
        match self {
            Self::Temporary(directory) => directory.path(),
            Self::Kept(path) => path,
        }
    }
}

impl DemoReport {
    fn text(&self, args: &DemoArgs) -> String {
        let mut text = format!(
            "{:<28} {:>10} {:>9} {:>10} {:>9}",
            "stage", "rows", "seconds", "rows/s", "MB/s"
        );
        for TimedStage { stage, rows, share_bytes, seconds } in &self.stages {
            let seconds = seconds.max(1e-9);
            let (rate, megabytes) = (*rows as f64 / seconds, *share_bytes as f64 / 1e6 / seconds);
            text.push_str(&format!(
                "\n{stage:<28} {rows:>10} {seconds:>9.2} {rate:>10.0} {megabytes:>9.1}"
            ));
        }
        let what = if self.databases { "table" } else { "share file" };
        let result = if self.equal {
            format!(
                "\nequal: every one of the {} rows of the rebuilt {what} equals the reference {what}, bit for bit",
                self.rows
            )
        } else {
            format!("\nNOT equal: the rebuilt {what} differs from the reference {what}")
        };
        text.push_str(&result);
        if !self.databases {
            text.push_str(
                "\nno database took part: this was the file path only, on generated share files",
            );
        }
        if let Some(keep) = &args.keep {
            text.push_str(&format!("\nkept in {}", keep.display()));
        }
        text
    }
}
