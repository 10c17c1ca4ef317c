//! What is no plain file, or not this user's alone, in the place of one: refused, and never
//! waited for.

mod inboxes;
mod named_files;
mod packages;

use std::fs::File;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::check_world::{Run, World};

/// How long anything may take that must come in the end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Runs a program that must end by itself, although nobody writes to a pipe that it may open.
#[track_caller]
fn ends(command: &mut Command) -> Run {
    let output = tempfile::tempdir().expect("a directory");
    let at = |name: &str| File::create(output.path().join(name)).expect("a file");
    command.stdin(Stdio::null()).stdout(at("stdout")).stderr(at("stderr"));
    let mut child = command.spawn().expect("it starts");
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("waited for") {
            break status;
        }
        if start.elapsed() > PATIENCE {
            child.kill().expect("killed");
            child.wait().expect("waited for");
            panic!("{command:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = |name: &str| std::fs::read(output.path().join(name)).expect("there");
    Run::of(std::process::Output { status, stdout: text("stdout"), stderr: text("stderr") })
}

impl Run {
    /// It failed, by itself, and says so in these words.
    #[track_caller]
    fn refuses(&self, words: &str) {
        assert!([1, 2, 4].contains(&self.code), "{}: {}", self.code, self.stderr);
        assert!(self.stderr.contains(words), "{words:?} is not in {:?}", self.stderr);
    }
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
fn send(world: &World) {
    for party in [0, 1] {
        let sender = world.sender(party);
        world.run(["0", "1"][party], &sender.command("send")).ends_with(0);
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

fn rebuild(world: &World) -> Run {
    let database = ["rebuild", "--db-url", &world.databases[2]];
    ends(&mut world.program("2", &[&database[..], &REBUILD[..]].concat()))
}
