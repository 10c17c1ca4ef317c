//! `reshare send`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use reshare_engine::party::PartyId;
use reshare_exchange::{DeliveryTarget, RunFacts, SenderMetrics, TlsIdentity};
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::session::{Approval, Session};
use reshare_pipeline::deliver::{Delivery, deliver};
use reshare_pipeline::purge::Purge;
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::send::send;
use reshare_pipeline::sender::{LedgeredSender, SenderKeys};
use reshare_pipeline::workers::{Source, Workers};

use crate::args::{
    AgeLimit, DatabaseArgs, DeliveryArgs, LedgerArgs, MetricsArgs, OutputArgs, PackingArgs,
    SenderKeyArgs, SessionArgs, WorkArgs,
};
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::{block_on, run};
use crate::runs;
use crate::setup::context::Context;
use crate::setup::credentials::{identity, own_approval};
use crate::setup::database::workers;
use crate::setup::exporter::Exporter;
use crate::setup::ledger::ledgered;
use crate::setup::receipt::{self, Aim, Removal};
use crate::streams::say;
use crate::text::counted;

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    keys: SenderKeyArgs,

    #[command(flatten)]
    ledger: LedgerArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    work: WorkArgs,

    #[command(flatten)]
    packing: PackingArgs,

    /// Take a new snapshot, between parts, when the current one is older than this, such as 30m or
    /// 1h30m: VACUUM waits for the oldest snapshot; off reads all rows in one
    #[arg(long, value_name = "DURATION", default_value = "1h", help_heading = "Database")]
    snapshot_max_age: AgeLimit,

    /// Leave out rows whose shares are missing or have another length than the session says, and
    /// rows that the server cannot read: they are listed, and the exit code is 3. Without it the
    /// first part with such a row ends the run
    #[arg(long, help_heading = "Database")]
    leave_out_bad_rows: bool,

    /// Write the package to this directory, to carry or upload it later [default: deliver each part
    /// to the receiver as soon as it is sealed, which needs a session with certificates]
    #[arg(long, value_name = "DIR", help_heading = "Delivery")]
    to: Option<PathBuf>,

    /// Take a --to below /media, /mnt or /run/media where no medium is mounted: the package fills
    /// the disk of the system
    #[arg(long, requires = "to", help_heading = "Delivery")]
    on_root_disk: bool,

    #[command(flatten)]
    delivery: DeliveryArgs,

    #[command(flatten)]
    metrics: MetricsArgs,

    /// This party's own approval, left at the receiver for the other sender; the approvals that are
    /// not given with --approval are then taken from there
    #[arg(long, value_name = "FILE", conflicts_with = "to", help_heading = "Delivery")]
    own_approval: Option<PathBuf>,

    /// Wait until the receiver has loaded and compared everything, check its receipt as `receipt
    /// check` does, and write it to this file
    #[arg(long, value_name = "FILE", conflicts_with = "to", help_heading = "Delivery")]
    wait_receipt: Option<PathBuf>,
}

impl SendArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("send", &self.session, &self.ledger.state);
        let context = Context::open(&self.session)?;
        self.check_destination(&context.session)?;
        let sender_keys =
            |fetched| context.sender_keys(&self.session, &self.keys, &self.ledger.state, fetched);
        if let Some(directory) = &self.to {
            return self.job(&context, sender_keys(Vec::new())?)?.send(directory, output);
        }
        let session = &context.session;
        let identity = identity(session, &self.keys.credentials)?;
        let fetched = match &self.own_approval {
            Some(own) => self.fetch_approvals(&context, &identity, own)?,
            None => Vec::new(),
        };
        let keys = sender_keys(fetched)?;
        let sender = keys.sender();
        let target = self.delivery.target(session, sender, &identity)?;
        runs::count_retries(target.retries());
        let delivery = Delivery { target: target.clone(), options: self.delivery.options() };
        let watched = (&self.metrics, RunFacts::of(session, &identity));
        let exit = self.job(&context, keys)?.deliver(delivery, watched, output)?;
        match &self.wait_receipt {
            Some(path) => {
                block_on(wait_for_receipt(&target, path))?;
                self.check_receipt(session, sender, path).map(|()| exit)
            }
            None => Ok(exit),
        }
    }

    /// Leaves this sender's approval at the receiver, and takes those that no file gives.
    fn fetch_approvals(
        &self,
        context: &Context,
        identity: &TlsIdentity,
        own: &Path,
    ) -> Result<Vec<Approval>, Failure> {
        let (session, credentials) = (&context.session, &self.keys.credentials);
        let bytes = own_approval(own)?;
        let sender = Approval::parse(&bytes).map_err(Failure::refused)?.party();
        session.check_sender(sender).map_err(|error| {
            Failure::refused(error).hint("give this sender's own approval with --own-approval")
        })?;
        let mut missing: Vec<PartyId> = session
            .senders()
            .iter()
            .map(|sender| sender.party)
            .filter(|party| *party != sender)
            .collect();
        missing.push(session.receiver().party);
        for path in &credentials.approvals {
            let given =
                Approval::load(path).map_err(|error| Failure::of_file(error, "--approval"))?;
            missing.retain(|party| *party != given.party());
        }
        context.check_time()?;
        context.check_network(&credentials.network)?;
        let target = self.delivery.target(session, sender, identity)?;
        block_on(wait_for_approvals(&target, &bytes, missing, self.delivery.patience()))
    }

    /// Checks a receipt against what this sender's ledger has, and says what it is about.
    fn check_receipt(
        &self,
        session: &Session,
        sender: PartyId,
        path: &Path,
    ) -> Result<(), Failure> {
        let authority = &self.keys.credentials.authority;
        let (purge, state) = (Purge::default(), &self.ledger.state);
        let (claimed, aim) = (Some(sender), Aim::Know);
        let removal = Removal { session, purge: &purge, claimed, authority, state, aim };
        let (receipt, _) = receipt::check(path, &removal)?;
        say!(
            "receipt of party {}: {} equal, {} left over: {}",
            receipt.receiver(),
            counted(receipt.compared().rows, "row"),
            receipt.compared().left_over,
            path.display()
        );
        Ok(())
    }

    fn job<'a>(&self, context: &'a Context, keys: SenderKeys) -> Result<Job<'a>, Failure> {
        let source = context.source(keys.sender(), &self.database)?;
        let source = source.leaving_out_bad_rows(self.leave_out_bad_rows);
        let ids = context.row_ids()?;
        let state = self.ledger.state.directory()?;
        let sender = ledgered(&context.session, keys, &state, self.ledger.adopt_ledger)?;
        let sender = self.packing.compress(sender);
        let sender = match self.snapshot_max_age.limit() {
            Some(max_age) => sender.renewing_snapshots(max_age),
            None => sender,
        };
        Ok(Job {
            session: &context.session,
            source,
            ids,
            sender,
            workers: workers(self.database.connections.count(), &self.work),
        })
    }

    /// Checks, before a key or a database is opened, that there is exactly one destination.
    fn check_destination(&self, session: &Session) -> Result<(), Failure> {
        let given = self.delivery.first_given().or_else(|| self.metrics.first_given());
        match (&self.to, given) {
            (Some(_), Some(flag)) => {
                let error = format!("{flag} is for a delivery, but --to writes a package to disk");
                Err(Failure::usage(error).hint(
                    "leave --to out to deliver now, or deliver that package with `reshare upload`",
                ))
            }
            (None, _) if session.ca_sha256().is_none() => {
                let error =
                    "this session uses no certificates: nothing can be delivered over the network";
                Err(Failure::usage(error).hint(
                    "make a package with --to DIR and carry it, or make a session with \
                     --certificate-name",
                ))
            }
            _ => Ok(()),
        }
    }
}

/// Asks the receiver for approvals until all are there.
async fn wait_for_approvals(
    target: &DeliveryTarget,
    own: &[u8],
    missing: Vec<PartyId>,
    patience: Duration,
) -> Result<Vec<Approval>, Failure> {
    let begun = Instant::now();
    let mut is_said = false;
    loop {
        let given = target.exchange_statements(Some(own)).await?;
        let approvals = given.approvals.iter().map(|text| Approval::parse(text.as_bytes()));
        let mut approvals = approvals.collect::<Result<Vec<_>, _>>().map_err(Failure::refused)?;
        approvals.retain(|approval| missing.contains(&approval.party()));
        let is_there =
            |party: &PartyId| approvals.iter().any(|approval| approval.party() == *party);
        let Some(party) = missing.iter().find(|party| !is_there(party)) else {
            return Ok(approvals);
        };
        if begun.elapsed() >= patience {
            let error = format!("the receiver has no approval of party {party}");
            return Err(Failure::failed(error).hint(
                "that party gives it with --own-approval when it runs send or receive; or give its file with \
                 --approval. --retry-for says how long to wait",
            ));
        }
        if !is_said {
            say!("waiting for the approval of party {party}");
            is_said = true;
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// Asks the receiver for its receipt until there is one, and writes it to a file.
async fn wait_for_receipt(target: &DeliveryTarget, path: &Path) -> Result<(), Failure> {
    say!("everything is delivered: waiting for the receipt");
    loop {
        let given = target.exchange_statements(None).await.map_err(|error| {
            Failure::of(error).hint(
                "everything is delivered, but no receipt has come: see at the receiver how its run has \
                 ended; the same command asks again",
            )
        })?;
        if let Some(receipt) = given.receipt {
            let written = durable::write_whole(path, receipt.as_bytes()).on("write", path);
            return written.map_err(Failure::failed);
        }
        if !given.receipt_follows {
            let error = "everything is delivered, but the receiver signs no receipt";
            return Err(Failure::failed(error).hint(
                "the receiver signs one when it runs with --rebuild and --receipt; or it gives the \
                 file that `reshare verify --receipt` writes",
            ));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

/// How long to wait before asking the receiver again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// What is sent, for either destination.
struct Job<'a> {
    session: &'a Session,
    source: Source,
    ids: RowIds,
    sender: LedgeredSender,
    workers: Workers,
}

impl Job<'_> {
    fn send(self, to: &Path, output: &OutputArgs) -> Outcome {
        let Self { session, source, ids, sender, workers } = self;
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let report = send(session, &ids, sender, &source, to, workers, progress);
            report.await.map_err(Failure::from)
        })?;
        report::print(output, &report, took, || report::packed(&report, to, took))?;
        Ok(report::exit_of_pack(&report))
    }

    fn deliver(
        self,
        delivery: Delivery,
        (metrics, facts): (&MetricsArgs, RunFacts),
        output: &OutputArgs,
    ) -> Outcome {
        let Self { session, source, ids, sender, workers } = self;
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let retries = Arc::clone(delivery.target.retries());
            let figures = SenderMetrics::new(Arc::clone(&progress), facts, retries);
            let exporter = Exporter::start(metrics, figures).await?;
            let report = deliver(session, &ids, sender, &source, delivery, workers, progress).await;
            exporter.end(report.is_ok());
            report.map_err(Failure::from)
        })?;
        report::print(output, &report, took, || report::delivered(&report, took))?;
        Ok(report::exit_of_pack(&report.package))
    }
}
