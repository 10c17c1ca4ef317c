//! What is no plain file, or not this user's alone, in the place of one: refused, and never
//! waited for.

mod inboxes;
mod named_files;
mod packages;

use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use reshare_fixtures::network::{Network, Run, Running, Setup};

use crate::RESHARE;

fn network() -> Network {
    Setup::certified(RESHARE).make()
}

/// Runs a program that must end by itself, although nothing is written to a pipe that it may open.
#[track_caller]
fn ends(command: &mut Command) -> Run {
    Running::start(command).finish()
}

fn make_pipe(path: &Path) {
    let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
    assert!(made.success());
}

/// Puts something at a path.
type Put<'a> = Box<dyn Fn(&Path) + 'a>;

/// Ways to put something that is no regular file at a path, where `elsewhere` is one.
fn stand_ins(elsewhere: &Path) -> [(&'static str, Put<'_>); 4] {
    [
        ("pipe", Box::new(make_pipe)),
        ("directory", Box::new(|path| std::fs::create_dir(path).expect("a directory"))),
        ("link to a device", Box::new(|path| symlink("/dev/zero", path).expect("a link"))),
        ("link to the file", Box::new(move |path| symlink(elsewhere, path).expect("a link"))),
    ]
}

fn remove(path: &Path) {
    let removed = match path.symlink_metadata().expect("there").is_dir() {
        true => std::fs::remove_dir(path),
        false => std::fs::remove_file(path),
    };
    removed.expect("removed");
}

/// Both senders' packages.
fn send(world: &Network) {
    for party in [0, 1] {
        let sender = world.sender_flags(party);
        world.run_as(["0", "1"][party], &sender.command("send")).ends_with(0);
    }
}

const REBUILD: [&str; 11] = [
    "--session",
    "session.toml",
    "--identity",
    "r.age",
    "--package",
    "package-0",
    "--package",
    "package-1",
    "--ca-file",
    "ca/ca.pem",
    "--quiet",
];

fn rebuild(world: &Network) -> Run {
    let database = ["rebuild", "--db-url", &world.target];
    ends(&mut world.program_as("2", &[&database[..], &REBUILD[..]].concat()))
}
