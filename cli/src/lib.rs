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
mod runs;
mod settings;
mod setup;
mod streams;
mod text;

pub use allocator::EndingAllocator;

use std::ffi::OsString;
use std::io::ErrorKind;
use std::process::ExitCode;

use clap::CommandFactory;
use clap::error::ErrorKind as AnswerKind;

use args::LogFormat;
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
    say_as_asked();
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
    let lines_are_json = match cli.output.log_format {
        Some(format) => format == LogFormat::Json,
        None => streams::lines_are_json(),
    };
    streams::set_form(lines_are_json, cli.output.json);
    if lines_are_json {
        std::panic::set_hook(Box::new(|panic| say!("error: {panic}")));
    }
    logs::start(cli.output.verbose);
    if let Err(error) = dumps {
        say!("note: a crash may write keys into a core dump, which cannot be forbidden: {error}");
    }
    let paths = NamedPaths::of(&Cli::command(), &matches, &settings);
    let outcome = paths
        .look_at_outputs()
        .and_then(|()| cli.run())
        .map_err(|failure| settings.explain(paths.explain(failure)));
    runs::end(&outcome);
    match outcome {
        Ok(exit) => exit.into(),
        Err(failure) => failure.end(),
    }
}

/// Prints what clap answers: help and the version on standard output, and what is wrong on standard error.
fn answered(answer: &clap::Error, notes: &[String]) -> ExitCode {
    if answer.use_stderr() && streams::errors_are_json() {
        return not_understood(answer, notes).end();
    }
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

/// Finds out how standard error is to be written before the command line is understood: what is
/// wrong with it is said in that form too.
fn say_as_asked() {
    let arguments: Vec<OsString> =
        std::env::args_os().take_while(|argument| argument != "--").collect();
    let flag = arguments.iter().enumerate().rev().find_map(|(at, argument)| {
        let value = argument.to_str()?.strip_prefix("--log-format")?;
        match value.strip_prefix('=') {
            Some(value) => Some(OsString::from(value)),
            None => arguments.get(at + 1).filter(|_| value.is_empty()).cloned(),
        }
    });
    let asked = flag.or_else(|| std::env::var_os("RESHARE_LOG_FORMAT"));
    let lines_are_json = asked.is_some_and(|value| value == "json");
    streams::set_form(lines_are_json, arguments.iter().any(|argument| argument == "--json"));
}

/// What clap says of a command line, as a failure: what is wrong, and its tips as the hint.
fn not_understood(answer: &clap::Error, notes: &[String]) -> Failure {
    use AnswerKind::{DisplayHelpOnMissingArgumentOrSubcommand, MissingSubcommand};
    let failure =
        if matches!(answer.kind(), DisplayHelpOnMissingArgumentOrSubcommand | MissingSubcommand) {
            Failure::usage("a command is missing")
        } else {
            let text = answer.render().to_string();
            let mut paragraphs = text
                .split("\n\n")
                .map(|paragraph| paragraph.lines().map(str::trim).collect::<Vec<_>>().join(" "));
            let message = paragraphs.next().unwrap_or_default();
            let tips: Vec<String> = paragraphs
                .filter_map(|paragraph| paragraph.strip_prefix("tip: ").map(str::to_owned))
                .collect();
            let failure = Failure::usage(message.trim_start_matches("error: ").to_owned());
            failure.hint_if((!tips.is_empty()).then(|| tips.join("; ")))
        };
    let failure = notes.iter().fold(failure, |failure, note| failure.with_note(note.clone()));
    failure.hint("`--help` says what the command takes")
}
