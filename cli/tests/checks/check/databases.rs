//! Databases that a run would not use, or would wait for.

use std::io::Write;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use reshare_fixtures::network::{Run, program, shared_postgres};
use reshare_fixtures::pgbouncer::{PoolMode, ThrowAwayPooler};

use super::report::{Checked, line, not_ok};
use crate::network;

#[test]
fn a_variable_that_is_mistyped_ends_every_command_before_anything_is_read() {
    let world = network();
    let commands: [&[&str]; 3] = [
        &["export", "--session", "session.toml", "--party-id", "0", "--out", "rows.bin"],
        &[
            "export",
            "--session",
            "session.toml",
            "--party-id",
            "0",
            "--out",
            "rows.bin",
            "--db-url",
            "user=x",
        ],
        &["status", "--session", "session.toml", "--db-url", "dbname=iris"],
    ];
    for (name, value) in [
        ("PGSSLMODE", "verify_full"),
        ("PGSSLMODE", "verify-full\r"),
        ("PGSSLCRL", "/nonexistent"),
        ("PGPORT", "five"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGSERVICE", "nowhere"),
    ] {
        for arguments in commands {
            let mut command = world.program_as("0", arguments);
            command.env("PGHOST", "127.0.0.1").env(name, value);
            let run = Run::command(&mut command).ends_with(2);
            let named = if name == "PGSERVICE" { "service" } else { name };
            assert!(run.stderr.contains(named), "{name}: {}", run.stderr);
        }
    }
    assert!(!world.path("rows.bin").exists());
}

#[test]
fn a_variable_that_is_mistyped_is_not_ok_and_hides_no_other_check() {
    let world = network();
    for (name, value) in [
        ("PGSSLMODE", "verify_full"),
        ("PGPORT", "five"),
        ("PGREQUIREAUTH", "scram-sha-256"),
        ("PGSERVICE", "nowhere"),
    ] {
        for (mut flags, role, party) in
            [(world.sender_flags(0), "sender", "0"), (world.receiver_flags(), "receiver", "2")]
        {
            flags.remove("--db-url");
            for place in [&[][..], &[("PGHOST", "127.0.0.1")]] {
                let words = [&["check"][..], &flags.command(role), &["--json"]].concat();
                let mut command = world.program_as(party, &words);
                command.env(name, value).envs(place.iter().copied());
                let report = Run::command(&mut command).ends_with(4).report();
                let named = if name == "PGSERVICE" { "service" } else { name };
                line(&report, "database", "not_ok").says(named);
                line(&report, "session", "ok");
                assert_eq!(not_ok(&report), ["database"], "{report:#}");
            }
        }
    }
}

#[test]
fn a_pooler_that_does_not_keep_sessions_is_refused_and_one_that_does_is_not() {
    let world = network();
    let postgres = shared_postgres();
    let name = world.database(0).split('?').next().expect("a URL").rsplit('/').next();
    let name = name.expect("a database").to_owned();
    for (mode, works) in [(PoolMode::Transaction, false), (PoolMode::Session, true)] {
        let pooler = ThrowAwayPooler::start(&postgres, mode, &["postgres"], "")
            .expect("a pooler: run `make setup`");
        let mut flags = world.sender_flags(0);
        flags.set("--db-url", &pooler.url(&name, "postgres"));
        if works {
            world.check(&flags).ends_with(0);
            continue;
        }
        let report = world.finds(&flags, &["database"]);
        line(&report, "database", "not_ok").says("pooler").hints("pool_mode = session");
        let url = pooler.url(&name, "postgres");
        let sent = world.run_as(
            "0",
            &[
                "export",
                "--session",
                "session.toml",
                "--db-url",
                &url,
                "--party-id",
                "0",
                "--out",
                "rows.bin",
            ],
        );
        let sent = sent.ends_with(4);
        assert!(sent.stderr.contains("does not keep sessions"), "{}", sent.stderr);
        assert!(!world.path("rows.bin").exists());
    }
}

#[test]
fn a_lock_is_named_with_its_holder_by_a_check_and_by_a_run() {
    let world = network();
    let mut holder = Holder::of(world.database(0));
    holder.says("BEGIN; LOCK TABLE \"SMPC_dev_0\".irises;");
    let held = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted \
                AND relation = '\"SMPC_dev_0\".irises'::regclass";
    let until = Instant::now() + Duration::from_secs(20);
    while world.sql_at(0, held).trim() != "1" {
        assert!(Instant::now() < until, "no lock");
        std::thread::sleep(Duration::from_millis(20));
    }
    let report = world.finds(&world.sender_flags(0), &["lock"]);
    line(&report, "lock", "not_ok")
        .says("idle in transaction")
        .says("of postgres")
        .hints("--lock-wait");
    let export = [
        "export",
        "--session",
        "session.toml",
        "--party-id",
        "0",
        "--out",
        "rows.bin",
        "--lock-wait",
        "8",
        "--quiet",
        "--db-url",
        world.database(0),
    ];
    let run = world.run_as("0", &export).ends_with(1);
    for words in ["waiting for a lock on", "irises", "held by process", "--lock-wait"] {
        assert!(run.stderr.contains(words), "{words}: {}", run.stderr);
    }
    holder.says("COMMIT;");
    world.run_as("0", &export).ends_with(0);
}

/// A client that keeps its transaction open.
struct Holder(Child);

impl Holder {
    fn of(url: &str) -> Self {
        let mut psql = program("psql");
        psql.args(["-X", "-q", url]).stdin(Stdio::piped());
        Self(psql.spawn().expect("psql: run `make setup`"))
    }

    fn says(&mut self, sql: &str) {
        let input = self.0.stdin.as_mut().expect("piped");
        writeln!(input, "{sql}").and_then(|()| input.flush()).expect("written");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().map(drop).unwrap_or_default();
    }
}
