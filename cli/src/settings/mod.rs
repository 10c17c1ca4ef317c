//! Settings: what flags say that are not on the command line. `docs/settings.md` is for operators.
//!
//! Read [`place`] first: where each flag can be set. [`file`] reads `reshare.toml`, and [`layers`]
//! chooses between the places.

mod file;
mod layers;
mod place;
#[cfg(test)]
mod reference;

use std::ffi::{OsStr, OsString};
use std::path::Path;

use clap::builder::Resettable;
use clap::error::{ContextKind, ContextValue};
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::commands::Cli;
use crate::failure::Failure;
pub(crate) use file::SettingsFile;
pub(crate) use layers::{Layer, Origin};
pub(crate) use place::{for_each_command, key_of, variable_of};

/// What a command line asks for, with the settings of its command.
pub(crate) struct Asked {
    pub(crate) cli: Cli,
    pub(crate) matches: ArgMatches,
    pub(crate) settings: Settings,
}

/// The values that were taken for a command, from every place.
#[derive(Debug, Default)]
pub(crate) struct Settings(Vec<Layer>);

/// Why a command line asks for nothing.
pub(crate) enum Unread {
    /// clap answers: with help, or with what is wrong, to which notes say where it came from.
    Answer { answer: clap::Error, notes: Vec<String> },
    /// A setting is at fault.
    Failure(Failure),
}

/// Reads a command line, with the settings of its command from the environment and the settings
/// file.
pub(crate) fn read(argv: Vec<OsString>) -> Result<Asked, Unread> {
    let program = program();
    let first = partly(&argv).map_err(|answer| Unread::Answer { answer, notes: Vec::new() })?;
    let settings = settings_for(&program, &first).map_err(Unread::Failure)?;
    let argv = settings.with(argv);
    let matches = without_variables(Cli::command()).try_get_matches_from(argv);
    let read = matches.and_then(|matches| Ok((Cli::from_arg_matches(&matches)?, matches)));
    let (cli, matches) = read.map_err(|answer| settings.unread(answer))?;
    Ok(Asked { cli, matches, settings })
}

/// The program's command line, with what every command takes.
pub(crate) fn program() -> Command {
    let mut program = Cli::command();
    program.build();
    program
}

/// Reads as much of a command line as makes sense, so that what is missing may be set elsewhere.
///
/// # Errors
/// What clap answers to a command line that asks for help.
pub(crate) fn partly(argv: &[OsString]) -> Result<ArgMatches, clap::Error> {
    // Before it is built, so that it holds for every command below.
    Cli::command().ignore_errors(true).try_get_matches_from(argv)
}

/// Variables are read here, and not by clap, which names them in its help.
fn without_variables(command: Command) -> Command {
    let command = command.mut_args(|arg| match arg.get_id() == "config" {
        true => arg,
        false => arg.env(Resettable::Reset),
    });
    command.mut_subcommands(without_variables)
}

/// The settings of the command that is asked for.
fn settings_for(program: &Command, matches: &ArgMatches) -> Result<Settings, Failure> {
    let Some((words, command, matches)) = command_of(program, matches) else {
        return Ok(Settings::default());
    };
    // What is asked about settings must work without good ones, and help for the shell needs none.
    if ["config show", "completions", "man"].contains(&words.as_str()) {
        return Ok(Settings::default());
    }
    settings_of(program, &words, command, matches)
}

/// The settings of a command whose command line has these matches.
pub(crate) fn settings_of(
    program: &Command,
    words: &str,
    command: &Command,
    matches: &ArgMatches,
) -> Result<Settings, Failure> {
    let file = SettingsFile::find(named_file(matches).as_deref(), program)?;
    Ok(Settings(layers::layers(words, command, matches, file.as_ref())?))
}

/// The settings file that is named, by flag or variable.
fn named_file(matches: &ArgMatches) -> Option<std::path::PathBuf> {
    matches.get_one::<std::path::PathBuf>("config").cloned()
}

/// The command that is asked for: its words, the command itself, and what its command line has.
pub(crate) fn command_of<'a>(
    program: &'a Command,
    matches: &'a ArgMatches,
) -> Option<(String, &'a Command, &'a ArgMatches)> {
    let (mut command, mut matches, mut words) = (program, matches, Vec::new());
    while let Some((name, below)) = matches.subcommand() {
        (command, matches) = (command.find_subcommand(name)?, below);
        words.push(name);
    }
    (!command.has_subcommands()).then(|| (words.join(" "), command, matches))
}

impl Settings {
    /// Every value that was taken, those of the command line too.
    pub(crate) fn layers(&self) -> &[Layer] {
        &self.0
    }

    /// Where the value of a flag came from, if it is not on the command line.
    pub(crate) fn origin(&self, id: &str) -> Option<&Origin> {
        self.elsewhere().find(|layer| layer.id == id).map(|layer| &layer.origin)
    }

    fn elsewhere(&self) -> impl Iterator<Item = &Layer> {
        self.0.iter().filter(|layer| layer.origin != Origin::Flag)
    }

    /// The command line with what is set elsewhere.
    fn with(&self, mut argv: Vec<OsString>) -> Vec<OsString> {
        // What follows `--` is no flag.
        let end = argv.iter().position(|argument| argument == "--").unwrap_or(argv.len());
        let added: Vec<OsString> = self.elsewhere().flat_map(Layer::arguments).collect();
        argv.splice(end..end, added);
        argv
    }

    /// What clap says of a command line, without values that are stored elsewhere.
    fn unread(&self, answer: clap::Error) -> Unread {
        let bad = match answer.get(ContextKind::InvalidValue) {
            Some(ContextValue::String(value)) => Some(OsStr::new(value)),
            _ => None,
        };
        let stored = self.elsewhere().find(|layer| {
            layer.written.is_some()
                && bad.is_some_and(|bad| layer.values.iter().any(|value| value == bad))
        });
        if let Some(Layer { flag, origin, written: Some(written), .. }) = stored {
            let error = format!("{written} holds no value for {flag}");
            return Unread::Failure(Failure::usage(error).with_note(came_from(flag, origin)));
        }
        let notes = self.notes(&answer.to_string());
        Unread::Answer { answer, notes }
    }

    /// Adds to a failure where the flags came from that it is about.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        let said =
            [failure.causes(), failure.next_step().into_iter().collect()].concat().join("\n");
        let notes = self.notes(&said);
        notes.into_iter().fold(failure, |failure, note| failure.with_note(note))
    }

    /// Where the flags came from that a message names and does not explain.
    fn notes(&self, message: &str) -> Vec<String> {
        let named = self.elsewhere().filter(|layer| {
            names(message, &layer.flag) && !message.contains(&layer.origin.to_string())
        });
        named.map(|Layer { flag, origin, .. }| came_from(flag, origin)).collect()
    }
}

fn came_from(flag: &str, origin: &Origin) -> String {
    format!("{flag} comes from {origin}")
}

/// Whether a message has the name of a flag, and not only that of a longer one.
fn names(message: &str, flag: &str) -> bool {
    let mut rest = message;
    while let Some((_, after)) = rest.split_once(flag) {
        if !after.starts_with(|next: char| next == '-' || next.is_ascii_alphanumeric()) {
            return true;
        }
        rest = after;
    }
    false
}

/// Whether a key's value may hold a password.
pub(crate) fn is_secret(value: &OsStr) -> bool {
    crate::argv::has_password(value)
}

impl Layer {
    /// The value as it may be shown: as it is written where that says only where it is, and hidden
    /// where it is a secret.
    pub(crate) fn shown(&self) -> String {
        if let Some(written) = &self.written {
            return written.clone();
        }
        if self.values.iter().any(|value| is_secret(value)) {
            return "(hidden: it holds a password)".to_owned();
        }
        let values: Vec<_> =
            self.values.iter().map(|value| Path::new(value).display().to_string()).collect();
        match values.is_empty() {
            true => self.times_shown(),
            false => values.join(" "),
        }
    }
}
