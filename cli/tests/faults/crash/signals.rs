//! Ctrl-C and SIGTERM in the middle of work: every command ends by itself, though what it
//! waits for never comes.

use std::fs;
use std::time::{Duration, Instant};

use super::world::{PARTS, World, contents, names, parts};
use reshare_fixtures::network::Running;
use reshare_fixtures::network::{Direction, End, Way};

/// The signals that a shell sends, and the exit codes.
const SIGNALS: [(&str, i32); 2] = [("-INT", 130), ("-TERM", 143)];

/// What a command that continues says, and one that starts over.
const KEPT: &str = "what was finished is kept";
const NO_FILE: &str = "no file was written";

#[track_caller]
fn assert_stops(mut job: Running, way: Way, (signal, code): (&str, i32), kept: &str) {
    job.is_held_on(&way);
    job.signal(signal);
    let begin = Instant::now();
    let run = job.finish().ends_with(code).says(&[&format!("stopped by a signal; {kept}")]);
    run.says(&["run the same command again"]);
    // Seconds are promised; a machine that is busy with other tests has more.
    assert!(begin.elapsed() < Duration::from_secs(30), "{:?}", begin.elapsed());
    // What the server waited for does not come: it ends its transaction.
    drop(way);
}

#[test]
fn what_waits_for_a_database_is_stopped_by_a_signal() {
    let world = World::new();
    world.send_both();
    fs::create_dir(world.path("files")).expect("made");
    world.run_as("2", &World::merge()).ends_with(0);
    let reading = |party: usize, bytes| {
        Way::to_database(&world.databases[party], Direction::FromServer, bytes, End::Hold)
    };
    let writing =
        |bytes| Way::to_database(&world.databases[2], Direction::ToServer, bytes, End::Hold);
    std::thread::scope(|scope| {
        for case in SIGNALS {
            let (world, reading) = (&world, &reading);
            scope.spawn(move || {
                for bytes in [1, 900_000] {
                    let way = reading(0, bytes);
                    assert_stops(world.start_as("0", &World::export(&way.url)), way, case, NO_FILE);
                }
                let way = reading(2, 1);
                let verify = ["verify", "--db-url", &way.url, "--db-url", &world.databases[2]];
                assert_stops(world.start_as("2", &verify), way, case, "nothing was changed");
            });
        }
        // Of the others, one waits for the other.
        for case in SIGNALS {
            let to = format!("stopped{}", case.0);
            for bytes in [1, 900_000] {
                let way = reading(1, bytes);
                assert_stops(
                    world.start_as("1", &World::send(&way.url, "1", &to)),
                    way,
                    case,
                    KEPT,
                );
            }
        }
        for case in SIGNALS {
            let way = writing(900_000);
            assert_stops(world.start_as("2", &World::rebuild(&way.url)), way, case, KEPT);
            let way = writing(300_000);
            assert_stops(world.start_as("2", &World::load(&way.url)), way, case, KEPT);
        }
    });
    assert_eq!(names(&world.path("files")), ["m.rsh"]);
    for (signal, _) in SIGNALS {
        let to = format!("stopped{signal}");
        assert!(!world.path(&to).join("manifest.json").exists());
        world.run_as("1", &World::send(&world.databases[1], "1", &to)).ends_with(0);
        assert_eq!(contents(&world.path(&to)), contents(&world.path("p1")));
    }
    world.run_as("2", &World::load(&world.databases[2])).ends_with(0);
    world.assert_rebuilt();
}

#[test]
fn what_waits_for_a_receiver_or_for_senders_is_stopped_by_a_signal() {
    let world = World::new();
    world.send_both();
    for (number, case) in SIGNALS.into_iter().enumerate() {
        let mut receiver = world.receive(&format!("inbox-{number}"));
        let address = receiver.address();
        let way = || Way::to_receiver(&address, Direction::ToServer, 900_000, End::Hold);
        let (one, other) = (way(), way());
        let upload = ["upload", "p0", "--server-url", &one.url];
        assert_stops(world.start_as("0", &upload), one, case, KEPT);
        let to = ["--db-url", &world.databases[1], "--server-url", &other.url];
        assert_stops(world.start_as("1", &World::sender("send", "1", &to)), other, case, KEPT);
        for sender in 0..2 {
            let inbox = world.path(&format!("inbox-{number}/sender-{sender}"));
            assert!((parts(&inbox).len() as u64) < PARTS && !inbox.join("manifest.json").exists());
        }
        receiver.signal(case.0);
        receiver.finish().ends_with(case.1);
    }
}

/// What neither waits for a database nor for a receiver is over in no time: it ends stopped or
/// done, and neither leaves half of anything.
#[test]
fn a_merge_and_a_pack_that_are_stopped_leave_all_or_nothing() {
    let world = World::new();
    world.send_both();
    fs::create_dir(world.path("files")).expect("made");
    world.run_as("0", &World::export(&world.databases[0])).ends_with(0);
    let pack = World::sender("pack", "0", &["--in", "files/e.rsh", "--to", "packed"]);
    let commands = [(World::merge(), "2", "files/m.rsh"), (pack, "0", "packed/manifest.json")];
    for (arguments, party, file) in commands {
        let start = Instant::now();
        world.run_as(party, &arguments).ends_with(0);
        let fifth = start.elapsed() / 5;
        let whole = fs::read(world.path(file)).expect("a file");
        let directory = world.path(file.split_once('/').expect("a directory").0);
        let mut stopped = 0;
        for (turn, (signal, code)) in (0..6).zip(SIGNALS.into_iter().cycle()) {
            fs::remove_file(world.path(file)).expect("made");
            // Parts that are there would be kept, and nothing be left to do.
            for (part, _) in parts(&directory) {
                fs::remove_file(directory.join(part)).expect("made");
            }
            let before = names(&directory);
            let mut job = world.start_as(party, &arguments);
            // Before the program listens to signals, they end it as they end anything.
            if job.runs_until(|| names(&directory) != before) {
                std::thread::sleep(fifth / 2 * turn);
            }
            if job.is_running() {
                job.signal(signal);
            }
            let run = job.finish();
            assert!([Some(0), Some(code)].contains(&run.code), "{run:?}");
            stopped += usize::from(run.code == Some(code));
            assert_eq!(world.path(file).exists(), run.code == Some(0), "{run:?}");
            world.run_as(party, &arguments).ends_with(0);
            let is_manifest = file.ends_with(".json");
            assert!(is_manifest || fs::read(world.path(file)).expect("a file") == whole);
        }
        assert!(stopped > 0, "no signal stopped {}", arguments[0]);
    }
    assert_eq!(names(&world.path("files")), ["e.rsh", "m.rsh"]);
    world.run_as("0", &World::send(&world.databases[0], "0", "again")).ends_with(0);
    assert_eq!(contents(&world.path("packed")), contents(&world.path("again")));
}
