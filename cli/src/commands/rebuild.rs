//! `reshare rebuild`.

use clap::Args;
use reshare_pipeline::rebuild::rebuild;
use reshare_pipeline::workers::Target;

use crate::args::{
    ConflictArgs, DatabaseArgs, OutputArgs, PackagesArgs, ReportArgs, SessionArgs, WorkArgs,
};
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::setup::context::Context;
use crate::setup::database::workers;

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    packages: PackagesArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    conflicts: ConflictArgs,

    #[command(flatten)]
    work: WorkArgs,

    #[command(flatten)]
    reports: ReportArgs,
}

impl RebuildArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let context = Context::open(&self.session)?;
        let packages = context.packages(&self.packages)?;
        let source = context.source(context.receiver(&self.session)?, &self.database)?;
        let target = Target { source, options: self.conflicts.options()? };
        let workers = workers(self.database.connections.count(), &self.work);
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let rebuilt = rebuild(&context.session, packages, &target, workers, progress);
            rebuilt.await.map_err(Failure::from)
        })?;
        report::write(&self.reports, &report, &report.leftovers)?;
        let text = || report::rebuilt(&report, &context.session, &target, took);
        report::print(output, &report, took, text)?;
        Ok(report::exit_of(&report.leftovers))
    }
}
