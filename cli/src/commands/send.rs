//! `reshare send`.

use std::path::PathBuf;

use clap::Args;
use reshare_io::pipeline::send::send;

use super::context::{Context, workers};
use crate::args::{DatabaseArgs, OutputArgs, SenderKeyArgs, SessionArgs, WorkArgs};
use crate::exit::{Exit, Failure, Outcome};
use crate::report;
use crate::run::run;

#[derive(Debug, Args)]
pub(crate) struct SendArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    keys: SenderKeyArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    work: WorkArgs,

    /// Make the package in this directory
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
}

impl SendArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let context = Context::open(&self.session)?;
        let keys = context.sender_keys(&self.session, &self.keys)?;
        let source = context.source(keys.sender(), &self.database)?;
        let ids = context.row_ids()?;
        let workers = workers(self.database.connections.count(), &self.work);
        let (report, took) = run(output, |progress| async {
            let session = &context.session;
            let report = send(session, &ids, keys, &source, &self.to, workers, progress);
            report.await.map_err(Failure::from)
        })?;
        report::print(output, &report, took, || report::packed(&report, &self.to, took))?;
        Ok(Exit::Done)
    }
}
