//! `reshare`: moves and rebuilds secret shares in bulk.
//!
//! Arguments in, reports out: the work itself is in `reshare-io` and `reshare-engine`.

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

fn main() -> ExitCode {
    #[cfg(debug_assertions)]
    freeze::as_asked();
    if let Err(error) = argv::hide_passwords() {
        let failure = Failure::failed(error).hint("give the URL as --db-url env:NAME instead");
        failure.print();
        return failure.exit.into();
    }
    let cli = Cli::parse();
    logs::start(cli.output.verbose);
    match cli.run() {
        Ok(exit) => exit.into(),
        Err(failure) => {
            failure.print();
            failure.exit.into()
        }
    }
}
