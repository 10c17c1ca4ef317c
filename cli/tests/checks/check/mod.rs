//! `reshare check` as operators run it: against a real PostgreSQL, real certificates and a real
//! receiver. Everything is ok; then one thing at a time is not.

mod databases;
mod faults_receiver;
mod faults_sender;
mod lost_ledger;
mod remote;
mod report;

use std::sync::Arc;

use crate::{RESHARE, network};
use report::{Checked, not_ok};
use reshare_fixtures::network::Setup;
use reshare_fixtures::postgres::ThrowAwayPostgres;

#[test]
fn a_sender_with_everything_in_place_is_ok() {
    let world = network();
    let mut receiver = world.receive("session.toml", "live-inbox", &[]);
    let url = receiver.url();
    let before = world.everything();
    let mut flags = world.sender_flags(0);
    flags.set("--server-url", &url).add("--strict", None);
    let report = world.check(&flags).ends_with(0).report();
    assert_eq!(report["ok"], true);
    assert_eq!((not_ok(&report), report["role"].as_str()), (vec![], Some("sender")));
    let says = |what: &str, words: &str| report::line(&report, what, "ok").says(words);
    says("session", "check: 0 and 1 send, 2 receives, ids 1 to 1000");
    says("agreement key", "party 0's");
    says("certificate", "spiffe://mpc.example/0");
    says("ledger", "nothing was blinded yet");
    says("database", "PostgreSQL ");
    says("first row", "id 1");
    says("rows", "20 by count, as the table was never analysed, ids 1 to 20");
    says("TLS", "stays on this machine");
    says("lengths", "every row");
    says("package", "will be made");
    says("receiver", "nothing of it yet");
    says("clock", " s ");
    says("line", "over 4 connections: 1.5 MB take about 0 s on it");
    // The same at both senders: that is what its operators compare.
    let of = |report: &serde_json::Value| report::line(report, "key check", "ok").detail;
    let mut other = world.sender_flags(1);
    other.remove("--to");
    assert_eq!(of(&world.check(&other).report()), of(&report));
    drop(receiver);
    assert_eq!(world.everything(), before, "files, tables and rights are as they were");
}

#[test]
fn a_receiver_with_everything_in_place_is_ok() {
    // A server of its own: its settings are changed.
    let server =
        Arc::new(ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`"));
    let world = Setup::certified(RESHARE).on(Arc::clone(&server)).make();
    let before = world.everything();
    let mut flags = world.receiver_flags();
    // As `receive` is given it.
    flags.add("--rebuild", None);
    let run = world.check(&flags).ends_with(0);
    let report = run.report();
    assert_eq!(not_ok(&report), Vec::<String>::new());
    let says = |what: &str, words: &str| report::line(&report, what, "ok").says(words);
    says("tls", "prove");
    says("identity", "opens");
    says("inbox", "will be made");
    says("rights", "postgres may do all");
    says("record of verify", "postgres may write it");
    says("triggers", "none fires");
    says("loaded so far", "nothing of this session");
    says("listen", "is free");
    says("database's disk", "a client cannot see it");
    // The tests' server syncs nothing, which is said; all else is as it must be.
    report::line(&report, "durability", "warning").says("fsync is off").hints("fsync = on");
    flags.add("--strict", None);
    world.check(&flags).ends_with(4);
    for setting in ["fsync", "full_page_writes"] {
        world.sql_at(2, &format!("ALTER SYSTEM SET {setting} = on"));
    }
    world.sql_at(2, "SELECT pg_reload_conf()");
    // Each question comes over a connection of its own: it sees what was read last.
    while world.sql_at(2, "SHOW fsync").trim() != "on" {
        std::thread::yield_now();
    }
    let report = world.check(&flags).ends_with(0).report();
    report::line(&report, "durability", "ok").says("outlives a crash");
    world.sql_at(2, "ALTER ROLE postgres SET synchronous_commit = off");
    let report = world.check(&flags).ends_with(4).report();
    report::line(&report, "durability", "warning").says("synchronous_commit is off; this program");
    world.sql_at(2, "ALTER ROLE postgres RESET synchronous_commit");
    assert_eq!(world.everything(), before, "files, tables and rights are as they were");
}

#[test]
fn the_table_is_for_people_and_flags_that_are_missing_are_named() {
    let world = network();
    let session = ["--session", "session.toml"];
    let run = world.run_as("0", &[&["check", "sender"], &session[..]].concat()).ends_with(0);
    assert!(run.stderr.is_empty(), "{}", run.stderr);
    let lines: Vec<&str> = run.stdout.lines().collect();
    assert!(lines[0].starts_with("ok           session           check:"), "{}", run.stdout);
    let not_given = |what: &str, flag: &str| {
        let line = lines.iter().find(|line| line.starts_with(&format!("not checked  {what} ")));
        assert!(line.expect(what).contains(flag), "{}", run.stdout);
    };
    not_given("agreement key", "--agreement-key");
    not_given("approvals", "--approval");
    not_given("database", "--db-url");
    not_given("receiver", "--server-url URL, or --to DIR");
    assert!(lines.last().expect("a line").contains(" ok, 4 not checked"), "{}", run.stdout);
    let strict = ["check", "sender", "--session", "session.toml", "--strict"];
    world.run_as("0", &strict).ends_with(4);
    let receiver = world.run_as("2", &[&["check", "receiver"], &session[..]].concat()).ends_with(0);
    for flag in ["--identity", "--inbox", "--listen", "--db-url"] {
        assert!(receiver.stdout.contains(&format!("give {flag} ")), "{flag}: {}", receiver.stdout);
    }
}

#[test]
fn a_session_file_that_cannot_be_read_leaves_the_rest_skipped() {
    let world = network();
    let mut flags = world.receiver_flags();
    flags.set("--session", "missing.toml");
    let report = world.check(&flags).ends_with(4).report();
    report::line(&report, "session", "not_ok").says("missing.toml").hints("--session");
    report::line(&report, "database", "skipped").says("the session");
    // What does not depend on it is looked at all the same.
    report::line(&report, "listen", "ok");
}

#[test]
fn what_a_send_has_done_and_a_receiver_holds_is_seen() {
    let world = network();
    let mut flags = world.sender_flags(0);
    let send = world.run_as("0", &flags.command("send")).ends_with(0);
    assert!(send.stdout.contains("packed 20 rows"), "{}", send.stdout);
    let report = world.check(&flags).ends_with(0).report();
    report::line(&report, "ledger", "ok").says("20 rows in 1 part were blinded");
    report::line(&report, "package", "warning").says("complete package already").hints("ledger");
    let mut running = world.receive("session.toml", "live-inbox", &[]);
    let url = running.url();
    let upload = ["upload", "package-0", "--session", "session.toml", "--server-url", &url];
    world.run_as("0", &upload).ends_with(0);
    flags.set("--server-url", &url).remove("--to");
    let report = world.check(&flags).ends_with(0).report();
    report::line(&report, "receiver", "ok").says("the package is closed");
    // The inbox is held by the receiver that runs.
    let mut receiver = world.receiver_flags();
    receiver.set("--inbox", "live-inbox");
    let report = world.check(&receiver).ends_with(4).report();
    report::line(&report, "inbox", "not_ok").says("another receiver").hints("end it first");
    drop(running);
    let report = world.check(&receiver).ends_with(0).report();
    report::line(&report, "inbox", "ok").says("the whole package of sender 0");
    report::line(&report, "inbox's disk", "ok").says("more will come");
    // One that loads what arrives holds no more than its limit.
    receiver.add("--rebuild", None);
    let report = world.check(&receiver).ends_with(0).report();
    let ahead = "a sender may be 4.3 GB ahead of the other one, then it waits; it has less";
    report::line(&report, "inbox limit", "ok").says(ahead);
    receiver.set("--inbox-limit", "1000");
    let report = world.check(&receiver).ends_with(0).report();
    let limit = "takes all of one sender before the other one begins";
    report::line(&report, "inbox limit", "ok").says("; --inbox-limit ").says(limit);
}

#[test]
fn a_standby_is_reported_to_both() {
    let world = network();
    let standby = ThrowAwayPostgres::start_standby().expect("a PostgreSQL server");
    let url = standby.url("postgres");
    let mut sender = world.sender_flags(0);
    sender.set("--db-url", &url);
    let report = world.check(&sender).ends_with(4).report();
    let item = report::line(&report, "standby", "not_ok").says("in the way of replay after 30s");
    item.hints("hot_standby_feedback = on");
    let mut receiver = world.receiver_flags();
    receiver.set("--db-url", &url);
    let report = world.check(&receiver).ends_with(4).report();
    report::line(&report, "writable", "not_ok").says("standby").hints("primary");
}
