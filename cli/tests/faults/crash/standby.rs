//! Senders that read a hot standby, which ends what is in the way of its replay.

use std::sync::Arc;
use std::time::{Duration, Instant};

use reshare_fixtures::network::{Direction, End, Run, Running, TIME_LIMIT, Way, psql};
use reshare_fixtures::postgres::ThrowAwayPostgres;

use super::world::{ROWS, World};

/// A network whose databases are on a primary, and its standby.
struct Replicated {
    world: World,
    standby: ThrowAwayPostgres,
}

impl Replicated {
    fn new() -> Self {
        let primary = ThrowAwayPostgres::start_replicated().expect("PostgreSQL: run `make setup`");
        let world = World::on(Arc::new(primary));
        let standby = world.cluster.impatient_standby().expect("a standby");
        Self { world, standby }
    }

    /// The database of sender 0 at the standby.
    fn url(&self) -> String {
        let primary = self.world.cluster.socket_directory().to_str().expect("UTF-8");
        let standby = self.standby.socket_directory().to_str().expect("UTF-8");
        self.world.databases[0].replace(primary, standby)
    }

    /// Runs a command that reads the standby and is held after some bytes. Meanwhile the primary
    /// removes the row versions that its snapshot sees, and so the standby ends the snapshot.
    fn conflict(&self, bytes: i64, command: impl Fn(&str) -> Vec<String>) -> Run {
        let way = Way::to_database(&self.url(), Direction::FromServer, bytes, End::Hold);
        let words = command(&way.url);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let mut job: Running = self.world.start_as("0", &words);
        job.is_held_on(&way);
        let table = "\"SMPC_dev_0\".irises";
        let primary = &self.world.databases[0];
        psql(primary, &format!("UPDATE {table} SET version_id = version_id"));
        psql(primary, &format!("VACUUM {table}"));
        self.replays_or_cancels(&psql(primary, "SELECT pg_current_wal_lsn()"));
        way.go_on();
        job.finish()
    }

    /// Waits until the standby has replayed all, or has waited for a query and now cancels it: that
    /// has no effect while the query's answer is held.
    fn replays_or_cancels(&self, lsn: &str) {
        let sql = format!(
            "SELECT pg_last_wal_replay_lsn() >= '{lsn}', EXISTS (SELECT FROM pg_stat_activity \
             WHERE backend_type = 'startup' AND wait_event LIKE 'RecoveryConflict%')"
        );
        let (start, mut has_waited, mut since) = (Instant::now(), false, 0);
        // Between two of its naps it does not say that it waits.
        while since < 3 {
            assert!(start.elapsed() < TIME_LIMIT, "the standby replays nothing");
            match psql(&self.url(), &sql).as_str() {
                "f|t" => (has_waited, since) = (true, 0),
                "f|f" => since += u32::from(has_waited),
                _ => return,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// In the middle of the parts: a part is of 200 KB.
const SOME_PARTS: i64 = 700_000;
/// What a standby does not do.
const HINT: &str = "hint: on a standby, set hot_standby_feedback = on";

#[test]
fn a_sender_whose_snapshot_a_standby_ends_goes_on_in_another_one() {
    let replicated = Replicated::new();
    let world = &replicated.world;
    let send = |url: &str| owned(&World::send(url, "0", "p0"));
    let run = replicated.conflict(SOME_PARTS, send).ends_with(0);
    let run = run.says(&["the standby has ended the snapshot", "taking a new snapshot"]);
    assert_eq!((run.number("rows"), run.number("parts_kept")), (ROWS, 0), "{}", run.stderr);
    assert!(run.number("snapshots") > 1, "{}", run.stdout);
    world.run_as("1", &World::send(&world.databases[1], "1", "p1")).ends_with(0);
    world.run_as("2", &World::rebuild(&world.databases[2])).ends_with(0);
    world.assert_rebuilt();
}

#[test]
fn a_file_that_is_exported_from_a_standby_is_of_one_snapshot() {
    let replicated = Replicated::new();
    let world = &replicated.world;
    std::fs::create_dir(world.path("files")).expect("made");
    // One part, which is larger than what the system keeps of a connection: it is cancelled.
    let export = |url: &str| {
        let mut words = owned(&World::export(url));
        let at = words.iter().position(|word| word == "--batch-size").expect("given");
        words[at + 1] = "40".to_owned();
        words
    };
    let run = replicated.conflict(SOME_PARTS, export).ends_with(0);
    let run = run.says(&["conflict with recovery (SQLSTATE 40001)", "taking a new snapshot"]);
    assert_eq!(run.number("rows"), ROWS);
    let same = owned(&World::export(&world.databases[0]));
    let same: Vec<&str> = same
        .iter()
        .map(|word| if word == "files/e.rsh" { "files/same.rsh" } else { word })
        .collect();
    world.run_as("0", &same).ends_with(0);
    let bytes = |name: &str| std::fs::read(world.path(name)).expect("a file");
    assert!(bytes("files/e.rsh") == bytes("files/same.rsh"));
}

#[test]
fn a_sender_that_is_to_read_one_snapshot_ends_with_it_and_goes_on_when_it_is_run_again() {
    let replicated = Replicated::new();
    let world = &replicated.world;
    let send = |url: &str| {
        let mut words = owned(&World::send(url, "0", "p0"));
        words.extend(owned(&["--snapshot-max-age", "off"]));
        words
    };
    let run = replicated.conflict(SOME_PARTS, send).ends_with(1);
    run.says(&["the standby has ended the snapshot", HINT]);
    let again = send(&replicated.url());
    let again: Vec<&str> = again.iter().map(String::as_str).collect();
    let run = world.run_as("0", &again).ends_with(0);
    assert_eq!((run.number("rows"), run.number("snapshots")), (ROWS, 1));
    assert!(run.number("parts_kept") > 0, "{}", run.stdout);
}
