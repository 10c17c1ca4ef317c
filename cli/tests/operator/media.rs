//! Packages on media that are not complete: what both cover is loaded, and the rest follows.

use std::fs;
use std::path::Path;

use reshare_fixtures::network::{Network, Run, Setup};

use crate::{RESHARE, ROWS};

/// A session with certificates, in which both senders have made their packages.
fn sent() -> Network {
    let setup = Setup::of(RESHARE).rows(ROWS as u64).with_certificates();
    let network = setup.session_in_environment().make();
    for (sender, rows) in [(0, "7"), (1, "11")] {
        let mut flags = network.sender_flags(sender);
        flags.set("--batch-size", rows).set("-j", "1");
        network.run_as(&sender.to_string(), &flags.command("send")).ends_with(0);
    }
    network
}

fn rebuild(network: &Network, packages: [&str; 2], more: &[&str]) -> Run {
    let [lower, higher] = packages;
    let flags = ["rebuild", "--json", "--identity", "r.age", "--db-url", &network.target];
    let packages = ["--package", lower, "--package", higher];
    network.run_as("2", &[&flags[..], &packages, more].concat())
}

/// Copies the first parts of a package, and its records.
fn copy_half(network: &Network, from: &str, to: &str, parts: u64) {
    fs::create_dir(network.path(to)).expect("made");
    for part in 0..parts {
        copy(&network.path(from), &network.path(to), &format!("part-{part:06}.age"));
    }
    copy(&network.path(from), &network.path(to), "part-records");
}

fn copy(from: &Path, to: &Path, name: &str) {
    fs::copy(from.join(name), to.join(name)).expect("copied");
}

fn copy_rest(network: &Network, from: &str, to: &str) {
    for entry in fs::read_dir(network.path(from)).expect("there") {
        let name = entry.expect("an entry").file_name().into_string().expect("a plain name");
        copy(&network.path(from), &network.path(to), &name);
    }
}

fn loaded(network: &Network) -> usize {
    let rows = network.sql(&network.target, "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    rows.trim().parse().expect("a number")
}

#[test]
fn half_a_package_is_rebuilt_up_to_its_frontier_and_then_completed() {
    let network = sent();
    copy_half(&network, "package-0", "media-0", 3);
    copy_half(&network, "package-1", "media-1", 1);
    let run = rebuild(&network, ["media-0", "media-1"], &[]).ends_with(1);
    // Seven rows a part, and eleven.
    let run = run.says(&[
        "the package of sender 0 has no manifest, and covers up to id 21",
        "the package of sender 1 has no manifest, and covers up to id 11",
        "loaded: up to id 11",
        "hint: ",
        "run the same command again",
    ]);
    let report = run.report();
    assert_eq!((&report["rows"], &report["so_far"]["loaded_up_to"]), (&11.into(), &11.into()));
    assert_eq!(report["so_far"]["senders"][0]["covered_up_to"], 21);
    assert_eq!(loaded(&network), 11);
    let shown = network.run(&["inspect", "media-0"]).ends_with(0).stdout;
    assert!(shown.contains("not closed") && shown.contains("part-000002.age"), "{shown}");
    // One medium is complete.
    copy_rest(&network, "package-1", "media-1");
    let run = rebuild(&network, ["media-0", "media-1"], &[])
        .ends_with(1)
        .says(&["the package of sender 1 is complete", "loaded: up to id 21"]);
    assert_eq!((run.number("rows"), run.number("rows_skipped")), (10, 11));
    // What needs all of a package says that it is not complete.
    let verify = ["verify", "--identity", "r.age", "--db-url", &network.target];
    let packages = ["--package", "media-0", "--package", "media-1"];
    network
        .run_as("2", &[&verify[..], &packages].concat())
        .ends_with(1)
        .says(&["media-0 has no manifest"]);
    // A redo of what is not covered yet changes nothing.
    copy_rest(&network, "package-0", "media-0");
    let run = rebuild(&network, ["media-0", "media-1"], &[]).ends_with(0);
    assert_eq!((run.number("rows"), run.number("rows_skipped")), (ROWS as u64 - 21, 21));
    assert!(run.report()["so_far"].is_null());
    network.run_as("2", &[&verify[..], &packages].concat()).ends_with(0);
}

#[test]
fn a_package_without_its_first_part_or_its_records_loads_nothing() {
    let network = sent();
    copy_half(&network, "package-0", "media-0", 3);
    fs::remove_file(network.path("media-0/part-000000.age")).expect("there");
    let run = rebuild(&network, ["media-0", "package-1"], &[]).ends_with(1);
    run.says(&["the package of sender 0 has no manifest, and covers nothing", "loaded: nothing"]);
    fs::remove_file(network.path("media-0/part-records")).expect("there");
    let run = rebuild(&network, ["media-0", "package-1"], &[]).ends_with(1);
    run.says(&["media-0 has no manifest: the package is not complete", "hint: "]);
    assert_eq!(loaded(&network), 0);
}

#[test]
fn a_record_that_was_changed_or_added_on_the_way_is_refused_before_anything_is_loaded() {
    let network = sent();
    let records =
        |name: &str| fs::read_to_string(network.path(name).join("part-records")).expect("there");
    let write = |name: &str, text: &str| {
        fs::write(network.path(name).join("part-records"), text).expect("written");
    };
    copy_half(&network, "package-0", "media-0", 3);
    let good = records("media-0");
    // Open and closed, a changed line is a damaged one.
    for name in ["media-0", "package-0"] {
        write(name, &good.replacen("part ", "part A", 1));
        rebuild(&network, [name, "package-1"], &[])
            .ends_with(4)
            .says(&["part-records, line 2", "hint: "]);
    }
    // A record of the other sender, which is good in its own package.
    let other = records("package-1");
    for name in ["media-0", "package-0"] {
        write(name, &format!("{good}{other}"));
        rebuild(&network, [name, "package-1"], &[]).ends_with(4).says(&["part-records, line "]);
    }
    // The same record twice, and one that is missing.
    let last = good.lines().last().expect("records");
    write("package-0", &format!("{good}{last}\n"));
    rebuild(&network, ["package-0", "package-1"], &[])
        .ends_with(4)
        .says(&["part-records has more"]);
    write("package-0", &good.replace(&format!("{last}\n"), ""));
    let missing = rebuild(&network, ["package-0", "package-1"], &[]).ends_with(4);
    missing.says(&[
        "part-records has no record of part-0000",
        "which the manifest lists",
        "hint: ",
    ]);
    assert_eq!(loaded(&network), 0);
    write("package-0", &good);
    rebuild(&network, ["package-0", "package-1"], &[]).ends_with(0);
}

#[test]
fn an_upload_sends_the_records_and_the_receiver_merges_while_it_arrives() {
    let network = sent();
    let more = ["--rebuild", "--identity", "r.age", "--db-url", &network.target, "--linger", "0"];
    let mut receiver = network.receive("session.toml", "inbox", &more);
    let url = receiver.url();
    for sender in ["0", "1"] {
        let package = format!("package-{sender}");
        network.run_as(sender, &["upload", &package, "--server-url", &url]).ends_with(0);
        if sender == "0" {
            // Again, before the other sender comes: nothing is sent twice.
            let again = ["upload", "--json", &package, "--server-url", &url];
            let again = network.run_as(sender, &again).ends_with(0);
            assert_eq!(again.number("parts"), 0);
        }
    }
    receiver.ends_with(0);
    assert_eq!(loaded(&network), ROWS);
    for sender in ["0", "1"] {
        let records = fs::read_to_string(network.path(&format!("inbox/sender-{sender}.records")));
        let records = records.expect("records");
        let count = |kind: &str| records.lines().filter(|line| line.starts_with(kind)).count();
        assert!(count("part ") >= 5 && count("part ") == count("used "), "{records}");
    }
}
