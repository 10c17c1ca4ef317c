//! The files and directories that a command line names.
//!
//! One rule for every flag of every command. What is named to be written is looked at before the
//! work: it must be writable without taking the place of a device, a pipe or a link. What is named
//! to be read is opened by the command in its turn; where that fails, it is looked at here: if it
//! is not there, or not open to this user, the command line makes no sense here (exit code 2). What
//! fails while it is read or written may succeed in another run (exit code 1).

use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use reshare_files::file_error::FileError;
use reshare_files::input_file::open_input;
use reshare_files::medium::unmounted_medium;
use reshare_files::output_file::probe_output;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::settings::Settings;

/// What a flag names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Named {
    /// A file to read.
    Input,
    /// A file to read, after `PARTY=`; a recipient is none.
    PartyInput,
    /// A file to read, or a recipient: `age1...`.
    InputOrRecipient,
    /// A private key: `file:PATH` or `PATH`; `kms:ARN` is none.
    Key,
    /// A directory to read, or a file or directory.
    Existing,
    /// A file that appears whole, under a name that is free or a regular file's.
    Output,
    /// A file that is read and replaced.
    Replaced,
    /// A directory that is made with its parents where it is not there.
    Made,
    /// A directory that is made in one that is there, maybe on a medium that has to be mounted.
    MadeInPlace,
    /// The same, where the disk of the system may be meant.
    MadeOnAnyDisk,
    /// What the command looks at itself: it may be missing, or is opened and kept open.
    Own,
}

/// What the flag with this id names, in this command; `None` where it names no file.
fn named(command: &str, id: &str) -> Option<Named> {
    use Named::{
        Existing, Input, InputOrRecipient, Key, Made, MadeInPlace, MadeOnAnyDisk, Output, Own,
        PartyInput, Replaced,
    };
    Some(match (command, id) {
        // It says of each thing whether it is ok.
        (command, _) if command.starts_with("check") => Own,
        // What is missing may have been removed before.
        ("purge", "packages" | "files" | "inboxes" | "keys") => Own,
        // A package that no part has come to has no directory.
        ("status", "packages" | "inbox") => Own,
        ("network new", "network") => Output,
        ("network add", "network") => Replaced,
        ("verify" | "receive", "receipt") | (_, "wait_receipt" | "metrics_textfile") => Output,
        ("pki ca" | "pki issue", "out") | ("party init", "directory") => Made,
        ("man", "out") => Existing,
        ("keygen agreement", "session") => Own,
        (_, "out" | "html") => Output,
        (_, "keep") => Made,
        (_, "to") => MadeInPlace,
        (_, "inbox") => MadeOnAnyDisk,
        (_, "senders" | "receiver") => PartyInput,
        (_, "own_public_key") => InputOrRecipient,
        (_, "agreement_key") => Key,
        (
            _,
            "packages" | "package" | "certificates" | "directory" | "path" | "evidence" | "dir"
            | "ca",
        ) => Existing,
        // Made by the first command that needs it; the ledger in it has messages of its own.
        (_, "state_dir") => Own,
        // Opened by `ReportFiles`, which keeps pipes open.
        (_, "report" | "leftover_ids") => Own,
        (
            _,
            "config" | "session" | "ids_from" | "runs" | "ca_file" | "certificate"
            | "certificate_key" | "approvals" | "identity" | "kem_key" | "shared_key" | "key"
            | "network" | "input" | "file" | "receipt" | "files" | "csr" | "parties"
            | "own_approval",
        ) => Input,
        _ => return None,
    })
}

/// The paths that a command line names.
pub(crate) struct NamedPaths(Vec<NamedPath>);

struct NamedPath {
    named: Named,
    value: OsString,
    flag: String,
}

impl NamedPaths {
    /// Finds the paths among what was given, in arguments and in settings.
    pub(crate) fn of(program: &Command, matches: &ArgMatches, settings: &Settings) -> Self {
        let (mut command, mut matches) = (program, matches);
        let mut words = Vec::new();
        while let Some((name, below)) = matches.subcommand() {
            let Some(found) = command.find_subcommand(name) else { break };
            (command, matches) = (found, below);
            words.push(name);
        }
        let words = words.join(" ");
        let mut paths = Vec::new();
        for arg in command.get_arguments().filter(|arg| takes_a_path(arg)) {
            let id = arg.get_id().as_str();
            let Some(named) = named(&words, id) else { continue };
            let flag = match (matches.value_source(id), settings.origin(id)) {
                (Some(ValueSource::CommandLine), None) => flag_of(arg),
                (Some(ValueSource::CommandLine), Some(origin)) => {
                    format!("{} (by {origin})", flag_of(arg))
                }
                _ => continue,
            };
            for value in matches.get_raw(id).into_iter().flatten() {
                paths.push(NamedPath { named, value: value.to_owned(), flag: flag.clone() });
            }
        }
        let is_allowed = matches!(matches.try_get_one::<bool>("on_root_disk"), Ok(Some(true)));
        if is_allowed {
            paths.iter_mut().filter(|path| path.named == Named::MadeInPlace).for_each(|path| {
                path.named = Named::MadeOnAnyDisk;
            });
        }
        Self(paths)
    }

    /// Looks at what is to be written, before the work.
    ///
    /// # Errors
    /// A [`Failure`] of the first one that cannot be written, with its flag.
    pub(crate) fn look_at_outputs(&self) -> Result<(), Failure> {
        for NamedPath { named, value, flag } in &self.0 {
            let path = Path::new(value);
            match named {
                Named::Output | Named::Replaced => {
                    probe_output(path).map_err(|error| Failure::of_output(error, flag))?;
                }
                Named::MadeInPlace | Named::MadeOnAnyDisk => {
                    check_place(path, flag, *named == Named::MadeOnAnyDisk)?;
                }
                Named::Made => check_made(path, flag)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// A failure whose cause is that a path of the command line is not there, or not open to this
    /// user, is one of the command line. Any other one stays as it is.
    pub(crate) fn explain(&self, failure: Failure) -> Failure {
        if !matches!(failure.exit, Exit::Failed | Exit::Usage) {
            return failure;
        }
        let message = failure.causes().join("\n");
        let unusable = self.0.iter().find(|path| {
            path.input().is_some_and(|input| {
                message.contains(&*input.to_string_lossy()) && is_out_of_reach(input)
            })
        });
        match unusable {
            Some(NamedPath { flag, .. }) => failure.of_the_command_line(flag),
            None => failure,
        }
    }
}

impl NamedPath {
    /// The path, where it is one to read.
    fn input(&self) -> Option<&Path> {
        let is_recipient =
            |value: &[u8]| value.starts_with(b"age1") || value.starts_with(b"AGE-SECRET");
        let bytes = self.value.as_bytes();
        let path = match self.named {
            Named::Input | Named::Existing | Named::Replaced => bytes,
            Named::PartyInput => {
                let (_, value) = bytes.split_at(bytes.iter().position(|byte| *byte == b'=')? + 1);
                value
            }
            Named::InputOrRecipient => bytes,
            Named::Key => bytes.strip_prefix(b"file:").unwrap_or(bytes),
            Named::Output
            | Named::Made
            | Named::MadeInPlace
            | Named::MadeOnAnyDisk
            | Named::Own => return None,
        };
        let is_other =
            is_recipient(path) || (self.named == Named::Key && path.starts_with(b"kms:"));
        (!path.is_empty() && !is_other).then(|| Path::new(OsStr::from_bytes(path)))
    }
}

/// Whether nothing that this user may read has that name.
fn is_out_of_reach(path: &Path) -> bool {
    use ErrorKind::{InvalidFilename, NotADirectory, NotFound, PermissionDenied};
    let opened =
        if path.is_dir() { fs::read_dir(path).map(drop) } else { open_input(path).map(drop) };
    opened.is_err_and(|error| {
        matches!(error.kind(), NotFound | PermissionDenied | NotADirectory | InvalidFilename)
            || error.raw_os_error() == Some(TOO_MANY_LINKS)
    })
}

/// Whether a flag's value is, or may be, a path: its name in the help says so.
fn takes_a_path(arg: &Arg) -> bool {
    let names = arg.get_value_names().unwrap_or_default();
    arg.get_action().takes_values()
        && names.iter().any(|name| {
            ["FILE", "DIR", "PATH", "KEY"]
                .iter()
                .any(|kind| name.split(['|', '=']).any(|part| part == *kind))
        })
}

/// What a message calls a flag.
fn flag_of(arg: &Arg) -> String {
    match arg.get_long() {
        Some(long) => format!("--{long}"),
        None => "the path".to_owned(),
    }
}

/// ELOOP of Linux, for which the standard library has no stable kind: links that lead in a circle.
const TOO_MANY_LINKS: i32 = 40;

/// A directory that is made with its parents: the nearest thing that is there must be a directory.
fn check_made(path: &Path, flag: &str) -> Result<(), Failure> {
    let there = path.ancestors().find(|ancestor| ancestor.symlink_metadata().is_ok());
    match there {
        Some(there) if !there.is_dir() => {
            let error = FileError::new("write into", there, ErrorKind::NotADirectory.into());
            Err(Failure::usage(error).hint(format!("check {flag}")))
        }
        _ => Ok(()),
    }
}

/// A directory that is made in one that must be there: below a medium that is not mounted, it would
/// fill another disk.
pub(crate) fn check_place(path: &Path, flag: &str, is_any_disk: bool) -> Result<(), Failure> {
    let hint = format!("mount the medium, or check {flag}: only its last directory is made");
    let parent = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    };
    if let Err(error) = fs::metadata(parent) {
        return Err(Failure::usage(FileError::new("write into", parent, error)).hint(hint));
    }
    match unmounted_medium(path) {
        Some(place) if !is_any_disk => {
            let error = format!(
                "{} is on the disk of the system: no medium is mounted below {}",
                path.display(),
                place.display()
            );
            Err(Failure::usage(error)
                .hint(format!("mount the medium; --on-root-disk takes {flag} as it is")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::commands::Cli;

    fn each_path(command: &Command, words: &str, missing: &mut Vec<String>, count: &mut usize) {
        for arg in command.get_arguments().filter(|arg| takes_a_path(arg)) {
            *count += 1;
            if named(words, arg.get_id().as_str()).is_none() {
                missing.push(format!("{words} {}", flag_of(arg)));
            }
        }
        for below in command.get_subcommands() {
            let words = format!("{words} {}", below.get_name());
            each_path(below, words.trim(), missing, count);
        }
    }

    #[test]
    fn every_flag_that_names_a_file_has_a_rule() {
        let (mut missing, mut count) = (Vec::new(), 0);
        each_path(&Cli::command(), "", &mut missing, &mut count);
        assert_eq!(missing, Vec::<String>::new());
        assert!(count > 100, "{count}");
    }

    #[test]
    fn every_path_among_the_arguments_says_so_in_its_name() {
        fn each(command: &Command, ids: &mut Vec<String>) {
            let path = clap::builder::ValueParser::path_buf().type_id();
            for arg in command.get_arguments().filter(|arg| !takes_a_path(arg)) {
                if arg.get_value_parser().type_id() == path {
                    ids.push(arg.get_id().to_string());
                }
            }
            command.get_subcommands().for_each(|below| each(below, ids));
        }
        let mut ids = Vec::new();
        each(&Cli::command(), &mut ids);
        assert_eq!(ids, Vec::<String>::new());
    }
}
