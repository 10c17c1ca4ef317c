//! What is stored, and what is said when it is not.

use std::process::Command;

use super::agreed::{Agreed, empty_target, ids_in, table};
use crate::{ROWS, network, program};
use reshare_fixtures::network::{Direction, End, Way};
use reshare_fixtures::network::{Network, Running, TIME_LIMIT};

/// There both senders exit 0, and nothing is stored.
#[test]
fn a_load_that_fails_says_so_stores_no_half_and_continues_when_the_cause_is_gone() {
    let network = network();
    let run = Agreed::on(&network, "run", &[]);
    run.send_both();
    let target = &network.target;
    let alter = format!("ALTER TABLE {}", table(2));
    network.sql(target, &format!("{alter} ADD CONSTRAINT not_this_one CHECK (id <> 31)"));
    let failed = run.rebuild(&["-j", "1", "--batch-size", "6"]).ends_with(4);
    failed.says(&["SMPC_dev_2.irises", "not_this_one"]);
    // Whole ranges are there, each with its record; of the one with the row nothing is.
    let stored = ids_in(&network, target, 2);
    let recorded = "SELECT sum(rows) FROM \"SMPC_dev_2\".reshare_progress";
    assert_eq!(network.sql(target, recorded).trim(), stored.len().to_string());
    assert!((1..31).contains(&stored.len()) && stored.iter().all(|id| *id < 31), "{stored:?}");
    network.sql(target, &format!("{alter} DROP CONSTRAINT not_this_one"));
    let again = run.rebuild(&["--json"]).ends_with(0).report();
    let skipped = stored.len();
    assert_eq!(
        (&again["rows"], &again["rows_skipped"]),
        (&(ROWS - skipped).into(), &skipped.into())
    );
    run.is_equal(ROWS);
}

/// There it exits 0, and nothing is stored.
#[test]
fn a_package_that_is_missing_is_reported_and_nothing_is_written() {
    let network = network();
    let run = Agreed::on(&network, "run", &[]);
    let sent = run.send(0, &["--batch-size", "7"]).ends_with(0);
    assert!(sent.stdout.contains("packed 60 rows in 9 parts of sender 0"), "{}", sent.stdout);
    run.rebuild(&[]).ends_with(2).says(&["run-1", "No such file or directory"]);
    run.rebuild_from(&["--package", "run-0"]).ends_with(2).says(&["--package"]);
    run.rebuild_from(&["--package", "run-0", "--package", "run-0"])
        .ends_with(4)
        .says(&["both packages are of sender 0"]);
    assert_eq!(ids_in(&network, &network.target, 2), [0; 0]);
    let progress =
        network.sql(&network.target, "SELECT to_regclass('\"SMPC_dev_2\".reshare_progress')");
    assert_eq!(progress.trim(), "");
    run.send(1, &[]).ends_with(0);
    run.rebuild(&[]).ends_with(0);
    run.is_equal(ROWS);
}

/// There what it leaves is taken for the next run's.
#[test]
fn what_a_killed_run_leaves_behind_does_not_matter_to_the_next() {
    let network = network();
    let earlier = Agreed::on(&network, "earlier", &[]);
    earlier.send_both();
    let run = Agreed::on(&network, "run", &[]);
    // One whole part is in the package, and others are on their way.
    let way = Way::to_database(&network.databases[0], Direction::FromServer, 1_500_000, End::Hold);
    let send = run.send_flags(0, &["--db-url", &way.url, "--batch-size", "7", "-j", "1"]);
    kill(&network, &send, || way.is_spent() && network.path("run-0/part-000000.age").exists());
    assert!(!network.path("run-0/manifest.json").exists());
    run.rebuild(&[])
        .ends_with(1)
        .says(&["run-0 has no manifest: the package is not complete", "hint: "]);
    run.send_both();
    // Half of the rows are in the table.
    let way = Way::to_database(&network.target, Direction::ToServer, 2_500_000, End::Hold);
    let rebuild = ["rebuild", "--session", "run.toml", "--identity", "r.age", "--package", "run-0"];
    let rest = ["--package", "run-1", "--db-url", &way.url, "-j", "1", "--batch-size", "6"];
    let rebuild = [&rebuild[..], &rest].concat().into_iter().map(str::to_owned).collect::<Vec<_>>();
    kill(&network, &rebuild, || way.is_spent());
    drop(way);
    let stored = ids_in(&network, &network.target, 2).len();
    assert!((1..ROWS).contains(&stored), "{stored} rows");
    // A package of an earlier session is not accepted, even if something was stored since.
    let mixed = run.rebuild_from(&["--package", "earlier-0", "--package", "run-1"]).ends_with(4);
    mixed.says(&["earlier-0/manifest.json", "belongs to session \"earlier\"", "hint: "]);
    assert_eq!(ids_in(&network, &network.target, 2).len(), stored);
    let again = run.rebuild(&["--json"]).ends_with(0).report();
    assert_eq!((&again["rows"], &again["rows_skipped"]), (&(ROWS - stored).into(), &stored.into()));
    run.is_equal(ROWS);
    // Nor does what this session stored matter to another one.
    empty_target(&network);
    earlier.rebuild(&[]).ends_with(0);
    earlier.is_equal(ROWS);
}

/// Starts the program, waits until something is so, and ends it with SIGKILL.
#[track_caller]
fn kill(network: &Network, arguments: &[String], is_so: impl Fn() -> bool) {
    let mut command: Command = program();
    command.env("RESHARE_SHARED_KEY", "shared.key");
    let mut running = Running::start(command.args(arguments).current_dir(network.directory()));
    let start = std::time::Instant::now();
    while !is_so() {
        assert!(start.elapsed() < TIME_LIMIT, "it does not end: {:#?}", running.lines());
        assert!(running.is_running(), "it ended before");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.kill();
}

/// There every row is written once more, with another `last_modified_at`.
#[test]
fn a_second_rebuild_touches_no_row() {
    let network = network();
    let run = Agreed::on(&network, "run", &[]);
    run.send_both();
    run.rebuild(&[]).ends_with(0);
    // Of another day: each write gives a row the current time.
    let silently = "SET session_replication_role = replica";
    let set = format!("{silently}; UPDATE {} SET last_modified_at = 86400 + id", table(2));
    network.sql(&network.target, &set);
    let rows = || {
        let of = "SELECT id, xmin, xmax, ctid, last_modified_at, version_id FROM";
        let rows = network.sql(&network.target, &format!("{of} {} ORDER BY id", table(2)));
        assert_eq!(rows.lines().count(), ROWS);
        rows
    };
    let before = rows();
    for more in [&[][..], &["--on-conflict", "replace"], &["--batch-size", "4", "-j", "3"]] {
        let again = run.rebuild(more).ends_with(0);
        let summary =
            "loaded no rows into SMPC_dev_2.irises, skipped 60 that this session had loaded";
        assert!(again.stdout.contains(summary), "{}", again.stdout);
        assert_eq!(rows(), before, "{more:?}");
    }
}
