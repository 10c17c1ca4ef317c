//! `reshare completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::failure::Outcome;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the completions of this command line.
    pub(crate) fn run(&self, mut program: Command) -> Outcome {
        clap_complete::generate(self.shell, &mut program, "reshare", &mut std::io::stdout());
        Ok(Exit::Done)
    }
}
