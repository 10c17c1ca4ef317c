//! `reshare completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use super::Cli;
use crate::exit::Exit;
use crate::failure::Outcome;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    pub(crate) fn run(&self) -> Outcome {
        clap_complete::generate(self.shell, &mut Cli::command(), "reshare", &mut std::io::stdout());
        Ok(Exit::Done)
    }
}
