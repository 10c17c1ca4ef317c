//! SIGKILL in every file call of a run, one call after the other, and the same command again.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::world::{ROWS, World, contents, names, parts};
use crate::adopt_ledgers;
use reshare_fixtures::network::{Direction, End, Running, Way};

/// More file calls than any of these runs makes.
const MANY_CALLS: u64 = 1000;

impl World {
    /// The file that a frozen process makes.
    fn ice(&self) -> std::path::PathBuf {
        self.path("ice")
    }

    /// Lets a command freeze in its n-th file call.
    fn freezing<'a>(&self, nth: u64, command: &'a mut Command) -> &'a mut Command {
        let _ = fs::remove_file(self.ice());
        command.env("RESHARE_TEST_FREEZE", format!("{nth}:{}", self.ice().display()))
    }

    /// Kills a run in its n-th file call; without so many calls it must end well.
    #[track_caller]
    fn kill_in_call(&self, nth: u64, party: &str, arguments: &[&str]) -> bool {
        let mut job = Running::start(self.freezing(nth, &mut self.program_as(party, arguments)));
        if job.runs_until(|| self.ice().exists()) {
            job.kill();
            return true;
        }
        job.finish().ends_with(0);
        false
    }

    /// Gives a directory the contents of another.
    fn copy(&self, from: &str, to: &str) {
        if self.path(to).exists() {
            fs::remove_dir_all(self.path(to)).expect("removed");
        }
        let copied = Command::new("cp").arg("-a").args([self.path(from), self.path(to)]).status();
        assert!(copied.expect("coreutils: cp").success());
        if to.starts_with("state-") {
            adopt_ledgers(&self.path(to));
        }
    }
}

/// The same command with so many rows in a batch: fewer parts are fewer file calls of one kind.
fn in_batches_of<'a>(rows: &'a str, mut arguments: Vec<&'a str>) -> Vec<&'a str> {
    *arguments.iter_mut().find(|flag| **flag == "4").expect("rows of a batch") = rows;
    arguments
}

/// Parts of a package in which each has 8 rows.
const FEW_PARTS: u64 = ROWS / 8;

fn hidden(directory: &Path) -> usize {
    names(directory).iter().filter(|name| name.starts_with('.')).count()
}

/// Kills a run that makes the package p0 in each of its calls, from the same state every time.
fn walk_package(world: &World, arguments: Vec<&str>) {
    let arguments = &in_batches_of("8", arguments)[..];
    let package = world.path("p0");
    world.copy("state-0", "before");
    world.run_as("0", arguments).ends_with(0);
    let expected = contents(&package);
    let (mut kept, mut leftovers) = (0, 0);
    for nth in 1..MANY_CALLS {
        world.copy("before", "state-0");
        fs::remove_dir_all(&package).expect("removed");
        let was_killed = world.kill_in_call(nth, "0", arguments);
        let (before, is_closed) = (parts(&package), package.join("manifest.json").exists());
        leftovers += hidden(&package);
        let run = world.run_as("0", arguments).ends_with(0);
        assert_eq!((run.number("parts"), run.number("rows")), (FEW_PARTS, ROWS), "{nth}");
        assert_eq!(contents(&package), expected, "{nth}");
        let now = parts(&package);
        assert!(before.iter().all(|part| now.contains(part)), "{nth}: a part was made again");
        if !was_killed {
            assert!(is_closed && nth > 50, "only {nth} calls");
            assert!(kept > 100 && leftovers > 20, "{kept} {leftovers}");

            return;
        }
        kept += before.len();
    }
    panic!("the walk does not end");
}

#[test]
fn a_pack_that_is_killed_in_any_file_call_continues_where_it_was() {
    let world = World::new();
    fs::create_dir(world.path("files")).expect("made");
    world.run_as("0", &World::export(&world.databases[0])).ends_with(0);
    walk_package(&world, World::sender("pack", "0", &["--in", "files/e.rsh", "--to", "p0"]));
}

#[test]
fn a_send_that_is_killed_in_any_file_call_continues_where_it_was() {
    let world = World::new();
    walk_package(&world, World::send(&world.databases[0], "0", "p0"));
}

/// Kills a run that makes one file in each of its calls.
fn walk_file(world: &World, party: &str, arguments: Vec<&str>, file: &str) {
    let arguments = &in_batches_of("8", arguments)[..];
    let (files, file) = (world.path("files"), world.path(file));
    world.run_as(party, arguments).ends_with(0);
    let whole = fs::read(&file).expect("a file");
    let mut leftovers = 0;
    for nth in 1..MANY_CALLS {
        fs::remove_file(&file).expect("removed");
        if !world.kill_in_call(nth, party, arguments) {
            assert!(nth > 5 && leftovers > 3, "{nth} calls, {leftovers} left");

            return;
        }
        leftovers += hidden(&files);
        assert!(!file.exists() || fs::read(&file).expect("a file") == whole, "{nth}: half a file");
        world.run_as(party, arguments).ends_with(0);
        assert_eq!(hidden(&files), 0, "{nth}: {:?}", names(&files));
        assert!(fs::read(&file).expect("a file") == whole, "{nth}");
    }
    panic!("the walk does not end");
}

#[test]
fn an_export_and_a_merge_that_are_killed_in_any_file_call_leave_a_whole_file_or_none() {
    let world = World::new();
    fs::create_dir(world.path("files")).expect("made");
    walk_file(&world, "0", World::export(&world.databases[0]), "files/e.rsh");
    world.send_both();
    walk_file(&world, "2", World::merge(), "files/m.rsh");
}

impl World {
    fn upload(&self, receiver: &mut Running) -> Running {
        let url = receiver.url();
        self.start_as("0", &["upload", "p0", "--json", "--server-url", &url])
    }

    /// Kills a receiver in its n-th file call, and who delivers to it then, if anybody does;
    /// without so many calls the delivery must end well.
    #[track_caller]
    fn kill_receiver_in_call(&self, nth: u64) -> bool {
        let mut receiver = Running::start(self.freezing(nth, &mut self.receiving("in")));
        let is_frozen = || self.ice().exists();
        if receiver.listens_before(is_frozen) {
            let mut sender = self.upload(&mut receiver);
            if !sender.runs_until(is_frozen) {
                sender.finish().ends_with(0);
                return false;
            }
            sender.kill();
        }
        assert!(is_frozen(), "the receiver ended by itself");
        receiver.kill();
        true
    }
}

#[test]
fn a_receiver_and_a_sender_that_are_killed_in_any_file_call_go_on_where_they_were() {
    let world = World::new();
    // Three parts.
    let send = in_batches_of("16", World::send(&world.databases[0], "0", "p0"));
    world.run_as("0", &send).ends_with(0);
    let (sent, received) = (parts(&world.path("p0")), world.path("in/sender-0"));
    let (mut kept, mut leftovers) = (0, 0);
    for nth in 1..MANY_CALLS {
        let was_killed = world.kill_receiver_in_call(nth);
        let before = parts(&received);
        assert!(before.iter().all(|part| sent.contains(part)), "{nth}: half a part");
        leftovers += hidden(&received);
        let mut receiver = world.receive("in");
        let run = world.upload(&mut receiver).finish().ends_with(0);
        let new = (sent.len() - before.len()) as u64;
        assert_eq!(run.number("parts"), new, "{nth}");
        assert_eq!(run.number("parts_skipped"), before.len() as u64, "{nth}");
        contents(&received);
        assert!(parts(&received) == sent, "{nth}");
        receiver.signal("-TERM");
        receiver.finish().ends_with(143);
        fs::remove_dir_all(world.path("in")).expect("removed");
        if !was_killed {
            assert!(nth > 20 && kept > 20 && leftovers > 10, "{nth} {kept} {leftovers}");

            return;
        }
        kept += before.len();
    }
    panic!("the walk does not end");
}

impl World {
    /// As before anything was sent, received or loaded.
    fn start_over(&self) {
        for sender in ["0", "1"] {
            self.copy(&format!("before-{sender}"), &format!("state-{sender}"));
        }
        if self.path("in").exists() {
            fs::remove_dir_all(self.path("in")).expect("removed");
        }
        self.sql("TRUNCATE \"SMPC_dev_2\".irises");
        self.sql("DROP TABLE IF EXISTS \"SMPC_dev_2\".reshare_progress");
    }

    /// A receiver that loads what arrives, and holds so many bytes in memory.
    fn rebuilding(&self, memory: &str) -> Command {
        let mut command = self.receiving("in");
        // Longer than a sender may pause that has lost an answer.
        command.args(["--rebuild", "--identity", "r.age", "--linger", "60"]);
        command.args(["--memory-limit", memory, "-j", "1", "--batch-size", "8"]);
        command.args(["--db-url", &self.databases[2]]);
        command
    }

    /// Sends from both senders to the receiver at the other end of a line.
    fn send_into(&self, line: &Way) -> [Running; 2] {
        ["0", "1"].map(|sender| {
            let url = &self.databases[usize::from(sender == "1")];
            let patience = ["--retry-for", "600", "--answer-timeout", "3"];
            let to = ["-j", "1", "--db-url", url, "--server-url", &line.url];
            let to = [&to[..], &patience].concat();
            self.start_as(sender, &in_batches_of("8", Self::sender("send", sender, &to)))
        })
    }
}

/// Kills the receiver in some of its file calls while both senders deliver to it. Another one goes
/// on.
fn walk_one_pass(memory: &str, step: usize, least_calls: u64) {
    let world = World::new();
    for sender in ["0", "1"] {
        world.copy(&format!("state-{sender}"), &format!("before-{sender}"));
    }
    for nth in (1..MANY_CALLS).step_by(step) {
        world.start_over();
        // Until the first receiver listens there is none at all.
        let line = Way::to_receiver("127.0.0.1:1", Direction::ToServer, i64::MAX, End::Hold);
        let mut receiver = Running::start(world.freezing(nth, &mut world.rebuilding(memory)));
        let is_frozen = || world.ice().exists();
        if receiver.listens_before(is_frozen) {
            line.lead_to(&receiver.address());
        }
        let mut senders = world.send_into(&line);
        let was_killed = receiver.runs_until(is_frozen);
        if was_killed {
            receiver.kill();
            receiver = Running::start(&mut world.rebuilding(memory));
            line.lead_to(&receiver.address());
        }
        for sender in &mut senders {
            let run = sender.finish().ends_with(0);
            assert_eq!((run.number("parts"), run.number("rows")), (FEW_PARTS, ROWS), "{nth}");
        }
        // Who has asked before the kill does not ask again: the receiver would wait for that.
        let all = ROWS.to_string();
        receiver.runs_until(|| world.sql("SELECT count(*) FROM \"SMPC_dev_2\".irises") == all);
        if receiver.is_running() {
            receiver.signal("-TERM");
        }
        receiver.finish();
        world.assert_rebuilt();
        if !was_killed {
            assert!(nth > least_calls, "only {nth} calls");
            return;
        }
    }
    panic!("the walk does not end");
}

#[test]
fn a_receiver_that_loads_from_memory_and_is_killed_in_file_calls_loads_every_row_once() {
    walk_one_pass("134217728", 3, 20);
}

#[test]
fn a_receiver_that_loads_from_its_inbox_and_is_killed_in_file_calls_loads_every_row_once() {
    walk_one_pass("0", 11, 60);
}
