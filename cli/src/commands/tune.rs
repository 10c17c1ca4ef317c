//! `reshare tune`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reshare_engine::layout::RowLayout;
use reshare_pipeline::tune::{
    DatabaseSpeed, MachineSpeed, Speed, TuneError, fewest_workers, measure_database,
    measure_machine,
};
use reshare_pipeline::workers::{OnBadRow, Source};
use reshare_postgres::table::{TableName, TableSpec};
use serde::Serialize;

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::setup::database::database;
use crate::text::human_duration;

#[derive(Debug, Args)]
pub(crate) struct TuneArgs {
    /// Rows of the run whose time is estimated
    #[arg(long, value_name = "N", default_value_t = 1_000_000)]
    rows: u64,

    /// About how long to measure, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,

    /// Directory on the disk of the packages: parts are written there, and removed again
    #[arg(long, value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// A database to measure, or env:NAME for the variable that holds its URL: COPY out of the
    /// table, and into a temporary one [default: none is measured]
    #[arg(long, value_name = "URL", help_heading = "Database")]
    db_url: Option<String>,

    /// Schema of the table
    #[arg(long, value_name = "SCHEMA", requires = "db_url", help_heading = "Database")]
    db_schema: Option<String>,

    /// The table, with the columns of an iris table
    #[arg(long, value_name = "NAME", default_value = "irises", help_heading = "Database")]
    table: String,
}

/// The measurements, and the recommendations that follow from them.
#[derive(Serialize)]
struct TuneReport {
    #[serde(flatten)]
    machine: MachineSpeed,
    #[serde(flatten)]
    database: Option<DatabaseSpeed>,
    recommended: Recommended,
    estimates: Vec<Estimate>,
    not_measured: Vec<&'static str>,
}

#[derive(Serialize)]
struct Recommended {
    batch_size: usize,
    threads: usize,
    connections: Option<usize>,
}

/// How long a stage takes for all rows, by itself.
#[derive(Serialize)]
struct Estimate {
    stage: &'static str,
    rows: u64,
    seconds: f64,
}

/// Costs of a real run that `tune` does not measure.
const NEVER_MEASURED: [&str; 3] = [
    "the network and the other machines",
    "opening and merging parts",
    "log, indexes, triggers and checks of the table that is loaded",
];

impl TuneArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let layout = Arc::new(RowLayout::iris());
        let source = self.source(&layout)?;
        let (report, took) =
            run(output, Rerun::StartsOver("nothing was changed"), |progress| async move {
                let mut time = Duration::from_secs(self.seconds);
                if source.is_some() {
                    time /= 2;
                }
                progress.begin("measure this machine", 0);
                let threads = reshare_pipeline::default_threads();
                let machine = tokio::task::block_in_place(|| {
                    measure_machine(&layout, &self.dir, threads, time, &progress)
                });
                let machine = machine.map_err(failure)?;
                let mut speed = None;
                if let Some(source) = &source {
                    progress.begin("measure the database", 0);
                    let measured = measure_database(source, threads.min(8), time, &progress).await;
                    speed = Some(measured.map_err(failure)?);
                }
                Ok(self.report(machine, speed))
            })?;
        report::print(output, &report, took, || report.text())?;
        Ok(Exit::Done)
    }

    fn source(&self, layout: &Arc<RowLayout>) -> Result<Option<Source>, Failure> {
        let Some(url) = &self.db_url else { return Ok(None) };
        let schema = self.db_schema.as_deref().ok_or_else(|| {
            Failure::usage("--db-url needs the schema of the table")
                .hint("give it with --db-schema")
        })?;
        let name = TableName::new(schema, &self.table).map_err(Failure::usage)?;
        let table = TableSpec::new(name, "id", Arc::clone(layout)).map_err(Failure::usage)?;
        Ok(Some(Source { database: database(Some(url))?, table, on_bad_row: OnBadRow::Refuse }))
    }

    fn report(&self, machine: MachineSpeed, database: Option<DatabaseSpeed>) -> TuneReport {
        let recommended = Recommended {
            batch_size: machine.batch_size(),
            threads: machine.threads(),
            connections: database.as_ref().and_then(DatabaseSpeed::connections),
        };
        let written = machine.write.iter().find(|write| write.batch_size == recommended.batch_size);
        let copies = |way: fn(&DatabaseSpeed) -> &[Speed]| {
            database.as_ref().and_then(|speed| fewest_workers(way(speed)))
        };
        let stages = [
            ("COPY out", copies(|speed| &speed.copy_out)),
            ("blind", machine.blind.iter().find(|it| it.workers == recommended.threads).copied()),
            ("seal", fewest_workers(&machine.seal)),
            ("blind, seal and write parts", written.map(|write| write.speed)),
            ("COPY in", copies(|speed| &speed.copy_in)),
        ];
        let mut not_measured = NEVER_MEASURED.to_vec();
        not_measured
            .extend(stages.iter().filter(|(_, speed)| speed.is_none()).map(|(name, _)| *name));
        let estimate = |(stage, speed): (&'static str, Option<Speed>)| {
            let seconds = self.rows as f64 / speed?.rows_per_second;
            Some(Estimate { stage, rows: self.rows, seconds })
        };
        let estimates = stages.into_iter().filter_map(estimate).collect();
        TuneReport { machine, database, recommended, estimates, not_measured }
    }
}

impl TuneReport {
    fn text(&self) -> String {
        let mut text = String::new();
        let by_parallel = |text: &mut String, what: &str, unit: &str, speeds: &[Speed]| {
            for speed in speeds {
                let (of, rate) = (speed.workers, rate(speed));
                let unit = if of == 1 { unit.trim_end_matches('s') } else { unit };
                text.push_str(&format!("{what:<12} {of:>3} {unit:<14} {rate}\n"));
            }
        };
        by_parallel(&mut text, "blind", "threads", &self.machine.blind);
        by_parallel(&mut text, "seal", "threads", &self.machine.seal);
        for write in &self.machine.write {
            let (rows, rate) = (write.batch_size, rate(&write.speed));
            text.push_str(&format!(
                "{:<12} {rows:>3} {:<14} {rate}\n",
                "write parts", "rows a part"
            ));
        }
        if let Some(database) = &self.database {
            by_parallel(&mut text, "COPY out", "connections", &database.copy_out);
            by_parallel(&mut text, "COPY in", "connections", &database.copy_in);
            if let Some(reason) = &database.copy_in_refused {
                text.push_str(&format!("COPY in: not measured: {reason}\n"));
            }
        }
        let Recommended { batch_size, threads, connections } = &self.recommended;
        text.push_str(&format!("\nbest here: --batch-size {batch_size} --threads {threads}"));
        if let Some(connections) = connections {
            text.push_str(&format!(" -j {connections}"));
        }
        for Estimate { stage, rows, seconds } in &self.estimates {
            let time = match *seconds {
                few if few < 60.0 => format!("{few:.1} s"),
                many => human_duration(Duration::from_secs_f64(many.min(1e12))),
            };
            text.push_str(&format!("\n{rows} rows: {stage}: {time}"));
        }
        text.push_str(
            "\nThese overlap in a run: the slowest of them sets the pace.\nNot measured: ",
        );
        text.push_str(&self.not_measured.join("; "));
        text
    }
}

fn rate(speed: &Speed) -> String {
    let megabytes = speed.share_bytes_per_second / 1e6;
    format!("{:>9.0} rows/s {megabytes:>8.1} MB/s", speed.rows_per_second)
}

fn failure(error: TuneError) -> Failure {
    match error {
        TuneError::Pipeline(error) => error.into(),
        TuneError::Directory(_) => Failure::failed(error).hint("name another one with --dir"),
        error => Failure::failed(error),
    }
}
