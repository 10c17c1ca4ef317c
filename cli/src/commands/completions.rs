//! `reshare completions`.

use clap::{Args, Command};
use clap_complete::Shell;

use crate::exit::Exit;
use crate::failure::Outcome;
use crate::report;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

impl CompletionsArgs {
    /// Prints the completions of this command line.
    pub(crate) fn run(&self, mut program: Command) -> Outcome {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program, "reshare", &mut script);
        report::bytes(&script)?;
        Ok(Exit::Done)
    }
}
