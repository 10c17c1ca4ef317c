//! Rows that a sender cannot read: they end a run, or are left out and listed.

use serde_json::{Value, json};

use super::Network;
use crate::{ROWS, network};
use reshare_fixtures::network::Run;

const FLAG: &str = "--leave-out-bad-rows";

/// Rows of sender 0 that cannot be read, in three of its parts: one whose value the server finds
/// damaged, two of a wrong length, and one without a share.
fn with_bad_rows() -> Network {
    let network = network();
    // The value that was stored first is that of the first row.
    let sql = "CREATE EXTENSION pg_surgery; DO $$ BEGIN \
         EXECUTE format('SELECT heap_force_kill(%L::regclass, ARRAY[''(0,1)'']::tid[])', \
         (SELECT reltoastrelid::regclass FROM pg_class WHERE oid = '\"SMPC_dev_0\".irises'::regclass)); \
         END $$; SET session_replication_role = replica; \
         CREATE TABLE kept AS SELECT id, right_code FROM \"SMPC_dev_0\".irises WHERE id = 2; \
         ALTER TABLE \"SMPC_dev_0\".irises ALTER left_mask DROP NOT NULL; \
         UPDATE \"SMPC_dev_0\".irises SET right_code = 'x' WHERE id IN (2, 30); \
         UPDATE \"SMPC_dev_0\".irises SET left_mask = NULL WHERE id = 20";
    network.sql(&network.databases[0], sql);
    network
}

fn send(network: &Network, more: &[&str]) -> Run {
    let send = ["send", "--json", "--session", "session.toml", "--agreement-key", "0.key"];
    let trust = ["--expect-fingerprint", &network.fingerprint, "--state-dir", "state-0"];
    let rows = ["--db-url", &network.databases[0], "--batch-size", "7", "--to", "p0"];
    network.run(&[&send[..], &trust, &["--target-party-id", "2"], &rows, more].concat())
}

/// What is said of the bad rows.
fn left_out() -> Value {
    json!([
        {"id": 1, "reason": "the server finds it damaged"},
        {"id": 2, "reason": "\"right_code\" has 1 bytes"},
        {"id": 20, "reason": "\"left_mask\" is NULL"},
        {"id": 30, "reason": "\"right_code\" has 1 bytes"},
    ])
}

/// The content of each part.
fn contents(network: &Network) -> Vec<Value> {
    let manifest = std::fs::read(network.path("p0/manifest.json")).expect("closed");
    let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
    let parts = manifest["parts"].as_array().expect("parts").iter();
    parts
        .map(|part| json!([part["name"], part["ids"], part["rows"], part["content_digest"]]))
        .collect()
}

#[test]
fn rows_that_cannot_be_read_are_left_out_on_request_and_stay_out() {
    let network = with_bad_rows();
    let refused = send(&network, &["-j", "1"]).ends_with(4);
    let refused = refused.says(&["data damaged: id 1\n", "XX001", FLAG]);
    assert!(!refused.stderr.contains("id 3"), "{}", refused.stderr);
    let report = send(&network, &[FLAG]).ends_with(3).report();
    assert_eq!((&report["bad_rows"], &report["rows"]), (&left_out(), &(ROWS - 4).into()));
    let text = send(&network, &[FLAG]).ends_with(3).report();
    assert_eq!((&text["closed_before"], &text["bad_rows"]), (&true.into(), &left_out()));
    // A part that is made again has the same rows, though one of those left out is good now. The
    // flag is not needed for what is recorded.
    let before = contents(&network);
    for name in ["p0/manifest.json", "p0/part-000000.age"] {
        std::fs::remove_file(network.path(name)).expect("there");
    }
    let repair = "SET session_replication_role = replica; UPDATE \"SMPC_dev_0\".irises i \
        SET right_code = k.right_code FROM kept k WHERE i.id = k.id";
    network.sql(&network.databases[0], repair);
    let again = send(&network, &[]).ends_with(3).report();
    assert_eq!((&again["bad_rows"], &again["parts_kept"]), (&left_out(), &8.into()));
    assert_eq!(contents(&network), before);
    network.send(1, "p1").ends_with(0);
    let leftovers = &network.rebuild(&[]).ends_with(3).report()["leftovers"];
    assert_eq!(leftovers["only_higher_sender"], json!([1, 2, 20, 30]));
    assert_eq!(
        (&leftovers["only_lower_sender"], &leftovers["disagreeing"]),
        (&json!([]), &json!([]))
    );
    let rows = network.sql(&network.target, "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    assert_eq!(rows.trim(), (ROWS - 4).to_string());
}

#[test]
fn a_file_is_exported_without_the_rows_that_cannot_be_read() {
    let network = with_bad_rows();
    let source = ["--party-id", "0", "--db-url", &network.databases[0], "--out", "0.rsh"];
    let export =
        [&["export", "--session", "session.toml", "--batch-size", "7"], &source[..]].concat();
    network.run(&export).ends_with(4);
    assert!(!network.path("0.rsh").exists());
    let run = network.run(&[&export[..], &[FLAG]].concat()).ends_with(3);
    let words = "left over: 4 rows that cannot be read: id 1 (the server finds it damaged), id 2 (";
    assert!(run.stdout.contains(words), "{}", run.stdout);
    assert!(run.stdout.contains("exported 56 rows"), "{}", run.stdout);
    let report = network.run(&[&export[..], &[FLAG, "--json"]].concat()).ends_with(3).report();
    assert_eq!((&report["bad_rows"], &report["rows"]), (&left_out(), &(ROWS - 4).into()));
    let shown = network.run(&["inspect", "0.rsh"]).ends_with(0).stdout;
    assert!(shown.contains("56"), "{shown}");
}
