//! `reshare receive`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use reshare_io::exchange::{Endpoint, Inbox, Limits, Shutdown, TlsIdentity};
use reshare_io::keys::load_identity;
use reshare_io::pipeline::packages::Packages;
use reshare_io::pipeline::progress::Progress;
use reshare_io::pipeline::rebuild::{RebuildReport, rebuild};
use reshare_io::pipeline::workers::{Target, Workers};
use reshare_io::session::SessionTrust;

use super::context::{Context, workers};
use super::rebuild::print_report;
use crate::args::{ConflictArgs, DatabaseArgs, OutputArgs, SessionArgs, TlsArgs, WorkArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::report;
use crate::run::run;

#[derive(Debug, Args)]
pub(crate) struct ReceiveArgs {
    #[command(flatten)]
    session: SessionArgs,

    /// The address to take deliveries at
    #[arg(long, value_name = "ADDRESS:PORT", env = "RESHARE_LISTEN")]
    listen: SocketAddr,

    /// Directory of what was delivered: one package a sender, as on a USB stick
    #[arg(long, value_name = "DIR", env = "RESHARE_INBOX")]
    inbox: PathBuf,

    #[command(flatten)]
    tls: TlsArgs,

    /// The address of /health and /metrics, in the clear: keep it local
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3000")]
    health_listen: SocketAddr,

    /// Merge and load as soon as both packages are there, then end
    #[arg(long, requires = "identity")]
    rebuild: bool,

    /// With --rebuild: the receiver's age identity, a file of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_IDENTITY")]
    identity: Option<PathBuf>,

    #[command(flatten)]
    limits: LimitArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    conflicts: ConflictArgs,

    #[command(flatten)]
    work: WorkArgs,

    /// With --rebuild: write the report, with every row left over, to this file too
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

/// What a sender can make this machine do. The largest part is the session's.
#[derive(Debug, Args)]
#[command(next_help_heading = "Limits")]
struct LimitArgs {
    /// Parts in a package
    #[arg(long, value_name = "N", default_value_t = Limits::default().parts)]
    max_parts: usize,

    /// Bytes of a package
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().package_bytes)]
    max_package_bytes: u64,

    /// Bytes of free disk that are kept
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().keep_free_bytes)]
    keep_free_bytes: u64,

    /// Connections at the same time
    #[arg(long, value_name = "N", default_value_t = Limits::default().connections)]
    max_connections: usize,

    /// Requests in flight
    #[arg(long, value_name = "N", default_value_t = Limits::default().requests)]
    max_requests: usize,

    /// Seconds that a handshake and a request's headers may take
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().header_timeout.as_secs())]
    header_timeout: u64,

    /// Seconds that a body may stall
    #[arg(long, value_name = "SECONDS", default_value_t = Limits::default().body_timeout.as_secs())]
    body_timeout: u64,

    /// Bytes in a second that a body must have on average
    #[arg(long, value_name = "BYTES", default_value_t = Limits::default().body_bytes_per_second)]
    min_body_rate: u64,
}

impl LimitArgs {
    fn limits(&self) -> Limits {
        Limits {
            parts: self.max_parts,
            package_bytes: self.max_package_bytes,
            keep_free_bytes: self.keep_free_bytes,
            connections: self.max_connections,
            requests: self.max_requests,
            header_timeout: Duration::from_secs(self.header_timeout),
            body_timeout: Duration::from_secs(self.body_timeout),
            body_bytes_per_second: self.min_body_rate,
        }
    }
}

/// What a rebuild needs, found out before anything is received.
struct Rebuild {
    identity: PathBuf,
    trust: SessionTrust,
    target: Target,
    workers: Workers,
}

impl ReceiveArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let context = Context::open(&self.session)?;
        let tls = self.tls.identity(&context.session)?;
        let trust = tls.trust(&context.session).map_err(Failure::refused)?;
        let rebuild = self.rebuild(&context, &trust)?;
        let limits = self.limits.limits();
        let inbox = Inbox::open(&self.inbox, &context.session, &trust, limits);
        let inbox = inbox.map_err(Failure::refused)?;
        let inbox = Arc::new(inbox);
        let (report, took) = run(output, |progress| async {
            self.receive(&context, &tls, inbox, rebuild.as_ref(), progress).await
        })?;
        let (Some(report), Some(rebuild)) = (report, rebuild) else { return Ok(Exit::Done) };
        report::write(self.report.as_deref(), &report)?;
        print_report(output, &context, &rebuild.target, &report, took)
    }

    fn rebuild(&self, context: &Context, trust: &SessionTrust) -> Result<Option<Rebuild>, Failure> {
        let Some(identity) = self.identity.clone().filter(|_| self.rebuild) else {
            return Ok(None);
        };
        // A wrong identity is told of now and not after hours of delivery.
        let opened = load_identity(&identity).map_err(Failure::refused)?;
        if opened.to_public() != context.session.receiver().recipient {
            return Err(Failure::refused("the identity is not that of the session's recipient"));
        }
        let source = context.source(context.session.receiver().party, &self.database)?;
        let target = Target { source, options: self.conflicts.options()? };
        let workers = workers(self.database.connections.count(), &self.work);
        Ok(Some(Rebuild { identity, trust: trust.clone(), target, workers }))
    }

    /// Serves until both packages are there and rebuilt, or, without a rebuild, for ever.
    async fn receive(
        &self,
        context: &Context,
        tls: &TlsIdentity,
        inbox: Arc<Inbox>,
        rebuild: Option<&Rebuild>,
        progress: Arc<Progress>,
    ) -> Result<Option<RebuildReport>, Failure> {
        progress.begin("receive", 0);
        let (listen, health) = (self.listen, Some(self.health_listen));
        let (session, limits) = (&context.session, self.limits.limits());
        let (packages, rebuilding) = (Arc::clone(&inbox), Arc::clone(&progress));
        let endpoint =
            Endpoint::bind(listen, health, session, tls, packages, rebuilding, limits).await;
        let endpoint = endpoint.map_err(Failure::failed)?;
        let (listening, health) = endpoint.addresses().map_err(Failure::failed)?;
        let health = health.map_or(String::new(), |address| format!(", health on {address}"));
        eprintln!("receiving on {listening}{health}");
        let shutdown = Shutdown::default();
        let serving = endpoint.serve(shutdown.clone());
        let working = async {
            tokio::select! {
                () = inbox.both_closed() => {}
                () = until_stopped(&progress) => {}
            }
            let done = match rebuild {
                Some(rebuild) if !progress.stopped() => {
                    rebuild.run(context, &inbox, &progress).await.map(Some)
                }
                _ => {
                    until_stopped(&progress).await;
                    Ok(None)
                }
            };
            shutdown.ask();
            done
        };
        let ((), done) = tokio::join!(serving, working);
        match done? {
            None if rebuild.is_some() => Err(Failure::failed("stopped before both packages came")),
            done => Ok(done),
        }
    }
}

impl Rebuild {
    async fn run(
        &self,
        context: &Context,
        inbox: &Inbox,
        progress: &Arc<Progress>,
    ) -> Result<RebuildReport, Failure> {
        let identity = load_identity(&self.identity).map_err(Failure::refused)?;
        let (session, trust) = (&context.session, Some(&self.trust));
        let packages = Packages::open_signed(session, trust, inbox.packages(), identity)?;
        let (packages, progress) = (Arc::new(packages), Arc::clone(progress));
        let rebuilt = rebuild(&context.session, packages, &self.target, self.workers, progress);
        Ok(rebuilt.await?)
    }
}

/// How often a request to stop is looked for.
const STOP_PERIOD: Duration = Duration::from_millis(100);

async fn until_stopped(progress: &Progress) {
    while !progress.stopped() {
        tokio::time::sleep(STOP_PERIOD).await;
    }
}
