//! `reshare receive`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, Args};
use reshare_exchange::progress::Progress;
use reshare_exchange::{
    ClosedPackage, Endpoint, EndpointParts, HealthEndpoint, Inbox, Limits, Monitor, Shutdown,
    Stage, TlsIdentity,
};
use reshare_files::fault::Refusable;
use reshare_format::session::{Approval, SessionTrust};
use reshare_pipeline::arriving::Arriving;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::Manifests;
use reshare_pipeline::rebuild::{RebuildReport, rebuild_arriving};
use reshare_pipeline::workers::{Source, Target, Workers};
use reshare_postgres::connect::ConnectError;
use reshare_postgres::load::Loader;
use reshare_postgres::load_error::LoadError;

use tokio::time::timeout;

use super::verify::Load;
use crate::args::{
    AuthorityArgs, CertificateArgs, ConflictArgs, DatabaseArgs, KeyExchangeArgs, LimitArgs,
    MAX_SECONDS, NetworkArgs, OutputArgs, ReportArgs, SessionArgs, StateArgs, TlsArgs, WorkArgs,
    within,
};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report::{self, ReportFiles};
use crate::run::run;
use crate::runs;
use crate::setup::context::{Context, open_identity};
use crate::setup::credentials::own_approval;
use crate::setup::database::workers;
use crate::setup::receipt::ReceiptSigner;
use crate::streams::say;
use crate::text::{counted, printable};

#[derive(Debug, Args)]
#[command(mut_args(with_rebuild))]
pub(crate) struct ReceiveArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    state: StateArgs,

    /// The address to accept deliveries at
    #[arg(long, value_name = "ADDRESS:PORT", env = "RESHARE_LISTEN")]
    listen: SocketAddr,

    /// Directory for deliveries: one package per sender, as on removable media
    #[arg(long, value_name = "DIR", env = "RESHARE_INBOX")]
    inbox: PathBuf,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    key_exchange: KeyExchangeArgs,

    /// The address of /health and /metrics, which are not encrypted: keep it local
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:8444")]
    health_listen: SocketAddr,

    /// Merge and load rows as soon as both senders have delivered them; exit when all are loaded
    #[arg(long, requires = "identity")]
    rebuild: bool,

    /// With --rebuild: keep the parts whose rows are loaded, for `reshare verify --package`
    #[arg(long)]
    keep_packages: bool,

    /// With --rebuild: seconds to go on answering senders when everything is loaded, unless both
    /// have asked before
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = within::<u64>(0..=MAX_SECONDS))]
    linger: u64,

    /// With --rebuild: the receiver's age identity, a file of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_IDENTITY")]
    identity: Option<PathBuf>,

    /// This party's own approval, for senders that fetch what is not given to them in files
    #[arg(long, value_name = "FILE")]
    own_approval: Option<PathBuf>,

    /// With --rebuild: when everything is loaded, compare the table with what was loaded, sign a
    /// receipt to this file, and give it to the senders that ask for it
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    conflicts: ConflictArgs,

    #[command(flatten)]
    work: WorkArgs,

    #[command(flatten)]
    reports: ReportArgs,
}

/// What a rebuild needs, opened before anything is received.
struct Rebuild {
    identity: PathBuf,
    target: Target,
    workers: Workers,
}

/// Flags of the rebuild. Without it they would be ignored, and the operator would wait for a table.
const REBUILD_FLAGS: [&str; 14] = [
    "receipt",
    "keep_packages",
    "linger",
    "inbox_limit",
    "memory_limit",
    "report",
    "leftover_ids",
    "db_url",
    "db_schema",
    "connections",
    "on_conflict",
    "allow_older",
    "batch_size",
    "threads",
];

fn with_rebuild(flag: Arg) -> Arg {
    if needs_rebuild(flag.get_id().as_str()) { flag.requires("rebuild") } else { flag }
}

/// Whether a flag, which this is the key of too, makes no sense without `--rebuild`.
pub(crate) fn needs_rebuild(flag: &str) -> bool {
    REBUILD_FLAGS.contains(&flag)
}

impl ReceiveArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("receive", &self.session, &self.state);
        self.check_flags()?;
        let reports = ReportFiles::open(&self.reports)?;
        let context = Context::open(&self.session)?;
        runs::of_party(context.session.receiver().party);
        context.check_network(&self.network)?;
        let tls = self.tls.identity(&context.session)?;
        // Before anything is created, such as an inbox or a listening port.
        tls.check_receiver()?;
        let trust = tls.trust(&context.session)?;
        let approval = self.approval(&context)?;
        let signer = self.signer(&context)?;
        let rebuild = self.rebuild(&context)?;
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let monitor = Monitor::new(Arc::clone(&progress));
            let rebuild = rebuild.as_ref();
            let (args, context, tls, trust) = (self, &context, &tls, &trust);
            let (approval, signer) = (approval.as_deref(), signer.as_ref());
            let stated = Stated { approval, signer };
            Receiving { args, context, tls, trust, rebuild, stated, monitor, progress }.run().await
        })?;
        let (Some(report), Some(rebuild)) = (report, rebuild) else { return Ok(Exit::Done) };
        reports.write(&report, &report.leftovers)?;
        let text = || report::rebuilt(&report, &context.session, &rebuild.target, took);
        report::print(output, &report, took, text)?;
        Ok(report::exit_of(&report.leftovers))
    }

    /// An identity that is not used must not be on the command line. In settings, which other
    /// commands share, it may be, and is then not taken.
    fn check_flags(&self) -> Result<(), Failure> {
        if self.identity.is_none() || self.rebuild {
            return Ok(());
        }
        let error = "--identity needs --rebuild: without it no package is opened";
        let hint = "add --rebuild, or leave --identity out and run `reshare rebuild` later";
        Err(Failure::usage(error).hint(hint))
    }

    /// The approval that senders are given, if there is one: the receiver's own.
    fn approval(&self, context: &Context) -> Result<Option<Vec<u8>>, Failure> {
        let Some(path) = &self.own_approval else { return Ok(None) };
        let bytes = own_approval(path)?;
        let hint = "give this party's own approval with --own-approval";
        let refused = |error: String| Failure::refused(error).hint(hint);
        let approval =
            Approval::parse(&bytes).map_err(|error| Failure::refused(error).hint(hint))?;
        let (party, receiver) = (approval.party(), context.session.receiver().party);
        if party != receiver {
            let path = path.display();
            return Err(refused(format!(
                "{path} is party {party}'s, but party {receiver} receives"
            )));
        }
        Ok(Some(bytes))
    }

    /// What the receipt is signed with, if there is to be one.
    fn signer(&self, context: &Context) -> Result<Option<ReceiptSigner>, Failure> {
        let Some(path) = &self.receipt else { return Ok(None) };
        let TlsArgs { certificate, certificate_key, ca_file } = &self.tls;
        let authority = AuthorityArgs { ca_file: Some(ca_file.clone()) };
        let own = CertificateArgs {
            certificate: Some(certificate.clone()),
            certificate_key: Some(certificate_key.clone()),
        };
        ReceiptSigner::open(&context.session, path, &authority, &own).map(Some)
    }

    fn limits(&self) -> Limits {
        self.limits.limits(self.rebuild && !self.keep_packages)
    }

    fn rebuild(&self, context: &Context) -> Result<Option<Rebuild>, Failure> {
        let Some(identity) = self.identity.clone().filter(|_| self.rebuild) else {
            return Ok(None);
        };
        // A wrong identity is reported now, and not after hours of delivery.
        context.receiver_identity(&identity)?;
        context.row_ids()?;
        let source = context.source(context.session.receiver().party, &self.database)?;
        let target =
            Target { source, options: self.conflicts.options(&self.database.connections)? };
        let workers = workers(self.database.connections.count(), &self.work);
        Ok(Some(Rebuild { identity, target, workers }))
    }
}

/// What a receiver states to its senders, signed.
#[derive(Clone, Copy)]
struct Stated<'a> {
    approval: Option<&'a [u8]>,
    signer: Option<&'a ReceiptSigner>,
}

/// A receiver at work.
struct Receiving<'a> {
    args: &'a ReceiveArgs,
    context: &'a Context,
    tls: &'a TlsIdentity,
    trust: &'a SessionTrust,
    rebuild: Option<&'a Rebuild>,
    stated: Stated<'a>,
    monitor: Arc<Monitor>,
    progress: Arc<Progress>,
}

impl Receiving<'_> {
    /// Serves until both packages are complete and rebuilt, or, without a rebuild, until a signal.
    async fn run(&self) -> Result<Option<RebuildReport>, Failure> {
        let (listen, limits) = (self.args.health_listen, self.args.limits());
        let health = HealthEndpoint::bind(listen, Arc::clone(&self.monitor), limits).await;
        let health = health.map_err(|error| {
            Failure::failed(error).hint("give another address with --health-listen")
        })?;
        let health_address = health.address().map_err(Failure::failed)?;
        let shutdown = Shutdown::default();
        let working = async {
            let done = self.work(health_address, &shutdown).await;
            shutdown.ask();
            done
        };
        let ((), done) = tokio::join!(health.serve(shutdown.clone()), working);
        done
    }

    /// Receives, then rebuilds if that was requested; `health` is the address of the health
    /// endpoint, which answers during both.
    async fn work(
        &self,
        health: SocketAddr,
        shutdown: &Shutdown,
    ) -> Result<Option<RebuildReport>, Failure> {
        let Self { context, progress, monitor, .. } = self;
        let limits = self.args.limits();
        if let Some(rebuild) = self.rebuild {
            progress.begin("check the table", 0);
            rebuild.check_table().await?;
        }
        let inbox = self.open_inbox(limits).await?;
        if let Some(approval) = self.stated.approval {
            inbox.statements().publish_approval(approval).map_err(|error| {
                Failure::refused(error).hint("give this party's own approval with --own-approval")
            })?;
        }
        if self.stated.signer.is_some() {
            inbox.statements().promise_receipt();
        }
        progress.begin("receive", 0);
        let parts = EndpointParts {
            session: &context.session,
            identity: self.tls,
            inbox: Arc::clone(&inbox),
            monitor: Arc::clone(monitor),
            limits,
            key_exchange: self.args.key_exchange.taken(),
        };
        let endpoint = Endpoint::bind(self.args.listen, parts).await?;
        let address = endpoint.address().map_err(Failure::failed)?;
        say!("receiving on {address}, health on {health}");
        let working = async {
            let done = match self.rebuild {
                Some(rebuild) => self.rebuild_arriving(rebuild, &inbox).await.map(Some),
                // Until a signal; the run reports which one.
                None => {
                    let closed = inbox.both_closed(print_closed);
                    tokio::join!(closed_or_stopped(closed, progress), progress.until_stopped());
                    Err(Failure::failed("stopped; what was delivered is kept"))
                }
            };
            shutdown.ask();
            done
        };
        let ((), done) = tokio::join!(endpoint.serve(shutdown.clone()), working);
        if done.is_err() {
            // The next run goes on with it. What is lost, its sender sends again.
            let written = tokio::task::spawn_blocking(move || inbox.write_held()).await;
            if let Err(error) = written.map_err(Failure::failed)?.map_err(Failure::from) {
                let why = error.causes().join(": ");
                say!("{}", printable(&format!("warning: parts in memory are lost: {why}")));
            }
        }
        done
    }

    /// Rebuilds while parts arrive, and goes on answering for a while when everything is loaded: a
    /// sender whose last answer was lost asks again.
    async fn rebuild_arriving(
        &self,
        rebuild: &Rebuild,
        inbox: &Arc<Inbox>,
    ) -> Result<RebuildReport, Failure> {
        let Self { args, context, progress, monitor, .. } = self;
        monitor.merge_while_receiving();
        let closing = async {
            let closed = async {
                inbox.both_closed(print_closed).await;
                monitor.enter(Stage::Rebuilding);
            };
            closed_or_stopped(closed, progress).await;
        };
        let rebuilding = async {
            let done = rebuild.run(context, inbox, args.keep_packages, progress).await;
            inbox.stop_holding();
            if done.is_err() {
                // Nothing more is waited for.
                progress.stop();
            }
            done
        };
        let ((), done) = tokio::join!(closing, rebuilding);
        monitor.enter(if done.is_ok() { Stage::Done } else { Stage::Failed });
        let report = done?;
        if let Some(signer) = self.stated.signer {
            self.sign_receipt(rebuild, inbox, signer).await?;
        }
        let acknowledged = async {
            inbox.both_acknowledged().await;
            if self.stated.signer.is_some() {
                inbox.statements().both_have_the_receipt().await;
            }
        };
        let acknowledged = timeout(Duration::from_secs(args.linger), acknowledged);
        tokio::select! {
            _ = acknowledged => {}
            () = progress.until_stopped() => {}
        }
        Ok(report)
    }

    /// Compares the table with what was loaded, and signs a receipt for the senders.
    async fn sign_receipt(
        &self,
        rebuild: &Rebuild,
        inbox: &Inbox,
        signer: &ReceiptSigner,
    ) -> Result<(), Failure> {
        let session = &self.context.session;
        let directories =
            session.senders().map(|sender| Inbox::package_path(&self.args.inbox, sender.party));
        let manifests = Manifests::open(session, Some(self.trust), directories)?;
        let Rebuild { target, workers, .. } = rebuild;
        let (table, manifests) = (&target.source, Some(&manifests));
        let load = Load { session, table, manifests, workers: *workers };
        let verified = load.verify(Some(signer), &self.progress).await?.receipt()?;
        inbox.statements().publish_receipt(&signer.written().map_err(Failure::failed)?);
        say!("{}", printable(&verified));
        Ok(())
    }

    /// Opens the inbox on a thread of its own: others answer for the receiver's health meanwhile.
    async fn open_inbox(&self, limits: Limits) -> Result<Arc<Inbox>, Failure> {
        self.progress.begin("read the inbox", 0);
        let (directory, progress) = (self.args.inbox.clone(), Arc::clone(&self.progress));
        let (session, trust) = (self.context.session.clone(), self.trust.clone());
        let opening = tokio::task::spawn_blocking(move || {
            Inbox::open(&directory, &session, &trust, limits, &progress)
        });
        let opened = opening.await.map_err(Failure::failed)?;
        opened.map(Arc::new).map_err(Failure::from)
    }
}

impl Rebuild {
    /// Refuses a table that no rebuild can load, and a server that does not let this role in. A
    /// server that does not answer now may answer when both packages are complete: that is a
    /// warning, and deliveries are accepted.
    async fn check_table(&self) -> Result<(), Failure> {
        let Target { source: Source { database, table, .. }, options } = &self.target;
        let look = Loader::check_ahead(database, table, options.on_conflict);
        let why = match tokio::time::timeout(TABLE_CHECK_TIMEOUT, look).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) if is_temporary(&error) => {
                let is_reached = !matches!(error, LoadError::Connect(_));
                let causes = Failure::from(PipelineError::from(error)).causes();
                // If the server was reached, only its own words matter.
                let skipped = if is_reached { causes.len() - 1 } else { 0 };
                causes[skipped..].join(": ")
            }
            Ok(Err(error)) => return Err(PipelineError::from(error).into()),
            Err(_) => format!("{database} does not answer within {TABLE_CHECK_TIMEOUT:?}"),
        };
        let message = format!(
            "warning: the table cannot be checked now: {why}; packages are accepted anyway, and \
             the rebuild will need the table"
        );
        say!("{}", printable(&message));
        Ok(())
    }

    async fn run(
        &self,
        context: &Context,
        inbox: &Arc<Inbox>,
        keep_packages: bool,
        progress: &Arc<Progress>,
    ) -> Result<RebuildReport, Failure> {
        let identity = open_identity(&self.identity)?;
        let (session, list) = (&context.session, context.listed_ids()?);
        let arriving = Arriving::new(session, Arc::clone(inbox), identity, list, keep_packages)?;
        let progress = Arc::clone(progress);
        let rebuilt = rebuild_arriving(session, arriving, &self.target, self.workers, progress);
        Ok(rebuilt.await?)
    }
}

/// Reports that a sender's package is complete. Even with `--quiet`: it happens only twice.
fn print_closed(package: ClosedPackage) {
    let ClosedPackage { sender, parts, bytes, rows } = package;
    let megabytes = bytes as f64 / 1e6;
    say!(
        "the package of sender {sender} is complete: {} in {}, {megabytes:.1} MB",
        counted(rows, "row"),
        counted(parts, "part")
    );
}

/// How long the check of the table may take: senders wait for it.
const TABLE_CHECK_TIMEOUT: Duration = Duration::from_secs(10);

/// Whether the error may have disappeared when the table is loaded.
fn is_temporary(error: &LoadError) -> bool {
    let is_turned_away = matches!(
        error,
        LoadError::Connect(ConnectError::Denied { .. } | ConnectError::NoSuchDatabase { .. })
    );
    !is_turned_away && !error.is_refusal()
}

async fn closed_or_stopped(closed: impl Future<Output = ()>, progress: &Progress) {
    tokio::select! {
        () = closed => {}
        () = progress.until_stopped() => {}
    }
}
