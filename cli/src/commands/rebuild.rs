//! `reshare rebuild`.

use clap::Args;
use reshare_files::ids::IdRange;
use reshare_pipeline::rebuild::rebuild_redoing;
use reshare_pipeline::workers::Target;

use crate::args::{
    ConflictArgs, DatabaseArgs, OutputArgs, PackagesArgs, ReportArgs, SessionArgs, WorkArgs,
    id_range,
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

    /// Take the loaded ranges that have ids of this one back, and load them again from the packages
    /// as they are now. Give it again for other ids
    #[arg(long, value_name = "FIRST-LAST", value_parser = id_range, allow_hyphen_values = true)]
    redo: Vec<IdRange>,

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
            let (session, redo) = (&context.session, &self.redo);
            let rebuilt = rebuild_redoing(session, packages, &target, redo, workers, progress);
            rebuilt.await.map_err(Failure::from)
        })?;
        report::write(&self.reports, &report, &report.leftovers)?;
        let text = || report::rebuilt(&report, &context.session, &target, took);
        report::print(output, &report, took, text)?;
        Ok(report::exit_of(&report.leftovers))
    }
}
