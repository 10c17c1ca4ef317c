//! `reshare`: moves and rebuilds secret shares in bulk.
//!
//! Arguments in, reports out: the work itself is in `reshare-pipeline` and the crates below it. The program is
//! a library so that its tests can ask for the feature `demo`; the binary calls [`main`].

mod args;
mod argv;
mod commands;
mod exit;
mod failure;
#[cfg(debug_assertions)]
mod freeze;
mod hints;
mod logs;
mod progress;
mod report;
mod run;
mod setup;
mod text;

use std::process::ExitCode;

use clap::Parser;

use commands::Cli;
use failure::Failure;
use reshare_files::memory::forbid_core_dumps;

/// Does what the command line asks for, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let dumps = forbid_core_dumps();
    #[cfg(debug_assertions)]
    freeze::as_asked();
    if let Err(error) = argv::hide_passwords() {
        let failure = Failure::failed(error).hint("give the URL as --db-url env:NAME instead");
        failure.print();
        return failure.exit.into();
    }
    let cli = Cli::parse();
    logs::start(cli.output.verbose);
    if let Err(error) = dumps {
        eprintln!(
            "note: a crash may write keys into a core dump, which cannot be forbidden: {error}"
        );
    }
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}
