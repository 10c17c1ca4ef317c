//! `reshare verify`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use reshare_io::pipeline::error::PipelineError;
use reshare_io::pipeline::packages::Packages;
use reshare_io::pipeline::verify::{
    PackagesComparison, verify_file, verify_packages, verify_tables,
};
use reshare_io::pipeline::workers::Source;
use reshare_io::postgres::compare::Difference;
use reshare_io::postgres::progress::Leftovers;
use reshare_io::share_file;
use serde::Serialize;

use super::context::{Context, database, table_of, workers};
use crate::args::{AuthorityArgs, ConnectionArgs, OutputArgs, PackagesArgs, SessionArgs, WorkArgs};
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

    /// Compare the table with the packages that it was rebuilt from: give it twice, one of each
    /// sender; no other database is needed
    #[arg(
        long = "package",
        value_name = "DIR",
        num_args = 1,
        conflicts_with = "file",
        requires = "identity"
    )]
    packages: Vec<PathBuf>,

    /// With --package: the receiver's age identity, a file of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_IDENTITY")]
    identity: Option<PathBuf>,

    #[command(flatten)]
    authority: AuthorityArgs,

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
    /// Rows that cannot be rebuilt from the packages, and so are not compared.
    left_over: u64,
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
        let packages = self.packages(&context)?;
        let context = &context;
        let (compared, took) = run(output, |progress| async move {
            let compared = match (&self.file, packages, sides.as_slice()) {
                (None, Some(packages), [table]) => {
                    let compared = verify_packages(packages, table, workers, &progress);
                    return compared.await.map_err(Failure::from);
                }
                (Some(file), None, [table]) => {
                    let kind = share_file::inspect(file).map_err(PipelineError::from)?.spec.kind;
                    let session = &context.session;
                    verify_file(session, file, kind, table, workers, &progress).await
                }
                (None, None, [left, right]) => {
                    let ids = context.row_ids()?;
                    verify_tables(left, right, &ids, workers, &progress).await
                }
                _ => {
                    let error = "give --db-url twice, or once with --file or two --package";
                    return Err(Failure::usage(error));
                }
            };
            let comparison = compared.map_err(Failure::from)?;
            Ok(PackagesComparison { comparison, leftovers: Leftovers::default() })
        })?;
        let report = VerifyReport::of(compared);
        report::print(output, &report, took, || report.text())?;
        Ok(if report.equal { Exit::Done } else { Exit::Refused })
    }

    /// The packages that the table is compared with, where there are any.
    fn packages(&self, context: &Context) -> Result<Option<Arc<Packages>>, Failure> {
        let Some(identity) = self.identity.clone().filter(|_| !self.packages.is_empty()) else {
            return Ok(None);
        };
        let (packages, authority) = (self.packages.clone(), self.authority.clone());
        context.packages(&PackagesArgs { packages, identity, authority }).map(Some)
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
    fn of(compared: PackagesComparison) -> Self {
        let PackagesComparison { comparison, leftovers } = compared;
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
            left_over: leftovers.len() as u64,
        }
    }

    fn text(&self) -> String {
        let mut text = match self.equal {
            true => format!("equal: all {} rows, bit for bit", self.rows_equal),
            false => format!("not equal: {} rows are, {} are not", self.rows_equal, self.differing),
        };
        if self.left_over > 0 {
            text.push_str(&format!("\nnot compared: {} rows that were left over", self.left_over));
        }
        for ListedDifference { id, difference } in &self.first_differences {
            text.push_str(&format!("\n  id {id}: {difference}"));
        }
        text
    }
}
