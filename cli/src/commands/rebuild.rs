//! `reshare rebuild`.

use std::time::Duration;

use clap::Args;
use reshare_pipeline::rebuild::{RebuildReport, rebuild};
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
        print_report(output, &context, &target, &report, took)
    }
}

/// Prints what was rebuilt, and answers with the exit code that follows from it.
pub(super) fn print_report(
    output: &OutputArgs,
    context: &Context,
    target: &Target,
    report: &RebuildReport,
    took: Duration,
) -> Outcome {
    report::print(output, report, took, || {
        let rate = report::rate(report.rows, report.share_bytes, took);
        let loaded = report::loaded(report.rows, report.rows_skipped, &target.source, &rate);
        let leftovers = report::leftovers(&context.session, &report.leftovers);
        format!("{loaded}{leftovers}")
    })?;
    Ok(report::exit_of(&report.leftovers))
}
