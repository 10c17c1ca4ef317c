//! Standard output and error that are closed, full, or a pipe that nobody reads.

use reshare_fixtures::network::{Network, Setup};

use super::shell;
use crate::RESHARE;

/// A command that succeeds, and one for each of the exit codes of a failure.
fn commands(world: &Network) -> [(String, i32); 4] {
    let session = "\"$RESHARE\" session show --session session.toml";
    let url = &world.databases[0];
    let verify = "\"$RESHARE\" verify --session session.toml";
    let nowhere = "postgres://op@127.0.0.1:1/db?sslmode=disable";
    [
        (session.to_owned(), 0),
        (format!("{verify} --db-url '{nowhere}' --db-url '{nowhere}'"), 1),
        (format!("{session} --party-id"), 2),
        (format!("{verify} --db-url '{url}' --db-url '{}'", world.databases[1]), 4),
    ]
}

#[test]
fn no_exit_code_depends_on_standard_error() {
    let world = Setup::of(RESHARE).rows(9).make();
    for (command, code) in commands(&world) {
        shell(world.directory(), &command).ends_with(code);
        for to in ["2>/dev/full", "2>&-", "2> >(true)", "-vv 2>/dev/full"] {
            let run = shell(world.directory(), &format!("{command} {to}"));
            assert_eq!(run.code, Some(code), "{command} {to}: {}", run.stdout);
        }
    }
    // While rows move, and when a signal ends it.
    let state = "--state-dir state-0 --target-party-id 2";
    let key = format!(
        "--agreement-key 0.key --shared-key shared.key --expect-fingerprint {}",
        world.fingerprint
    );
    let send = format!("\"$RESHARE\" send --session session.toml {state} {key} -vv");
    let send = format!("{send} --db-url '{}' --to p0 2>/dev/full", world.databases[0]);
    shell(world.directory(), &send).ends_with(0);
}

#[test]
fn a_reader_that_goes_away_ends_every_command_in_the_same_quiet_way() {
    let world = Setup::of(RESHARE).without_databases().make();
    for command in [
        "completions bash",
        "completions zsh",
        "man",
        "--help",
        "--version",
        "send --help",
        "session show --session session.toml",
        "session show --json --session session.toml",
        "inspect session.toml",
        "keygen public --key 0.key",
        "pki ca --out authority-$RANDOM",
    ] {
        let script = format!("\"$RESHARE\" {command} | true; echo ${{PIPESTATUS[0]}}");
        for _ in 0..3 {
            let run = shell(world.directory(), &script).ends_with(0);
            assert_eq!((run.stdout.trim(), run.stderr.as_str()), ("0", ""), "{command}");
        }
    }
}

#[test]
fn what_cannot_be_printed_is_no_success() {
    let world = Setup::of(RESHARE).without_databases().make();
    for command in
        ["completions bash", "man", "--help", "--version", "session show --session session.toml"]
    {
        for to in [">/dev/full", ">&-"] {
            let run = shell(world.directory(), &format!("\"$RESHARE\" {command} {to}"));
            run.ends_with(1).says(&["error: "]);
        }
    }
}

#[test]
fn no_key_stays_whose_public_half_nobody_saw() {
    let directory = tempfile::tempdir().expect("a directory");
    let count = || std::fs::read_dir(directory.path()).expect("readable").count();
    for kind in ["agreement", "recipient", "recipient --classic", "agreement --json"] {
        for to in [">&-", ">/dev/full", "| true; exit ${PIPESTATUS[0]}"] {
            // So that the reader is gone when the key is made.
            let command = format!("(sleep 0.3; \"$RESHARE\" keygen {kind} --out key) {to}");
            let run = shell(directory.path(), &command).ends_with(1);
            assert_eq!(count(), 0, "{command}: {}", run.stderr);
        }
    }
    shell(directory.path(), "\"$RESHARE\" keygen agreement --out key >/dev/null").ends_with(0);
    assert_eq!(count(), 1);
}
