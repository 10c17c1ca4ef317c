//! `reshare upload`.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use reshare_exchange::{Listing, RunFacts, SenderMetrics, upload};
use reshare_format::package::{Package, PackageExpectations, read_manifest};
use reshare_format::session::{Session, SessionTrust};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::ledger::{Ledger, LedgerDefect, LedgerError, SealedBefore};

use crate::args::{
    DeliveryArgs, MetricsArgs, NetworkArgs, OutputArgs, SessionArgs, StateArgs, TlsArgs,
};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::runs;
use crate::setup::context::Context;
use crate::setup::exporter::Exporter;

#[derive(Debug, Args)]
pub(crate) struct UploadArgs {
    /// The package's directory
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    tls: TlsArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    delivery: DeliveryArgs,

    #[command(flatten)]
    metrics: MetricsArgs,
}

impl UploadArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("upload", &self.session, &self.state);
        let context = Context::open(&self.session)?;
        context.check_network(&self.network)?;
        let session = &context.session;
        let identity = self.tls.identity(session)?;
        let trust = identity.trust(session)?;
        let package = self.package(&context, &trust)?;
        let sender = package.manifest().content().sender;
        runs::of_party(sender);
        let target = self.delivery.target(session, sender, &identity)?;
        runs::count_retries(target.retries());
        let sealed = self.recorded(session, &package)?;
        let parts = package.manifest().parts();
        let check = |listing: &Listing| match &sealed {
            Some(sealed) => listing.check_known(|part, digest| sealed.has(part, digest)),
            None => listing.check_within(parts),
        };
        let facts = RunFacts::of(session, &identity);
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let retries = Arc::clone(target.retries());
            let figures = SenderMetrics::new(Arc::clone(&progress), facts, retries);
            let exporter = Exporter::start(&self.metrics, figures).await?;
            let options = self.delivery.options();
            let uploaded = upload(&package, &target, options, &{ progress }, check).await;
            exporter.end(uploaded.is_ok());
            uploaded.map_err(Failure::from)
        })?;
        report::print(output, &report, took, || report::uploaded(&report, took))?;
        Ok(Exit::Done)
    }

    /// What this sender's ledger has recorded, and this package must be of; `None` on a machine
    /// without that ledger.
    fn recorded(
        &self,
        session: &Session,
        package: &Package,
    ) -> Result<Option<SealedBefore>, Failure> {
        let sender = package.manifest().content().sender;
        // Without a home directory there is no ledger either.
        let Ok(state) = self.state.directory() else { return Ok(None) };
        let sealed = match Ledger::glance(&state, &session.fingerprint(), sender) {
            Ok(figures) => figures.sealed,
            Err(LedgerError { defect: LedgerDefect::Missing, .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let mut parts = package.manifest().parts().iter();
        match parts.find(|part| !sealed.has(part.name, &part.sealed_digest)) {
            Some(part) => {
                let (directory, part) = (self.directory.clone(), part.name);
                Err(PipelineError::UnknownPart { directory, part }.into())
            }
            None => Ok(Some(sealed)),
        }
    }

    /// Opens the package as that of the sender it claims, and verifies this claim.
    fn package(&self, context: &Context, trust: &SessionTrust) -> Result<Package, Failure> {
        let claimed = read_manifest(&self.directory).map_err(PipelineError::from)?.claims().sender;
        if context.session.sender(claimed).is_none() {
            let error = format!("the package is of party {claimed}: no sender of this session");
            return Err(Failure::refused(error));
        }
        let expected = PackageExpectations::of(&context.session, claimed, Some(trust));
        let expected = expected.map_err(Failure::refused)?;
        Ok(Package::open(&self.directory, expected).map_err(PipelineError::from)?)
    }
}
