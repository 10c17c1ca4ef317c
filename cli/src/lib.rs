//! `reshare`: moves and rebuilds secret shares in bulk.
//!
//! Arguments in, reports out: the work itself is in `reshare-pipeline` and the crates below it. The
//! program is a library so that its tests can ask for the feature `demo`; the binary calls
//! [`main`].

#![warn(clippy::print_stderr, clippy::print_stdout)]

mod allocator;
mod args;
mod argv;
mod closed_stdout;
mod commands;
mod exit;
mod failure;
#[cfg(debug_assertions)]
mod freeze;
mod hints;
mod logs;
mod named;
mod progress;
mod report;
mod run;
mod settings;
mod setup;
mod streams;
mod text;

pub use allocator::EndingAllocator;

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::CommandFactory;

use commands::Cli;
use exit::Exit;
use failure::Failure;
use named::NamedPaths;
use reshare_files::memory::forbid_core_dumps;
use settings::{Asked, Unread};
use streams::say;
use text::printable;

/// Does what the command line asks for, and returns the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let dumps = forbid_core_dumps();
    #[cfg(debug_assertions)]
    freeze::as_asked();
    if closed_stdout::was_closed() {
        let failure = Failure::failed("standard output is closed: there is nowhere to print to");
        return failure.hint("redirect it to a file, or to /dev/null").end();
    }
    if let Err(error) = argv::hide_passwords() {
        let hint = "give the URL as --db-url env:NAME instead";
        return Failure::failed(error).hint(hint).end();
    }
    let Asked { cli, matches, settings } = match settings::read(std::env::args_os().collect()) {
        Ok(asked) => asked,
        Err(Unread::Answer { answer, notes }) => return answered(&answer, &notes),
        Err(Unread::Failure(failure)) => return failure.end(),
    };
    logs::start(cli.output.verbose);
    if let Err(error) = dumps {
        say!("note: a crash may write keys into a core dump, which cannot be forbidden: {error}");
    }
    let paths = NamedPaths::of(&Cli::command(), &matches, &settings);
    match paths.look_at_outputs().and_then(|()| cli.run()) {
        Ok(exit) => exit.into(),
        Err(failure) => settings.explain(paths.explain(failure)).end(),
    }
}

/// Prints what clap answers: help and the version on standard output, and what is wrong on standard error.
fn answered(answer: &clap::Error, notes: &[String]) -> ExitCode {
    let printed = answer.print();
    for note in notes {
        say!("{}", printable(&format!("note: {note}")));
    }
    match printed {
        Err(error) if !answer.use_stderr() && error.kind() != ErrorKind::BrokenPipe => {
            Failure::failed(format!("cannot print the answer: {error}")).end()
        }
        _ if answer.use_stderr() => Exit::Usage.into(),
        _ => Exit::Done.into(),
    }
}
