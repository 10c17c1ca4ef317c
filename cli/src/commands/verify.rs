//! `reshare verify`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use reshare_files::leftovers::Leftovers;
use reshare_format::receipt::Compared;
use reshare_format::session::Session;
use reshare_format::share_file::{self, Kind};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::verify::{PackagesComparison, verify_file, verify_packages, verify_tables};
use reshare_pipeline::workers::Source;
use reshare_postgres::compare::Difference;
use reshare_postgres::verified::{LoadMark, VERIFIED_TABLE, load_state, record_verified};
use serde::Serialize;

use crate::args::{
    AuthorityArgs, CertificateArgs, ConnectionArgs, OutputArgs, PackagesArgs, SessionArgs, WorkArgs,
};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::{block_on, run};
use crate::setup::context::Context;
use crate::setup::database::{database, table_of, workers};
use crate::setup::receipt::ReceiptSigner;
use crate::text::{counted, printable};

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// URL of a database, or env:NAME: give it twice to compare two tables, once with --file or
    /// --package
    #[arg(long, value_name = "URL", required = true, num_args = 1)]
    db_url: Vec<String>,

    /// Schema of the table, once for each --db-url [default: SMPC_{environment}_{party} of
    /// --party-id, else of the receiver]
    #[arg(long, value_name = "SCHEMA", num_args = 1)]
    db_schema: Vec<String>,

    /// Compare this share file with the table
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,

    /// Compare the table with the packages that it was rebuilt from: give it twice, once for each
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

    /// With --package: if everything is equal, sign a receipt with the receiver's certificate and
    /// write it to this file. A sender gives it to `purge`
    #[arg(long, value_name = "FILE", requires = "packages")]
    receipt: Option<PathBuf>,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    certificate: CertificateArgs,

    #[command(flatten)]
    connections: ConnectionArgs,

    #[command(flatten)]
    work: WorkArgs,
}

/// The result of a comparison.
#[derive(Debug, Serialize)]
struct VerifyReport {
    equal: bool,
    rows_equal: u64,
    differing: u64,
    first_differences: Vec<ListedDifference>,
    /// Rows that cannot be rebuilt from the packages, and so are not compared.
    left_over: u64,
    /// Whether this is recorded next to the table, where `purge` looks for it.
    load_verified: bool,
    /// The signed receipt, if one was requested and everything is equal.
    receipt: Option<String>,
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
        let signer = self.signer(&context.session)?;
        let workers = workers(self.connections.count(), &self.work);
        let packages = self.packages(&context)?;
        let received = packages.as_ref().map(|packages| packages.received());
        let (context, sides) = (&context, sides.as_slice());
        let mark = self.load_mark(&context.session, sides)?;
        let (compared, took) =
            run(output, Rerun::StartsOver("nothing was changed"), |progress| async move {
                let compared = match (&self.file, packages, sides) {
                    (None, Some(packages), [table]) => {
                        let compared = verify_packages(packages, table, workers, &progress);
                        return compared.await.map_err(Failure::from);
                    }
                    (Some(file), None, [table]) => {
                        let kind =
                            share_file::inspect(file).map_err(PipelineError::from)?.spec.kind;
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
        let mut report = VerifyReport::of(compared);
        if let (true, Some(mark), [table]) = (report.equal, mark, sides) {
            let against = if self.file.is_some() { "share file" } else { "packages" };
            report.load_verified = report.record(&context.session, table, mark, against);
        }
        if let (true, Some(signer), Some(packages)) = (report.load_verified, &signer, received) {
            let (rows, left_over) = (report.rows_equal, report.left_over);
            let written = signer.write(&context.session, Compared { packages, rows, left_over })?;
            report.receipt = Some(written.display().to_string());
        }
        report::print(output, &report, took, || report.text())?;
        if signer.is_some() && report.receipt.is_none() {
            return Err(report.no_receipt());
        }
        Ok(if report.equal { Exit::Done } else { Exit::Refused })
    }

    /// What a receipt is signed with, if one is requested.
    fn signer(&self, session: &Session) -> Result<Option<ReceiptSigner>, Failure> {
        let open =
            |path: &PathBuf| ReceiptSigner::open(session, path, &self.authority, &self.certificate);
        self.receipt.as_ref().map(open).transpose()
    }

    /// The packages that the table is compared with, if there are any.
    fn packages(&self, context: &Context) -> Result<Option<Arc<Packages>>, Failure> {
        let Some(identity) = self.identity.clone().filter(|_| !self.packages.is_empty()) else {
            return Ok(None);
        };
        let (packages, authority) = (self.packages.clone(), self.authority.clone());
        context.packages(&PackagesArgs { packages, identity, authority }).map(Some)
    }

    /// The load that this comparison is about: where both packages, or a merged file that holds
    /// all that the session is about, are compared with one table.
    fn load_mark(&self, session: &Session, sides: &[Source]) -> Result<Option<LoadMark>, Failure> {
        let [table] = sides else { return Ok(None) };
        if let Some(file) = &self.file {
            let header = share_file::inspect(file).map_err(PipelineError::from)?;
            let spec = &header.spec;
            let is_all = spec.kind == Kind::Rebuilt && spec.ids == session.ids().range();
            if !is_all || spec.fingerprint != session.fingerprint() {
                return Ok(None);
            }
        }
        let name = table.table.name();
        let state = block_on(async {
            let state = load_state(&table.database, name, session.fingerprint()).await;
            state.map_err(|error| Failure::from(PipelineError::from(error)))
        });
        // A role that may only read the table can still compare.
        let why = match state.map(|state| state.mark()) {
            Ok(Some(mark)) => return Ok(Some(mark)),
            Ok(None) => format!("this session has loaded nothing into {name}"),
            Err(failure) => {
                let causes = printable(&failure.causes().join(": "));
                format!("what this session has loaded into {name} cannot be read ({causes})")
            }
        };
        eprintln!("note: {why}: nothing is recorded as verified");
        Ok(None)
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
    /// Records that a load is equal to what was delivered, and returns whether that was possible: the
    /// comparison stands in any case.
    fn record(&self, session: &Session, table: &Source, mark: LoadMark, against: &str) -> bool {
        let rows = self.rows_equal;
        let name = table.table.name();
        if mark.rows() != rows {
            let loaded = mark.rows();
            eprintln!(
                "note: {rows} rows are equal, but this session has loaded {loaded}: the load is not \
                 recorded as verified"
            );
            return false;
        }
        let recorded = block_on(async {
            let fingerprint = session.fingerprint();
            let recorded = record_verified(&table.database, name, fingerprint, mark, against);
            recorded.await.map_err(|error| Failure::from(PipelineError::from(error)))
        });
        if let Err(failure) = &recorded {
            let why = printable(&failure.causes().join(": "));
            eprintln!(
                "note: the load is verified, but this could not be recorded in {VERIFIED_TABLE} next \
                 to {name}, where `purge` looks for it: {why}"
            );
        }
        recorded.is_ok()
    }

    /// Why no receipt was signed although one was requested.
    fn no_receipt(&self) -> Failure {
        if !self.equal {
            let error = "no receipt is signed: the table differs from the packages";
            return Failure::refused(error)
                .hint("`reshare rebuild` loads what is missing; look at the rows that differ");
        }
        let error = "no receipt is signed: the load of this session is not recorded as verified";
        Failure::refused(error)
            .hint("give the role and the table that `rebuild` has loaded with; see the note above")
    }

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
            load_verified: false,
            receipt: None,
        }
    }

    fn text(&self) -> String {
        let Self { rows_equal, differing, left_over, .. } = self;
        let mut text = match (self.equal, rows_equal) {
            (true, 0) if *left_over > 0 => {
                let rows = counted(*left_over, "row");
                format!("nothing to compare: {rows} left over, and no other")
            }
            (true, 0) => "equal: neither side has a row with an id of the session".to_owned(),
            (true, 1) => "equal: the one row there is, bit for bit".to_owned(),
            (true, rows) => format!("equal: all {rows} rows, bit for bit"),
            (false, _) => format!(
                "not equal: {} not the same on both sides, {} equal",
                is_or_are(*differing),
                is_or_are(*rows_equal)
            ),
        };
        if self.load_verified {
            text.push_str("; recorded: the load is verified");
        }
        if let Some(path) = &self.receipt {
            text.push_str(&format!("\nreceipt for both senders: {path}"));
        }
        if *left_over > 0 && (*rows_equal > 0 || !self.equal) {
            let rows = counted(*left_over, "row");
            text.push_str(&format!("\nnot compared: {rows} left over"));
        }
        for ListedDifference { id, difference } in &self.first_differences {
            text.push_str(&format!("\n  id {id}: {difference}"));
        }
        text
    }
}

fn is_or_are(rows: u64) -> String {
    let verb = if rows == 1 { "is" } else { "are" };
    format!("{} {verb}", counted(rows, "row"))
}
