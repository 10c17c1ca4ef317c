//! `reshare verify`.

use std::path::PathBuf;

use clap::Args;
use reshare_io::pipeline::error::PipelineError;
use reshare_io::pipeline::verify::{verify_file, verify_tables};
use reshare_io::pipeline::workers::Source;
use reshare_io::postgres::compare::{Comparison, Difference};
use reshare_io::share_file;
use serde::Serialize;

use super::context::{Context, database, table_of, workers};
use crate::args::{ConnectionArgs, OutputArgs, SessionArgs, WorkArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::report;
use crate::run::run;

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// A database, or env:NAME: given twice to compare two tables, once beside --file
    #[arg(long, value_name = "URL", required = true, num_args = 1)]
    db_url: Vec<String>,

    /// Schema of the table, once for each --db-url [default: SMPC_{environment}_{party} of
    /// --party-id, else of the receiver]
    #[arg(long, value_name = "SCHEMA", num_args = 1)]
    db_schema: Vec<String>,

    /// Compare this share file with the table
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    #[command(flatten)]
    connections: ConnectionArgs,

    #[command(flatten)]
    work: WorkArgs,
}

/// What a comparison found.
#[derive(Debug, Serialize)]
struct VerifyReport {
    equal: bool,
    rows_equal: u64,
    differing: u64,
    first_differences: Vec<ListedDifference>,
}

#[derive(Debug, Serialize)]
struct ListedDifference {
    id: i64,
    difference: String,
}

impl VerifyArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let context = Context::open(&self.session)?;
        let sides = self.sides(&context)?;
        let workers = workers(self.connections.count(), &self.work);
        let (comparison, took) = run(output, |progress| async move {
            let compared = match (&self.file, sides.as_slice()) {
                (Some(file), [table]) => {
                    let kind = share_file::inspect(file).map_err(PipelineError::from)?.spec.kind;
                    let session = &context.session;
                    verify_file(session, file, kind, table, workers, &progress).await
                }
                (None, [left, right]) => {
                    let within = context.session.ids().range();
                    verify_tables(left, right, within, workers, &progress).await
                }
                _ => {
                    let error = "give --db-url twice, or once with --file";
                    return Err(Failure::usage(error));
                }
            };
            compared.map_err(Failure::from)
        })?;
        let report = VerifyReport::of(comparison);
        report::print(output, &report, took, || report.text())?;
        Ok(if report.equal { Exit::Done } else { Exit::Refused })
    }

    fn sides(&self, context: &Context) -> Result<Vec<Source>, Failure> {
        if !self.db_schema.is_empty() && self.db_schema.len() != self.db_url.len() {
            return Err(Failure::usage("give --db-schema as often as --db-url, or not at all"));
        }
        let session = &context.session;
        let named = self.session.checks.party_id.map(reshare_engine::party::PartyId::try_from);
        let party = named.transpose().map_err(Failure::usage)?.unwrap_or(session.receiver().party);
        let side = |(index, url): (usize, &String)| {
            let schema = self.db_schema.get(index).map(String::as_str);
            let table = table_of(session, party, schema)?;
            Ok(Source { database: database(Some(url))?, table })
        };
        self.db_url.iter().enumerate().map(side).collect()
    }
}

impl VerifyReport {
    fn of(comparison: Comparison) -> Self {
        let equal = comparison.is_equal();
        let listed = |(id, difference): (i64, Difference)| ListedDifference {
            id,
            difference: match difference {
                Difference::MissingLeft => "only the right side has it".to_owned(),
                Difference::MissingRight => "only the left side has it".to_owned(),
                Difference::Column(name) => format!("column {name} differs"),
            },
        };
        Self {
            equal,
            rows_equal: comparison.rows_equal,
            differing: comparison.differing,
            first_differences: comparison.first_differences.into_iter().map(listed).collect(),
        }
    }

    fn text(&self) -> String {
        if self.equal {
            return format!("equal: all {} rows, bit for bit", self.rows_equal);
        }
        let mut text =
            format!("not equal: {} rows are, {} are not", self.rows_equal, self.differing);
        for ListedDifference { id, difference } in &self.first_differences {
            text.push_str(&format!("\n  id {id}: {difference}"));
        }
        text
    }
}
