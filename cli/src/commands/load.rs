//! `reshare load`.

use std::path::PathBuf;

use clap::Args;
use reshare_pipeline::load::load;
use reshare_pipeline::workers::Target;

use crate::args::{
    ConflictArgs, DatabaseArgs, NetworkArgs, OutputArgs, SessionArgs, StateArgs, WorkArgs,
};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::runs;
use crate::setup::context::Context;
use crate::setup::database::workers;

#[derive(Debug, Args)]
pub(crate) struct LoadArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    conflicts: ConflictArgs,

    #[command(flatten)]
    work: WorkArgs,

    /// The share file that `reshare merge` wrote
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,
}

impl LoadArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("load", &self.session, &self.state);
        let context = Context::open(&self.session)?;
        runs::of_party(context.session.receiver().party);
        context.check_network(&self.network)?;
        let source = context.source(context.receiver(&self.session)?, &self.database)?;
        let target =
            Target { source, options: self.conflicts.options(&self.database.connections)? };
        let workers = workers(self.database.connections.count(), &self.work);
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let loaded = load(&context.session, &self.input, &target, workers, progress);
            loaded.await.map_err(Failure::from)
        })?;
        report::print(output, &report, took, || {
            let rate = report::rate(report.rows, report.share_bytes, took);
            let text = report::loaded(report.rows, report.rows_skipped, &target.source, &rate);
            text + &report::sequences(&report.sequences_behind)
        })?;
        Ok(Exit::Done)
    }
}
