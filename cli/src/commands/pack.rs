//! `reshare pack`.

use std::path::PathBuf;

use clap::Args;
use reshare_pipeline::pack::pack;

use crate::args::{LedgerArgs, OutputArgs, PackingArgs, SenderKeyArgs, SessionArgs, WorkArgs};
use crate::failure::{Failure, Outcome, Rerun};
use crate::report;
use crate::run::run;
use crate::runs;
use crate::setup::context::Context;
use crate::setup::database::workers;
use crate::setup::ledger::ledgered;

#[derive(Debug, Args)]
pub(crate) struct PackArgs {
    #[command(flatten)]
    session: SessionArgs,

    #[command(flatten)]
    keys: SenderKeyArgs,

    #[command(flatten)]
    ledger: LedgerArgs,

    #[command(flatten)]
    work: WorkArgs,

    #[command(flatten)]
    packing: PackingArgs,

    /// The share file that `reshare export` wrote
    #[arg(long = "in", value_name = "FILE")]
    input: PathBuf,

    /// Write the package to this directory
    #[arg(long, value_name = "DIR")]
    to: PathBuf,

    /// Take a --to below /media, /mnt or /run/media where no medium is mounted: the package fills
    /// the disk of the system
    #[arg(long, requires = "to")]
    on_root_disk: bool,
}

impl PackArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        runs::begin("pack", &self.session, &self.ledger.state);
        let context = Context::open(&self.session)?;
        let keys =
            context.sender_keys(&self.session, &self.keys, &self.ledger.state, Vec::new())?;
        let state = self.ledger.state.directory()?;
        let sender = ledgered(&context.session, keys, &state, self.ledger.adopt_ledger)?;
        let sender = self.packing.compress(sender);
        let workers = workers(1, &self.work);
        let (report, took) = run(output, Rerun::Continues, |progress| async {
            let session = &context.session;
            let report = pack(session, sender, &self.input, &self.to, workers, progress);
            report.await.map_err(Failure::from)
        })?;
        report::print(output, &report, took, || report::packed(&report, &self.to, took))?;
        Ok(report::exit_of_pack(&report))
    }
}
