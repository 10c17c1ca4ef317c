//! `reshare verify`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reshare_exchange::progress::Progress;
use reshare_files::leftovers::Leftovers;
use reshare_format::receipt::{Compared, ComparedWith, ReceivedPackage};
use reshare_format::session::Session;
use reshare_format::share_file::{self, Kind};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::{Manifests, Packages};
use reshare_pipeline::verify::{PackagesComparison, verify_file, verify_packages, verify_tables};
use reshare_pipeline::verify_digests::{DigestComparison, verify_digests};
use reshare_pipeline::workers::{OnBadRow, Source, Workers};
use reshare_postgres::compare::{Comparison, Difference};
use reshare_postgres::verified::{
    LoadMark, LoadState, VERIFIED_TABLE, load_state, record_verified,
};
use serde::Serialize;

use crate::args::{
    AuthorityArgs, CertificateArgs, ConnectionArgs, OutputArgs, PackagesArgs, SessionArgs,
    StateArgs, WorkArgs,
};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::{block_on, run};
use crate::runs;
use crate::setup::context::Context;
use crate::setup::credentials::trust;
use crate::setup::database::{database, table_of, workers};
use crate::setup::receipt::ReceiptSigner;
use crate::streams::say;
use crate::text::{counted, printable};

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    state: StateArgs,

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
    #[arg(long = "package", value_name = "DIR", num_args = 1, conflicts_with = "file")]
    packages: Vec<PathBuf>,

    /// Compare the table with the digests that were recorded as its rows were loaded: the parts of
    /// the packages need not be there any more. With --package, their manifests are compared with
    /// what was loaded
    #[arg(long, conflicts_with_all = ["file", "identity"])]
    digests: bool,

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
pub(super) struct VerifyReport {
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
        runs::begin("verify", &self.session, &self.state);
        let context = Context::open(&self.session)?;
        if self.session.checks.party_id.is_none() {
            runs::of_party(context.session.receiver().party);
        }
        if self.receipt.is_some() && self.packages.is_empty() {
            return Err(Failure::usage("--receipt names two packages: give --package twice"));
        }
        let sides = self.sides(&context)?;
        let signer = self.signer(&context.session)?;
        let workers = workers(self.connections.count(), &self.work);
        if self.digests {
            return self.run_digests(&context, &sides, signer, workers, output);
        }
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
            let recording =
                async { Ok(report.record(&context.session, table, mark, against).await) };
            report.load_verified = block_on(recording)?;
        }
        let compared = received.map(|packages| report.compared(packages, ComparedWith::Packages));
        if let Some(signer) = &signer {
            report.sign(&context.session, signer, compared)?;
        }
        report.conclude(signer.is_some(), output, took)
    }

    /// What a receipt is signed with, if one is requested.
    fn signer(&self, session: &Session) -> Result<Option<ReceiptSigner>, Failure> {
        let open =
            |path: &PathBuf| ReceiptSigner::open(session, path, &self.authority, &self.certificate);
        self.receipt.as_ref().map(open).transpose()
    }

    /// The packages that the table is compared with, if there are any.
    fn packages(&self, context: &Context) -> Result<Option<Arc<Packages>>, Failure> {
        if self.packages.is_empty() {
            return Ok(None);
        }
        let Some(identity) = self.identity.clone() else {
            let error = "--package needs --identity, or --digests where the parts are gone";
            return Err(Failure::usage(error));
        };
        let (packages, authority) = (self.packages.clone(), self.authority.clone());
        // Comparing gives nobody a share: no network file is needed.
        context.packages(&PackagesArgs { packages, identity, authority }, None).map(Some)
    }

    /// Compares the table with the digests of its load.
    fn run_digests(
        &self,
        context: &Context,
        sides: &[Source],
        signer: Option<ReceiptSigner>,
        workers: Workers,
        output: &OutputArgs,
    ) -> Outcome {
        let [table] = sides else {
            return Err(Failure::usage("--digests compares one table: give --db-url once"));
        };
        let session = &context.session;
        let manifests = self.manifests(session)?;
        let (report, took) =
            run(output, Rerun::StartsOver("nothing was changed"), |progress| async move {
                let load = Load { session, table, manifests: manifests.as_ref(), workers };
                load.verify(signer.as_ref(), &progress).await
            })?;
        report.conclude(self.receipt.is_some(), output, took)
    }

    /// The manifests that the load is compared with, where there are any.
    fn manifests(&self, session: &Session) -> Result<Option<Manifests>, Failure> {
        if self.packages.is_empty() {
            return Ok(None);
        }
        let directories: [PathBuf; 2] = self.packages.clone().try_into().map_err(|_| {
            Failure::usage("--package is given twice, once for each sender, or not at all")
        })?;
        let trust = trust(session, &self.authority)?;
        Ok(Some(Manifests::open(session, trust.as_ref(), directories)?))
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
        // A role that may only read the table can still compare.
        let why = match block_on(state_of(session, table)).map(|state| state.mark()) {
            Ok(Some(mark)) => return Ok(Some(mark)),
            Ok(None) => format!("this session has loaded nothing into {name}"),
            Err(failure) => {
                let causes = printable(&failure.causes().join(": "));
                format!("what this session has loaded into {name} cannot be read ({causes})")
            }
        };
        say!("note: {why}: nothing is recorded as verified");
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
            let database = database(Some(url))?.with_lock_wait(self.connections.lock_wait());
            Ok(Source { database, table, on_bad_row: OnBadRow::Refuse })
        };
        self.db_url.iter().enumerate().map(side).collect()
    }
}

/// What a session has loaded, and what it was delivered in.
pub(super) struct Load<'a> {
    pub(super) session: &'a Session,
    pub(super) table: &'a Source,
    pub(super) manifests: Option<&'a Manifests>,
    pub(super) workers: Workers,
}

impl Load<'_> {
    /// Compares the table with the digests of its load; records and signs it when all is equal.
    pub(super) async fn verify(
        &self,
        signer: Option<&ReceiptSigner>,
        progress: &Arc<Progress>,
    ) -> Result<VerifyReport, Failure> {
        let Self { session, table, manifests, workers } = *self;
        let state = state_of(session, table).await?;
        let Some(mark) = state.mark() else {
            let error = format!("this session has loaded nothing into {}", table.table.name());
            return Err(Failure::refused(error).hint("give the table that `rebuild` has loaded"));
        };
        if let Some(manifests) = manifests {
            check_complete(manifests, &state)?;
        }
        let found = verify_digests(table, state.loaded, workers, progress).await?;
        let mut report = VerifyReport::of_digests(&found);
        if report.equal && manifests.is_some() {
            report.load_verified = report.record(session, table, mark, "digests").await;
        }
        let received = manifests.map(Manifests::received);
        let compared = received.map(|packages| report.compared(packages, ComparedWith::Digests));
        if let Some(signer) = signer {
            report.sign(session, signer, compared)?;
        }
        Ok(report)
    }
}

/// What a session has loaded into a table.
async fn state_of(session: &Session, table: &Source) -> Result<LoadState, Failure> {
    let (name, fingerprint) = (table.table.name(), session.fingerprint());
    let state = load_state(&table.database, name, fingerprint).await;
    state.map_err(|error| Failure::from(PipelineError::from(error)))
}

/// Refuses a load that is not of these packages, or not of all of them.
fn check_complete(manifests: &Manifests, state: &LoadState) -> Result<(), Failure> {
    if let Some((ids, changed)) = manifests.other_source(&state.loaded) {
        let error = format!("ids {ids} were loaded from something else: {changed}");
        return Err(Failure::refused(error).hint("give the packages that `receive` was given"));
    }
    let missing = manifests.rows_missing(&state.loaded);
    let senders = manifests.received().map(|package| package.sender);
    let Some((rows, sender)) = missing.into_iter().zip(senders).find(|(rows, _)| *rows > 0) else {
        return Ok(());
    };
    let rows = counted(rows, "row");
    let error = format!("{rows} of sender {sender}'s package not loaded: the load is incomplete");
    Err(Failure::refused(error).hint("run `receive --rebuild` or `rebuild` to its end"))
}

impl VerifyReport {
    fn of_digests(found: &DigestComparison) -> Self {
        let listed = found.differing.iter().take(Comparison::MAX_LISTED);
        Self {
            equal: found.differing.is_empty(),
            rows_equal: found.rows_equal,
            differing: found.rows_differing,
            first_differences: listed
                .map(|ids| ListedDifference {
                    id: ids.first(),
                    difference: format!("rows of ids {ids} are not as they were loaded"),
                })
                .collect(),
            left_over: found.left_over,
            load_verified: false,
            receipt: None,
        }
    }

    /// What a receipt says of this comparison.
    fn compared(&self, packages: [ReceivedPackage; 2], with: ComparedWith) -> Compared {
        Compared { packages, rows: self.rows_equal, left_over: self.left_over, with }
    }

    /// Signs a receipt, if the load is verified.
    fn sign(
        &mut self,
        session: &Session,
        signer: &ReceiptSigner,
        compared: Option<Compared>,
    ) -> Result<(), Failure> {
        if let Some(compared) = compared.filter(|_| self.load_verified) {
            let written = signer.write(session, compared)?;
            let path = written.display().to_string();
            runs::wrote_receipt(&path);
            self.receipt = Some(path);
        }
        Ok(())
    }

    /// Prints the report; an error if a receipt was asked for and there is none.
    fn conclude(self, wants_receipt: bool, output: &OutputArgs, took: Duration) -> Outcome {
        report::print(output, &self, took, || self.text())?;
        if wants_receipt && self.receipt.is_none() {
            return Err(self.no_receipt());
        }
        Ok(if self.equal { Exit::Done } else { Exit::Refused })
    }

    /// Records that a load is equal to what was delivered, and returns whether that was possible: the
    /// comparison stands in any case.
    async fn record(
        &self,
        session: &Session,
        table: &Source,
        mark: LoadMark,
        against: &str,
    ) -> bool {
        let rows = self.rows_equal;
        let name = table.table.name();
        if mark.rows() != rows {
            let loaded = mark.rows();
            say!(
                "note: {rows} rows are equal, but this session has loaded {loaded}: the load is not \
                 recorded as verified"
            );
            return false;
        }
        let fingerprint = session.fingerprint();
        let recorded = record_verified(&table.database, name, fingerprint, mark, against).await;
        let recorded = recorded.map_err(|error| Failure::from(PipelineError::from(error)));
        if let Err(failure) = &recorded {
            let why = printable(&failure.causes().join(": "));
            say!(
                "note: the load is verified, but this could not be recorded in {VERIFIED_TABLE} next \
                 to {name}, where `purge` looks for it: {why}"
            );
        }
        recorded.is_ok()
    }

    /// What `receive` says of it; an error if there is no receipt.
    pub(super) fn receipt(&self) -> Result<String, Failure> {
        match &self.receipt {
            Some(_) => Ok(self.text()),
            None => Err(self.no_receipt()),
        }
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
