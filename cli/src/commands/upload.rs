//! `reshare upload`.

use std::path::PathBuf;

use clap::Args;
use reshare_exchange::upload;
use reshare_format::package::{Package, PackageExpectations, read_manifest};
use reshare_format::session::SessionTrust;
use reshare_pipeline::error::PipelineError;

use crate::args::{DeliveryArgs, NetworkArgs, OutputArgs, SessionArgs, TlsArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::setup::context::Context;

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
    delivery: DeliveryArgs,
}

impl UploadArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let context = Context::open(&self.session)?;
        context.check_network(&self.network)?;
        let session = &context.session;
        let identity = self.tls.identity(session)?;
        let trust = identity.trust(session)?;
        let package = self.package(&context, &trust)?;
        let sender = package.manifest().content().sender;
        let target = self.delivery.target(session, sender, &identity)?;
        let (report, took) = run(output, Rerun::Continues, |progress| async move {
            let uploaded = upload(&package, &target, self.delivery.options(), &progress).await;
            uploaded.map_err(Failure::from)
        })?;
        report::print(output, &report, took, || report::uploaded(&report, took))?;
        Ok(Exit::Done)
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
