//! PostgreSQL that is restarted, and connections that break, in the middle of work.

use std::fs;
use std::sync::Arc;

use reshare_fixtures::postgres::Shutdown;

use super::world::{PARTS, ROWS, World, contents, names, parts, start_cluster};
use reshare_fixtures::network::Run;
use reshare_fixtures::network::{Direction, End, Way};

/// The words for a connection that ended, however it did, and what to do.
#[track_caller]
fn says_that_the_connection_was_lost(run: Run) {
    let run = run.ends_with(1).says(&["run the same command again"]);
    let ways = [
        "the connection to the server was lost",
        "terminating connection",
        // It was just about to connect once more.
        "the database system is",
    ];
    assert!(ways.iter().any(|words| run.stderr.contains(words)), "{}", run.stderr);
}

/// A command that reads from the server or writes to it, and how many bytes it is let.
type Case<'a> = (fn(&str) -> Vec<&str>, &'a str, Direction, i64);

fn send(url: &str) -> Vec<&str> {
    World::send(url, "0", "again")
}

const EXPORT: Case<'_> = (World::export, "0", Direction::FromServer, 900_000);
const SEND: Case<'_> = (send, "0", Direction::FromServer, 900_000);
const REBUILD: Case<'_> = (World::rebuild, "2", Direction::ToServer, 900_000);
const LOAD: Case<'_> = (World::load, "2", Direction::ToServer, 900_000);

/// A world with both packages, and with what a load needs.
fn ready(world: World) -> World {
    world.send_both();
    fs::create_dir(world.path("files")).expect("made");
    world.run_as("2", &World::merge()).ends_with(0);
    world
}

/// Neither a half file nor a closed package is there.
#[track_caller]
fn assert_nothing_under_a_final_name(world: &World) {
    assert_eq!(names(&world.path("files")), ["m.rsh"]);
    assert!(!world.path("again/manifest.json").exists());
}

impl World {
    /// Runs a sender's and a receiver's command again, and compares what they made.
    fn continues(&self, reading: Case<'_>, writing: Case<'_>) {
        let kept = parts(&self.path("again")).len() as u64;
        let run = self.run_as(reading.1, &reading.0(&self.databases[0])).ends_with(0);
        assert_eq!(run.number("rows"), ROWS);
        if self.path("again").exists() {
            assert_eq!((run.number("parts"), run.number("parts_kept")), (PARTS, kept));
            assert_eq!(contents(&self.path("again")), contents(&self.path("p0")));
        }
        let loaded = self.loaded_rows();
        assert!((1..ROWS).contains(&loaded), "{loaded} rows");
        let run = self.run_as(writing.1, &writing.0(&self.databases[2])).ends_with(0);
        assert_eq!((run.number("rows"), run.number("rows_skipped")), (ROWS - loaded, loaded));
        self.assert_rebuilt();
    }
}

fn restart_in_the_middle(cases: [Case<'_>; 2], shutdown: Shutdown) {
    let world = ready(World::on(Arc::new(start_cluster())));
    for (index, (flags, party, direction, bytes)) in cases.into_iter().enumerate() {
        let url = &world.databases[index * 2];
        let way = Way::to_database(url, direction, bytes, End::Hold);
        let mut job = world.start_as(party, &flags(&way.url));
        job.is_held_on(&way);
        world.cluster.restart(shutdown).expect("restarted");
        way.go_on();
        says_that_the_connection_was_lost(job.finish());
        assert_nothing_under_a_final_name(&world);
    }
    world.continues(cases[0], cases[1]);
}

#[test]
fn a_server_that_crashes_in_the_middle_of_an_export_or_a_rebuild_loses_nothing() {
    restart_in_the_middle([EXPORT, REBUILD], Shutdown::Immediate);
}

#[test]
fn a_server_that_is_restarted_in_the_middle_of_a_send_or_a_load_loses_nothing() {
    restart_in_the_middle([SEND, LOAD], Shutdown::Fast);
}

fn break_in_the_middle(cases: [Case<'_>; 2]) {
    let world = ready(World::new());
    for (index, (flags, party, direction, most)) in cases.into_iter().enumerate() {
        for bytes in [most / 50, most, most / 3] {
            let way = Way::to_database(&world.databases[index * 2], direction, bytes, End::Cut);
            let run = world.run_as(party, &flags(&way.url));
            assert!(way.is_spent(), "{run:?}");
            says_that_the_connection_was_lost(run);
            assert_nothing_under_a_final_name(&world);
        }
    }
    world.continues(cases[0], cases[1]);
}

#[test]
fn an_export_and_a_rebuild_whose_connections_break_lose_nothing() {
    break_in_the_middle([EXPORT, REBUILD]);
}

#[test]
fn a_send_and_a_load_whose_connections_break_lose_nothing() {
    break_in_the_middle([SEND, LOAD]);
}

/// Whatever of a redo has reached the server when its connection breaks: the table has every row,
/// and each is recorded.
#[test]
fn a_redo_whose_connection_breaks_anywhere_leaves_old_rows_or_new_ones() {
    let world = ready(World::new());
    world.run_as("2", &World::rebuild(&world.databases[2])).ends_with(0);
    for at in [0, 1] {
        let newer = format!("UPDATE \"SMPC_dev_{at}\".irises SET version_id = version_id + 1");
        world.sql_at(at, &newer);
    }
    world.sql("UPDATE reference.irises SET version_id = version_id + 1");
    for (sender, to) in [("0", "n0"), ("1", "n1")] {
        let url = &world.databases[usize::from(sender == "1")];
        world.run_as(sender, &World::send(url, sender, to)).ends_with(0);
    }
    let redo = |url: &str| {
        let flags = ["--batch-size", "4", "-j", "1", "--db-url", url, "--redo", "1-1000"];
        let packages = ["--package", "n0", "--package", "n1", "--identity", "r.age"];
        world.run_as("2", &[&["rebuild", "--json"], &flags[..], &packages].concat())
    };
    let newer = || -> u64 {
        let joined = "SELECT count(*) FROM reference.irises JOIN \"SMPC_dev_2\".irises t \
            USING (id, version_id)";
        world.sql(joined).parse().expect("a number")
    };
    let mut before = newer();
    // Through the first transactions a few kilobytes at a time, then by whole rows.
    let walk = (1..40).map(|step| step * 3_000).chain((1..20).map(|step| step * 120_000));
    let mut cut = 0;
    for bytes in walk {
        let way = Way::to_database(&world.databases[2], Direction::ToServer, bytes, End::Cut);
        let run = redo(&way.url);
        if !way.is_spent() {
            run.ends_with(0);
            break;
        }
        says_that_the_connection_was_lost(run);
        cut += 1;
        assert_eq!(world.loaded_rows(), ROWS);
        // What was committed stays, and ranges are whole.
        let now = newer();
        assert!(now >= before && now % 4 == 0, "{before}, then {now}");
        before = now;
    }
    assert!(cut > 20, "only {cut} connections broke");
    redo(&world.databases[2]).ends_with(0);
    world.assert_rebuilt();
}
