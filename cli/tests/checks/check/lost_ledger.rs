//! A sender's ledger is lost, and the session is approved again: parts that are still there show
//! it.

use std::fs;

use reshare_fixtures::network::{Network, Run};

use super::report::{self, Checked};
use crate::network;

const CHANGE: &str = "UPDATE \"SMPC_dev_0\".irises SET left_mask = right_mask WHERE id = 9";
const UNKNOWN: &str = "part-000000.age is not a file that this sender's ledger has recorded";
const AT_RECEIVER: &str = "the receiver has part-000000.age of this sender, and nothing here has";

/// Approves the session again, as an operator does who has lost the state directory.
fn approve(world: &Network, more: &[&str]) -> Run {
    let approve = ["session", "approve", "--session", "session.toml", "--out", "again.json"];
    let own = ["--own-public-key", "0.pub", "--yes", "--expect-fingerprint", &world.fingerprint];
    world.run_as("0", &[&approve[..], &own, more].concat())
}

#[test]
fn a_package_in_the_directory_shows_that_the_ledger_is_lost() {
    let world = network();
    let flags = world.sender_flags(0);
    world.run_as("0", &flags.command("send")).ends_with(0);
    // While its state is there, no other ledger is made.
    let ledgers = fs::read_dir(world.path("state-0")).expect("listed").flatten();
    let ledger = ledgers.map(|entry| entry.path().join("ledger-0")).find(|path| path.exists());
    let (ledger, kept) = (ledger.expect("a ledger"), world.path("kept"));
    fs::rename(&ledger, &kept).expect("moved");
    let files = world.files();
    approve(&world, &[])
        .ends_with(4)
        .says(&["one was made, and is gone", "agree on a new session"]);
    assert_eq!(world.files(), files, "nothing was written or signed");
    fs::rename(&kept, &ledger).expect("moved back");
    fs::rename(world.path("state-0"), world.path("lost")).expect("moved");
    let (evidence, files) = (["--evidence", "package-0"], world.files());
    let refused = approve(&world, &evidence).ends_with(4);
    refused.says(&["package-0 is a package that this sender has made", "agree on a new session"]);
    let elsewhere = approve(&world, &["--evidence", "package-1"]).ends_with(2);
    elsewhere.says(&["package-1"]);
    assert_eq!(world.files(), files, "nothing was written or signed");
    approve(&world, &[]).ends_with(0);
    world.sql_at(0, CHANGE);
    let before = world.everything();
    for reopened in [false, true] {
        if reopened {
            fs::remove_file(world.path("package-0/manifest.json")).expect("removed");
            let report = world.finds(&flags, &["package"]);
            report::line(&report, "package", "not_ok")
                .says(UNKNOWN)
                .hints("agree on a new session");
        }
        let refused = world.run_as("0", &flags.command("send")).ends_with(4);
        refused.says(&[UNKNOWN, "hint: is the ledger lost, restored or copied"]);
    }
    let parts = |files: &std::collections::BTreeMap<std::path::PathBuf, String>| {
        let parts = files.iter().filter(|(path, _)| path.to_string_lossy().contains("part-"));
        parts.map(|(path, facts)| (path.clone(), facts.clone())).collect::<Vec<_>>()
    };
    assert_eq!(parts(&world.everything().0), parts(&before.0), "a part was changed");
}

#[test]
fn parts_at_the_receiver_show_that_the_ledger_is_lost() {
    let world = network();
    let mut receiver = world.receive("session.toml", "live-inbox", &[]);
    let url = receiver.url();
    let mut flags = world.sender_flags(0);
    world.run_as("0", &flags.command("send")).ends_with(0);
    let upload = ["upload", "package-0", "--session", "session.toml", "--server-url", &url];
    world.run_as("0", &upload).ends_with(0);
    fs::rename(world.path("state-0"), world.path("lost")).expect("moved");
    approve(&world, &["--evidence", "live-inbox"]).ends_with(4).says(&["is an inbox with parts"]);
    approve(&world, &[]).ends_with(0);
    world.sql_at(0, CHANGE);
    flags.set("--server-url", &url).remove("--to");
    let report = world.finds(&flags, &["receiver"]);
    let line = report::line(&report, "receiver", "not_ok").says(AT_RECEIVER);
    line.hints("agree on a new session");
    world.run_as("0", &flags.command("send")).ends_with(4).says(&[AT_RECEIVER, "hint: "]);
    // What this ledger packs is not what the receiver has, with the ledger at hand or without it.
    let elsewhere = ["--to", "package-new"];
    flags.remove("--server-url");
    world.run_as("0", &[&flags.command("send")[..], &elsewhere].concat()).ends_with(0);
    let upload = ["upload", "package-new", "--session", "session.toml", "--server-url", &url];
    for state in ["state-0", "none"] {
        let refused = world.run_as("0", &[&upload[..], &["--state-dir", state]].concat());
        refused.ends_with(4).says(&[AT_RECEIVER, "hint: "]);
    }
    // Nor is the old package this ledger's; with its own it is there already.
    let old = ["upload", "package-0", "--session", "session.toml", "--server-url", &url];
    world.run_as("0", &old).ends_with(4).says(&[UNKNOWN]);
    for state in ["lost", "none"] {
        world.run_as("0", &[&old[..], &["--state-dir", state]].concat()).ends_with(0);
    }
}

#[test]
fn a_ledger_that_was_moved_is_adopted_once_and_by_hand() {
    let world = network();
    let flags = world.sender_flags(0);
    let copied = std::process::Command::new("cp")
        .args(["-a", "state-0", "moved"])
        .current_dir(world.directory())
        .status();
    assert!(copied.expect("cp").success());
    fs::rename(world.path("state-0"), world.path("original")).expect("moved");
    fs::rename(world.path("moved"), world.path("state-0")).expect("moved");
    let refused = world.run_as("0", &flags.command("send")).ends_with(4);
    refused.says(&["this file is a copy of the one that was made", "give --adopt-ledger, once"]);
    let report = world.finds(&flags, &["ledger"]);
    report::line(&report, "ledger", "not_ok").says("is a copy").hints("new session");
    let adopt = [&flags.command("send")[..], &["--adopt-ledger"]].concat();
    let adopted = world.run_as("0", &adopt).ends_with(0);
    adopted.says(&["is at home here now", "never use that copy again"]);
    let again = world.run_as("0", &adopt).ends_with(2);
    again.says(&["there is nothing to adopt", "hint: leave --adopt-ledger out"]);
    world.run_as("0", &flags.command("send")).ends_with(0);
}
