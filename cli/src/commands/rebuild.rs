//! `reshare rebuild`.

use clap::Args;
use reshare_files::ids::IdRange;
use reshare_pipeline::packages::SideSoFar;
use reshare_pipeline::rebuild::{SoFar, rebuild_so_far};
use reshare_pipeline::workers::Target;

use crate::args::{
    ConflictArgs, DatabaseArgs, NetworkArgs, OutputArgs, PackagesArgs, ReportArgs, SessionArgs,
    StateArgs, WorkArgs, id_range,
};
use crate::failure::{Failure, Hint, Outcome, Rerun};
use crate::report::{self, ReportFiles};
use crate::run::run;
use crate::runs;
use crate::setup::context::Context;
use crate::setup::database::workers;

#[derive(Debug, Args)]
pub(crate) struct RebuildArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    packages: PackagesArgs,

    #[command(flatten)]
    network: NetworkArgs,

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
        runs::begin("rebuild", &self.session, &self.state);
        let reports = ReportFiles::open(&self.reports)?;
        let context = Context::open(&self.session)?;
        runs::of_party(context.session.receiver().party);
        let packages = context.packages_so_far(&self.packages, &self.network)?;
        let source = context.source(context.receiver(&self.session)?, &self.database)?;
        let target =
            Target { source, options: self.conflicts.options(&self.database.connections)? };
        let workers = workers(self.database.connections.count(), &self.work);
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let (session, redo) = (&context.session, &self.redo);
            let rebuilt = rebuild_so_far(session, &packages, &target, redo, workers, progress);
            rebuilt.await.map_err(Failure::from)
        })?;
        reports.write(&report, &report.leftovers)?;
        let text = || report::rebuilt(&report, &context.session, &target, took);
        report::print(output, &report, took, text)?;
        if let Some(so_far) = &report.so_far {
            return Err(not_complete(so_far));
        }
        Ok(report::exit_of(&report.leftovers))
    }
}

/// What is missing of packages that are not closed. What both cover is loaded.
fn not_complete(so_far: &SoFar) -> Failure {
    let up_to = |id: Option<i64>| match id {
        Some(id) => format!("up to id {id}"),
        None => "nothing".to_owned(),
    };
    let side = |side: &SideSoFar| match side.closed {
        true => format!("the package of sender {} is complete", side.sender),
        false => format!(
            "the package of sender {} has no manifest, and covers {}",
            side.sender,
            up_to(side.covered_up_to)
        ),
    };
    let [lower, higher] = so_far.senders.each_ref().map(side);
    let loaded = up_to(so_far.loaded_up_to);
    let error =
        format!("not everything is there to be loaded: {lower}; {higher}; loaded: {loaded}");
    Failure::failed(error).hint(Hint::run_again(
        "when the senders are done and the rest of both packages is copied, run the same command \
         again",
    ))
}
