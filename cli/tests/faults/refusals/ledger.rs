//! Ledgers that are missing, damaged or another's: a sender blinds nothing. And two processes
//! on one ledger: no row is blinded twice differently.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::attackers::Door;
use super::world::{ROWS, World};
use reshare_fixtures::network::{Run, Running};

/// The ledger of sender 0 in a session.
fn ledger_of(world: &World, session: &str) -> PathBuf {
    let show = ["session", "show", "--json", "--session", session];
    let shown = world.run_as("0", &show).ends_with(0).report();
    world.path("s-0").join(shown["fingerprint"].as_str().expect("text")).join("ledger-0")
}

#[test]
fn a_ledger_that_cannot_be_used_blinds_nothing_and_is_never_created_again() {
    let world = World::new();
    let ledger = ledger_of(&world, "session.toml");
    let whole = fs::read(&ledger).expect("made by the approval");
    assert!(whole.len() > 1000, "package-0 was blinded with it");
    let door = Door::open(&world, &[]);
    let server = format!("https://{}", door.address);
    let sent: Vec<String> = world.send_flags("0");
    let sent: Vec<&str> = sent.iter().map(String::as_str).collect();
    let refuses = |words: &[&str]| {
        let own = ["session", "approve", "--own-public-key", "0.pub", "--out", "again.json"];
        let fingerprint = world.fingerprint_of("session.toml");
        let own = [&own[..], &["--yes", "--expect-fingerprint", &fingerprint]].concat();
        let run = |what: &dyn Fn() -> Run| {
            world.refuses(4, |_| what()).says(words).says(&["ledger s-0/", "hint: "]);
        };
        run(&|| world.pack("0", "session.toml", "new-package", &World::approvals("0")));
        run(&|| world.run_as("0", &[&sent[..], &["--to", "new-package"]].concat()));
        run(&|| world.run_as("0", &[&sent[..], &["--server-url", &server]].concat()));
        // No approval makes another one.
        let refused = world.run_as("0", &own).ends_with(4);
        refused.says(words).says(&["ledger s-0/", "hint: "]);
    };
    // Into the file that it is: a copy in its place is refused as such.
    let write = |bytes: &[u8]| fs::write(&ledger, bytes).expect("written");
    let elsewhere = world.path("elsewhere");
    fs::rename(&ledger, &elsewhere).expect("moved");
    refuses(&[
        "there is no ledger of this session and sender here: one was made, and is gone",
        "look for it first: --state-dir",
    ]);
    fs::copy(&elsewhere, &ledger).expect("copied");
    refuses(&["this file is a copy of the one that was made", "give --adopt-ledger, once"]);
    fs::rename(&elsewhere, &ledger).expect("moved back");
    for bytes in [0, 1, 100, whole.len() / 2, whole.len() - 1] {
        write(&whole[..bytes]);
        refuses(&[if bytes < 100 { "ledger" } else { "truncated" }, "agree on a new session"]);
    }
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    write(&flipped);
    refuses(&["it is corrupted", "agree on a new session"]);
    write(&fs::read(ledger_of(&world, "earlier.toml")).expect("another ledger"));
    refuses(&["it belongs to the session with fingerprint", "agree on a new session"]);
    write(&whole);
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o644)).expect("changed");
    refuses(&["its mode is 644", "hint: chmod 600"]);
    fs::set_permissions(&ledger, fs::Permissions::from_mode(0o600)).expect("changed");
    door.untouched();
    // With the ledger as it was the same rows go out, as they did before.
    write(&whole);
    let again = world.pack("0", "session.toml", "new-package", &World::approvals("0"));
    again.ends_with(0);
    assert_same_rows(&world, ["package-0", "new-package"]);
}

/// Checks that packages of sender 0 hold the same blinded rows: each merges to the same.
#[track_caller]
fn assert_same_rows(world: &World, packages: [&str; 2]) {
    let [one, other] = packages.map(|package| {
        let out = format!("{package}.merged");
        world.merge([package, "package-1"], &out).ends_with(0);
        let opened = world.path(&out);
        let bytes = fs::read(&opened).expect("merged");
        fs::remove_file(opened).expect("removed");
        bytes
    });
    assert!(one == other, "{packages:?} hold other rows");
}

/// Holds a table of sender 0, so that an export of it waits.
struct Hold {
    psql: Child,
    stdout: BufReader<ChildStdout>,
}

impl Hold {
    fn on(world: &World) -> Self {
        let psql = ["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", "-v"];
        let mut psql = Command::new("psql")
            .args(psql)
            .args(["ON_ERROR_STOP=1", &world.database("0")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("psql: run `make setup`");
        let stdout = BufReader::new(psql.stdout.take().expect("piped"));
        let mut hold = Self { psql, stdout };
        let lock = "BEGIN; LOCK TABLE \"SMPC_dev_0\".irises IN ACCESS EXCLUSIVE MODE;";
        hold.say(&format!("{lock} SELECT 'held';\n"));
        let mut line = String::new();
        hold.stdout.read_line(&mut line).expect("an answer");
        assert_eq!(line.trim(), "held");
        hold
    }

    /// How many others wait for it.
    fn waiting(&mut self) -> usize {
        self.say("SELECT count(*) FROM pg_locks WHERE NOT granted;\n");
        let mut line = String::new();
        self.stdout.read_line(&mut line).expect("an answer");
        line.trim().parse().expect("a number")
    }

    fn say(&mut self, sql: &str) {
        let stdin = self.psql.stdin.as_mut().expect("piped");
        stdin.write_all(sql.as_bytes()).and_then(|()| stdin.flush()).expect("it runs");
    }

    fn let_go(mut self) {
        drop(self.psql.stdin.take());
        self.psql.wait().expect("it ends");
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // It has ended by itself where all went well.
        let _ = self.psql.kill();
        let _ = self.psql.wait();
    }
}

#[test]
fn a_second_process_on_a_ledger_in_use_learns_who_has_it_and_blinds_nothing() {
    let world = World::with_own_database();
    let mut hold = Hold::on(&world);
    let flags = world.send_flags("0");
    let send = |to: &str| {
        let mut command = world.program_as("0", &[]);
        command.args(&flags).args(["--to", to]);
        command
    };
    let mut first = Running::start(&mut send("first"));
    while hold.waiting() == 0 {
        assert!(first.is_running(), "it ended");
        std::thread::yield_now();
    }
    let process = format!("process {} works with this ledger", first.id());
    let ledger = ledger_of(&world, "session.toml");
    let before = fs::read(&ledger).expect("a ledger");
    for to in ["second", "first"] {
        let run = Run::of(send(to).output().expect("it starts")).ends_with(1);
        run.says(&[&process, "hint: wait until that process has ended"]);
        assert!(!world.path("second").exists());
        assert!(fs::read(&ledger).expect("a ledger") == before);
    }
    hold.let_go();
    first.ends_with(0);
    // Now it is the second one's turn, and it sends the same.
    Run::of(send("second").output().expect("it starts")).ends_with(0);
    assert_same_rows(&world, ["first", "second"]);
}

#[test]
fn processes_that_start_at_once_never_blind_a_row_in_two_ways() {
    let world = World::with_own_database();
    let flags = world.send_flags("0");
    let start = |to: &str| {
        let mut command = world.program_as("0", &[]);
        command.args(&flags).args(["--to", to, "--json"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts")
    };
    for (round, directories) in [["a", "b"], ["c", "c"], ["d", "e"]].into_iter().enumerate() {
        let children = directories.map(start);
        let runs = children.map(|child| Run::of(child.wait_with_output().expect("it ends")));
        let won = runs.iter().filter(|run| run.code == Some(0)).count();
        assert!(won > 0, "round {round}: {} {}", runs[0].stderr, runs[1].stderr);
        for (run, to) in runs.into_iter().zip(directories) {
            if run.code == Some(0) {
                assert_eq!(run.report()["rows"], ROWS);
                continue;
            }
            // The one that loses says to whom, and is through when it runs again.
            run.ends_with(1).says(&["works with this ledger", "hint: wait until that process"]);
            let again = Run::of(start(to).wait_with_output().expect("it ends"));
            assert_eq!(again.ends_with(0).report()["rows"], ROWS);
        }
    }
    for other in ["b", "c", "d", "e"] {
        assert_same_rows(&world, ["a", other]);
    }
}
