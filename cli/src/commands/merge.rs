//! `reshare merge`.

use std::path::PathBuf;

use clap::Args;
use reshare_pipeline::merge::merge;

use crate::args::{
    NetworkArgs, OutputArgs, PackagesArgs, ReportArgs, SessionArgs, StateArgs, WorkArgs,
};
use crate::failure::{Failure, Outcome, Rerun};
use crate::report::{self, ReportFiles};
use crate::run::run;
use crate::runs;
use crate::setup::context::Context;
use crate::setup::database::workers;
use crate::text::counted;

#[derive(Debug, Args)]
pub(crate) struct MergeArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    packages: PackagesArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    work: WorkArgs,

    /// Write the rebuilt shares to this file, mode 0600
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    reports: ReportArgs,
}

impl MergeArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("merge", &self.session, &self.state);
        let reports = ReportFiles::open(&self.reports)?;
        let context = Context::open(&self.session)?;
        runs::of_party(context.session.receiver().party);
        context.receiver(&self.session)?;
        let packages = context.packages(&self.packages, Some(&self.network))?;
        let workers = workers(1, &self.work);
        let (report, took) =
            run(output, Rerun::StartsOver("no file was written"), |progress| async {
                let merged = merge(&context.session, packages, &self.out, workers, progress);
                merged.await.map_err(Failure::from)
            })?;
        reports.write(&report, &report.leftovers)?;
        report::print(output, &report, took, || {
            let leftovers = report::leftovers(&context.session, &report.leftovers);
            let rate = report::rate(report.rows, report.share_bytes, took);
            let rows = counted(report.rows, "row");
            format!("merged {rows} to {}{rate}{leftovers}", self.out.display())
        })?;
        Ok(report::exit_of(&report.leftovers))
    }
}
