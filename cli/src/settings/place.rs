//! Where a flag can be set besides the command line.
//!
//! The key of a flag is its long name with underscores, and its variable is `RESHARE_` and the key
//! in upper case. What a flag means only for one command is set in that command's table alone, and
//! its variable has the command's name in it.

use clap::{Arg, Command};

/// Where a flag of a command can be set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// At the top of the file or in the command's table, and by a variable: it means the same for
    /// each command that has it.
    Shared,
    /// In the command's table, and by a variable of the command.
    OfCommand,
    /// On the command line alone, for this reason.
    CommandLine(&'static str),
}

/// Where the flag with this key can be set, for this command.
pub(crate) fn place(command: &str, key: &str) -> Place {
    use Place::{CommandLine, OfCommand, Shared};
    match (command, key) {
        // A log collector needs it for every command.
        (_, "log_format") => Shared,
        (_, "json" | "help" | "version") => CommandLine("says how one command answers"),
        (_, "config") => CommandLine("names the settings file; `RESHARE_CONFIG` does too"),
        (
            _,
            "yes" | "new_party" | "new_network" | "receiver_verified" | "adopt_ledger"
            | "on_root_disk",
        ) => CommandLine("confirms what an operator has looked at once"),
        (_, "allow_older") => CommandLine("confirms that newer rows are to be replaced"),
        (_, "dry_run" | "redo") => CommandLine("is asked for once"),
        ("session approve", "out") => OfCommand,
        (_, "out" | "html") => CommandLine("is a new file or directory each time"),
        ("report", "runs") => CommandLine("is another party's file"),
        ("purge", "package" | "file" | "inbox" | "keys") => CommandLine("says what is removed"),
        ("network add", "party_id" | "name" | "certificate") => {
            CommandLine("is about another party")
        }
        ("party init", _) => CommandLine("is about a new party"),
        ("keygen agreement", "session") => CommandLine("names a new file"),
        ("demo" | "seed", _) => OfCommand,
        (command, _) if command.starts_with("pki ") || command.starts_with("keygen ") => OfCommand,
        ("kms create-key", _) => OfCommand,
        // Another party's database may be meant.
        ("session new" | "status", "db_url" | "db_schema") => OfCommand,
        ("session new", "not_before" | "valid_days") => OfCommand,
        ("network show", "expect_fingerprint") => OfCommand,
        ("receive", "rebuild") => OfCommand,
        ("verify", "digests" | "file") | ("verify" | "purge" | "receive", "receipt") => OfCommand,
        ("receipt check", "package") => OfCommand,
        ("tune", "rows" | "seconds" | "dir") => OfCommand,
        _ => Shared,
    }
}

/// What must be there, in any place, for a value that is not on the command line to be taken. Where
/// it is not, the value is for other runs or commands, and is left alone.
pub(super) enum Condition {
    /// One of these flags.
    Needs(&'static [&'static str]),
    /// None of these.
    Unless(&'static [&'static str]),
}

/// The condition of a flag, if it has one.
pub(super) fn condition(command: &str, key: &str) -> Option<Condition> {
    use Condition::{Needs, Unless};
    Some(match (command, key) {
        ("receive", "identity") => Needs(&["rebuild"]),
        ("receive", key) if crate::commands::receive_needs_rebuild(key) => Needs(&["rebuild"]),
        ("session new" | "status" | "tune", "db_schema") => Needs(&["db_url"]),
        ("session new", "ca_file") => Needs(&["certificate_name", "party"]),
        ("verify", "receipt") => Needs(&["package"]),
        ("verify", "identity") => Unless(&["digests", "file"]),
        (
            "send",
            "server_url" | "uploads" | "retry_for" | "answer_timeout" | "classic_tls"
            | "own_approval" | "wait_receipt",
        ) => Unless(&["to"]),
        _ => return None,
    })
}

/// A flag's key, if it has a long name and is no flag that only older command lines have.
pub(crate) fn key_of(arg: &Arg) -> Option<String> {
    (!arg.is_hide_set()).then(|| arg.get_long().map(|long| long.replace('-', "_")))?
}

/// The table of a command in the file.
pub(crate) fn table_of(command: &str) -> String {
    command.replace(' ', "-")
}

/// The variable of a flag; `None` where it is on the command line alone.
pub(crate) fn variable_of(command: &str, key: &str) -> Option<String> {
    let upper = |text: &str| text.replace([' ', '-'], "_").to_ascii_uppercase();
    match place(command, key) {
        Place::Shared => Some(format!("RESHARE_{}", upper(key))),
        Place::OfCommand => Some(format!("RESHARE_{}_{}", upper(command), upper(key))),
        Place::CommandLine(_) => None,
    }
}

/// Calls `each` with every command that has none below it, and with its words.
pub(crate) fn for_each_command<'a>(program: &'a Command, each: &mut impl FnMut(&str, &'a Command)) {
    fn below<'a>(words: &str, command: &'a Command, each: &mut impl FnMut(&str, &'a Command)) {
        if !command.has_subcommands() {
            each(words, command);
        }
        for sub in command.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let words = format!("{words} {}", sub.get_name());
            below(words.trim(), sub, each);
        }
    }
    below("", program, each);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use clap::CommandFactory;

    use super::*;
    use crate::commands::Cli;

    #[test]
    fn help_names_the_variables_that_are_read() {
        let mut program = Cli::command();
        program.build();
        let mut count = 0;
        for_each_command(&program, &mut |words, command| {
            for arg in command.get_arguments() {
                let (Some(named), Some(key)) = (arg.get_env(), key_of(arg)) else { continue };
                count += 1;
                if key != "config" {
                    assert_eq!(
                        Some(named.to_str().expect("text")),
                        variable_of(words, &key).as_deref()
                    );
                }
            }
        });
        assert!(count > 50, "{count}");
    }

    #[test]
    fn no_variable_means_two_things() {
        let mut program = Cli::command();
        program.build();
        let mut known: BTreeMap<String, String> = BTreeMap::new();
        for_each_command(&program, &mut |words, command| {
            for key in command.get_arguments().filter_map(key_of) {
                let Some(variable) = variable_of(words, &key) else { continue };
                let meant = match place(words, &key) {
                    Place::Shared => key,
                    _ => format!("{words} {key}"),
                };
                let before = known.insert(variable.clone(), meant.clone());
                assert!(before.is_none_or(|before| before == meant), "{variable}");
            }
        });
    }
}
