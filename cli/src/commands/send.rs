//! `reshare send`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reshare_exchange::{RunFacts, SenderMetrics};
use reshare_format::session::Session;
use reshare_pipeline::deliver::{Delivery, deliver};
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
use crate::run::run;
use crate::setup::context::Context;
use crate::setup::credentials::identity;
use crate::setup::database::workers;
use crate::setup::exporter::Exporter;
use crate::setup::ledger::ledgered;

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

    /// Write the package to this directory, to carry or upload it later [default: deliver each part
    /// to the receiver as soon as it is sealed, which needs a session with certificates]
    #[arg(long, value_name = "DIR", help_heading = "Delivery")]
    to: Option<PathBuf>,

    /// Take a --to below /media, /mnt or /run/media where no medium is mounted: the package fills the disk
    /// of the system
    #[arg(long, requires = "to", help_heading = "Delivery")]
    on_root_disk: bool,

    #[command(flatten)]
    delivery: DeliveryArgs,

    #[command(flatten)]
    metrics: MetricsArgs,
}

impl SendArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let context = Context::open(&self.session)?;
        self.check_destination(&context.session)?;
        let keys = context.sender_keys(&self.session, &self.keys, &self.ledger.state)?;
        match &self.to {
            Some(directory) => self.job(&context, keys)?.send(directory, output),
            None => {
                let identity = identity(&context.session, &self.keys.credentials)?;
                let target = self.delivery.target(&context.session, keys.sender(), &identity)?;
                let delivery = Delivery { target, options: self.delivery.options() };
                let facts = RunFacts::of(&context.session, &identity);
                self.job(&context, keys)?.deliver(delivery, (&self.metrics, facts), output)
            }
        }
    }

    fn job<'a>(&self, context: &'a Context, keys: SenderKeys) -> Result<Job<'a>, Failure> {
        let source = context.source(keys.sender(), &self.database)?;
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
