//! `reshare demo`.

use clap::Args;

use crate::args::OutputArgs;
use crate::exit::{Exit, Outcome};

#[derive(Debug, Args)]
pub(crate) struct DemoArgs {}

impl DemoArgs {
    pub(crate) fn run(&self, _: &OutputArgs) -> Outcome {
        Ok(Exit::Done)
    }
}
