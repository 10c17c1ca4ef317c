//! SIGKILL at many moments, and the same command again.

use std::fs;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::world::{PARTS, ROWS, World, contents, names, parts};
use reshare_fixtures::network::{Direction, End, Way};
use reshare_fixtures::network::{Running, TIME_LIMIT};

#[test]
fn a_send_that_is_killed_at_many_moments_continues_and_ends_with_the_same_contents() {
    let world = World::new();
    let url = &world.databases[0];
    let package = world.path("p0");
    let mut kept = vec![];
    // Less in all than there is: what is kept is not read once more.
    for bytes in [1, 10_000, 800_000, 400_000, 400_000] {
        let way = Way::to_database(url, Direction::FromServer, bytes, End::Hold);
        let mut job = world.start_as("0", &World::send(&way.url, "0", "p0"));
        job.is_held_on(&way);
        // What has come in whole is being sealed.
        assert!(bytes < 400_000 || job.runs_until(|| !parts(&package).is_empty()));
        job.kill();
        assert!(!package.join("manifest.json").exists(), "{bytes}");
        let now = parts(&package);
        assert!(kept.iter().all(|part| now.contains(part)), "{bytes}: a part was made again");
        kept = now;
    }
    assert!((1..PARTS).contains(&(kept.len() as u64)), "{} parts", kept.len());
    let run = world.run_as("0", &World::send(url, "0", "p0")).ends_with(0);
    assert_eq!((run.number("parts"), run.number("rows")), (PARTS, ROWS));
    assert_eq!(run.number("parts_kept"), kept.len() as u64);
    let now = parts(&package);
    assert!(kept.iter().all(|part| now.contains(part)));
    world.run_as("0", &World::send(url, "0", "again")).ends_with(0);
    assert_eq!(contents(&package), contents(&world.path("again")));
}

/// Kills what loads into the target, each time after so many bytes to its server. Returns how many
/// rows are loaded then: some, not all, and after no kill fewer than before.
fn killed_while_loading(world: &World, kills: &[i64], start: impl Fn(&str) -> Running) -> u64 {
    let mut loaded = 0;
    for bytes in kills {
        let way = Way::to_database(&world.databases[2], Direction::ToServer, *bytes, End::Hold);
        let mut job = start(&way.url);
        job.is_held_on(&way);
        job.kill();
        drop(way);
        let now = world.loaded_rows();
        assert!(now >= loaded, "{bytes}: {now} rows of {loaded}");
        loaded = now;
    }
    assert!((1..ROWS).contains(&loaded), "{loaded} rows");
    loaded
}

#[test]
fn a_rebuild_and_a_load_that_are_killed_at_many_moments_go_on_and_end_with_an_equal_table() {
    for is_load in [false, true] {
        let world = World::new();
        world.send_both();
        fs::create_dir(world.path("files")).expect("made");
        if is_load {
            world.run_as("2", &World::merge()).ends_with(0);
        }
        let flags = if is_load { World::load } else { World::rebuild };
        let kills = [1, 2_000, 300_000, 10_000, 700_000, 500_000, 400_000];
        let loaded = killed_while_loading(&world, &kills, |url| world.start_as("2", &flags(url)));
        let run = world.run_as("2", &flags(&world.databases[2])).ends_with(0);
        assert_eq!((run.number("rows"), run.number("rows_skipped")), (ROWS - loaded, loaded));
        world.assert_rebuilt();
    }
}

#[test]
fn a_receiver_that_is_killed_while_it_rebuilds_continues_with_what_is_in_its_inbox() {
    let world = World::new();
    world.send_both();
    let rebuild = ["--rebuild", "--identity", "r.age", "--linger", "1"];
    let flags = [&rebuild[..], &["-j", "1", "--batch-size", "4", "--db-url"]].concat();
    let receiving = |url: &str| {
        let mut command = world.receiving("inbox");
        command.args(&flags).arg(url);
        command
    };
    let mut receiver = world.receive("inbox");
    for (sender, package) in [("0", "p0"), ("1", "p1")] {
        let url = receiver.url();
        world.run_as(sender, &["upload", package, "--server-url", &url]).ends_with(0);
    }
    receiver.kill();
    let kills = [1, 300_000, 700_000, 400_000];
    let loaded = killed_while_loading(&world, &kills, |url| Running::start(&mut receiving(url)));
    let mut command = receiving(&world.databases[2]);
    let run = Running::start(command.arg("--json")).finish().ends_with(0);
    assert_eq!((run.number("rows"), run.number("rows_skipped")), (ROWS - loaded, loaded));
    world.assert_rebuilt();
}

#[test]
fn an_export_that_is_killed_leaves_no_file_and_the_next_one_no_leftovers() {
    let world = World::new();
    let (url, files) = (&world.databases[0], world.path("files"));
    fs::create_dir(&files).expect("made");
    let mut leftovers = 0;
    for bytes in [1, 100_000, 1_000_000, 2_500_000] {
        let way = Way::to_database(url, Direction::FromServer, bytes, End::Hold);
        let mut job = world.start_as("0", &World::export(&way.url));
        job.is_held_on(&way);
        job.kill();
        let left = names(&files);
        assert!(left.len() <= 1 && left.iter().all(|name| name.starts_with('.')), "{left:?}");
        leftovers += left.len();
    }
    assert!(leftovers > 0, "no export was killed while it wrote");
    world.run_as("0", &World::export(url)).ends_with(0);
    assert_eq!(names(&files), ["e.rsh"]);
    let first = fs::read(files.join("e.rsh")).expect("a file");
    world.run_as("0", &World::export(url)).ends_with(0);
    assert!(fs::read(files.join("e.rsh")).expect("a file") == first);
}

/// Kills a command after one tenth of the time that it takes, two tenths, and so on.
fn kill_at_tenths(world: &World, party: &str, arguments: &[&str], mut check: impl FnMut()) {
    let start = Instant::now();
    world.run_as(party, arguments).ends_with(0);
    let tenth = start.elapsed() / 10;
    check();
    for turn in 1..=12 {
        let mut job = world.start_as(party, arguments);
        std::thread::sleep(tenth * turn);
        job.kill();
        check();
    }
}

#[test]
fn a_merge_that_is_killed_leaves_a_whole_file_or_none() {
    let world = World::new();
    let (files, merged) = (world.path("files"), world.path("files/m.rsh"));
    fs::create_dir(&files).expect("made");
    world.send_both();
    world.run_as("2", &World::merge()).ends_with(0);
    let whole = fs::read(&merged).expect("a file");
    kill_at_tenths(&world, "2", &World::merge(), || {
        if merged.exists() {
            assert!(fs::read(&merged).expect("a file") == whole, "half a file");
            fs::remove_file(&merged).expect("removed");
        }
        let left = names(&files);
        assert!(left.len() <= 1 && left.iter().all(|name| name.starts_with('.')), "{left:?}");
    });
    world.run_as("2", &World::merge()).ends_with(0);
    assert_eq!(names(&files), ["m.rsh"]);
    assert!(fs::read(&merged).expect("a file") == whole);
}

#[test]
fn a_pack_that_is_killed_continues_and_ends_with_the_same_contents() {
    let world = World::new();
    fs::create_dir(world.path("files")).expect("made");
    world.run_as("0", &World::export(&world.databases[0])).ends_with(0);
    let pack = |to| World::sender("pack", "0", &["--in", "files/e.rsh", "--to", to]);
    world.run_as("0", &pack("whole")).ends_with(0);
    let expected = contents(&world.path("whole"));
    let package = world.path("p0");
    let mut kept = vec![];
    kill_at_tenths(&world, "0", &pack("p0"), || {
        let now = parts(&package);
        assert!(kept.iter().all(|part| now.contains(part)), "a part was made again");
        kept = now;
        if package.join("manifest.json").exists() {
            assert_eq!(contents(&package), expected);
            fs::remove_dir_all(&package).expect("removed");
            kept.clear();
        }
    });
    world.run_as("0", &pack("p0")).ends_with(0);
    let now = parts(&package);
    assert!(kept.iter().all(|part| now.contains(part)));
    assert_eq!(contents(&package), expected);
}

#[test]
fn a_receiver_that_is_killed_again_and_again_gets_all_that_is_sent_to_it() {
    let world = World::new();
    let mut receiver = world.receive("inbox");
    let bytes = i64::MAX;
    let way = Way::to_receiver(&receiver.address(), Direction::ToServer, bytes, End::Hold);
    let to = ["--db-url", &world.databases[0], "--server-url", &way.url, "--retry-for", "600"];
    let arrived = || parts(&world.path("inbox/sender-0"));
    let mut sending = world.start_as("0", &World::sender("send", "0", &to));
    for wanted in [1, 3, 5, 8] {
        let come = sending.runs_until(|| arrived().len() >= wanted);
        assert!(come || arrived().len() >= wanted, "{:?}", sending.finish());
        receiver.kill();
        receiver = world.receive("inbox");
        way.lead_to(&receiver.address());
    }
    let report = sending.finish().ends_with(0);
    assert_eq!((report.number("parts"), report.number("rows")), (PARTS, ROWS));
    contents(&world.path("inbox/sender-0"));
    let server = receiver.url();
    let to = ["--db-url", &world.databases[1], "--server-url", &server];
    world.run_as("1", &World::sender("send", "1", &to)).ends_with(0);
    receiver.signal("-TERM");
    receiver.finish().ends_with(143);
    for (sender, to) in [("inbox/sender-0", "p0"), ("inbox/sender-1", "p1")] {
        fs::rename(world.path(sender), world.path(to)).expect("moved");
    }
    world.run_as("2", &World::rebuild(&world.databases[2])).ends_with(0);
    world.assert_rebuilt();
}

#[test]
fn a_receiver_that_is_killed_while_it_merges_what_arrives_loses_and_repeats_nothing() {
    let world = World::new();
    // Until the first receiver listens there is none at all.
    let line = Way::to_receiver("127.0.0.1:1", Direction::ToServer, i64::MAX, End::Hold);
    let receive = |url: &str| {
        let mut command = world.receiving("inbox");
        command.args(["--rebuild", "--identity", "r.age", "--json", "-j", "1"]);
        let mut receiver = Running::start(command.args(["--batch-size", "4", "--db-url", url]));
        line.lead_to(&receiver.address());
        receiver
    };
    let mut senders = ["0", "1"].map(|sender| {
        let url = &world.databases[usize::from(sender == "1")];
        let to = ["-j", "1", "--db-url", url, "--server-url", &line.url, "--retry-for", "600"];
        world.start_as(sender, &World::sender("send", sender, &to))
    });
    let loaded = killed_while_loading(&world, &[1, 300_000, 600_000], receive);
    let mut receiver = receive(&world.databases[2]);
    for sender in &mut senders {
        let report = sender.finish().ends_with(0);
        assert_eq!((report.number("parts"), report.number("rows")), (PARTS, ROWS));
    }
    let report = receiver.finish().ends_with(0);
    assert_eq!((report.number("rows"), report.number("rows_skipped")), (ROWS - loaded, loaded));
    world.assert_rebuilt();
    // What was loaded has left the inbox, and is verified without it.
    let packages = ["inbox/sender-0", "inbox/sender-1"];
    assert!(packages.iter().all(|package| parts(&world.path(package)).is_empty()));
    let [lower, higher] = packages;
    let verify = ["verify", "--json", "--digests", "--db-url", &world.databases[2]];
    let verify = [&verify[..], &["--package", lower, "--package", higher]].concat();
    let report = world.run_as("2", &verify).ends_with(0);
    assert_eq!(report.number("rows_equal"), ROWS);
    let purge = ["purge", "--inbox", "inbox", "--db-url", &world.databases[2]];
    world.run_as("2", &purge).ends_with(0);
    assert!(!world.path("inbox").exists() || names(&world.path("inbox")).is_empty());
}

/// A session of PostgreSQL that has a lock until its standard input ends.
struct Lock(Child);

impl Lock {
    fn take(world: &World) -> Self {
        let mut command = Command::new("psql");
        command.args(["--no-psqlrc", "--quiet", &world.databases[2]]);
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = command.spawn().expect("psql: run `make setup`");
        let input = child.stdin.as_mut().expect("piped");
        input.write_all(b"SELECT pg_advisory_lock(4242);\n").expect("it reads");
        let lock = Self(child);
        let start = Instant::now();
        while world.sql("SELECT count(*) FROM pg_locks WHERE objid = 4242 AND granted") == "0" {
            assert!(start.elapsed() < TIME_LIMIT, "the lock is still held");
            std::thread::sleep(Duration::from_millis(5));
        }
        lock
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

#[test]
fn two_rebuilds_of_one_session_at_once_load_every_row_once() {
    let world = World::new();
    world.send_both();
    world.sql(
        "CREATE FUNCTION wait() RETURNS trigger AS $$ BEGIN \
             PERFORM pg_advisory_xact_lock_shared(4242); RETURN NEW; END $$ LANGUAGE plpgsql; \
         CREATE TRIGGER wait BEFORE INSERT ON \"SMPC_dev_2\".irises FOR EACH ROW \
             WHEN (NEW.id = 18) EXECUTE FUNCTION wait()",
    );
    let lock = Lock::take(&world);
    let url = &world.databases[2];
    let rebuild = World::rebuild(url);
    let waiting = |wanted| {
        let waiting = "SELECT count(*) FROM pg_stat_activity \
            WHERE datname = current_database() AND wait_event_type = 'Lock'";
        move |world: &World| world.sql(waiting).parse::<u64>().expect("a number") >= wanted
    };
    let mut first = world.start_as("2", &rebuild);
    assert!(first.runs_until(|| waiting(1)(&world)), "{:?}", first.finish());
    let mut second = world.start_as("2", &rebuild);
    assert!(second.runs_until(|| waiting(2)(&world)), "{:?}", second.finish());
    drop(lock);
    let runs = [first.finish().ends_with(0), second.finish().ends_with(0)];
    let [rows, skipped] =
        ["rows", "rows_skipped"].map(|name| runs.iter().map(|run| run.number(name)).sum::<u64>());
    assert_eq!((rows, skipped), (ROWS, ROWS));
    world.assert_rebuilt();
}
