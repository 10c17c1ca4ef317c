//! `reshare export`.

use std::path::PathBuf;

use clap::Args;
use reshare_pipeline::export::export;

use crate::args::{DatabaseArgs, OutputArgs, SessionArgs, StateArgs, WorkArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::runs;
use crate::setup::context::Context;
use crate::setup::database::workers;
use crate::text::counted;

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    state: StateArgs,

    #[command(flatten)]
    database: DatabaseArgs,

    #[command(flatten)]
    work: WorkArgs,

    /// Leave out rows whose shares are missing or have another length than the session says, and
    /// rows that the server cannot read: they are listed, and the exit code is 3. Without it the
    /// first part with such a row ends the run
    #[arg(long, help_heading = "Database")]
    leave_out_bad_rows: bool,

    /// Write the plain shares to this file, mode 0600
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl ExportArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("export", &self.session, &self.state);
        let context = Context::open(&self.session)?;
        let sender = context.sender_named(&self.session)?;
        runs::of_party(sender);
        let source = context.source(sender, &self.database)?;
        let source = source.leaving_out_bad_rows(self.leave_out_bad_rows);
        let ids = context.row_ids()?;
        let workers = workers(self.database.connections.count(), &self.work);
        let (report, took) =
            run(output, Rerun::StartsOver("no file was written"), |progress| async {
                let session = &context.session;
                let report = export(session, &ids, sender, &source, &self.out, workers, progress);
                report.await.map_err(Failure::from)
            })?;
        report::print(output, &report, took, || {
            let rate = report::rate(report.rows, report.share_bytes, took);
            let rows = counted(report.rows, "row");
            let left_out = report::bad_rows(&report.bad_rows);
            format!("exported {rows} to {}{rate}{left_out}", self.out.display())
        })?;
        Ok(if report.bad_rows.is_empty() { Exit::Done } else { Exit::LeftOver })
    }
}
