//! Versions of rows: they arrive, and a row of two versions does not.

use super::agreed::{Agreed, ids_in, table};
use crate::{ROWS, network};

/// There a 3 arrives as a 0.
#[test]
fn a_version_arrives_as_it_is() {
    let network = network();
    for (party, url) in network.databases.iter().enumerate() {
        let versions = "CASE id WHEN 5 THEN 3 WHEN 6 THEN 0 WHEN 7 THEN NULL ELSE 32767 END";
        let set = format!("UPDATE {} SET version_id = {versions}", table(party));
        network.sql(url, &format!("{set} WHERE id IN (5, 6, 7, 60)"));
    }
    let run = Agreed::on(&network, "run", &[]);
    run.send_both();
    run.rebuild(&[]).ends_with(0);
    let versions = |url: &str| {
        let of = "SELECT id, coalesce(version_id::text, 'NULL') FROM";
        network.sql(url, &format!("{of} {} ORDER BY id", table(2)))
    };
    let arrived = versions(&network.target);
    for line in ["5|3", "6|0", "7|NULL", "60|32767"] {
        assert!(arrived.lines().any(|row| row == line), "{line} is not in: {arrived}");
    }
    assert_eq!(arrived, versions(&network.databases[2]));
    run.is_equal(ROWS);
}

/// There a wrong share is stored, and no error is reported.
#[test]
fn a_row_that_the_senders_hold_in_two_versions_is_listed_and_not_written() {
    let network = network();
    let change = "SET left_mask = right_mask, version_id = version_id + 1 WHERE id IN (8, 31)";
    network.sql(&network.databases[1], &format!("UPDATE {} {change}", table(1)));
    let run = Agreed::on(&network, "run", &[]);
    run.send_both();
    let summary = "left over: 2 rows that the senders hold in different versions: 8, 31";
    for loaded in ["loaded 58 rows into", "loaded no rows into"] {
        let rebuilt = run.rebuild(&["--report", "report.json"]).ends_with(3);
        let says = |words: &str| rebuilt.stdout.contains(words);
        assert!(says(summary) && says(loaded), "{}", rebuilt.stdout);
        let report = std::fs::read_to_string(network.path("report.json")).expect("a report");
        let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
        assert_eq!(report["leftovers"]["disagreeing"], serde_json::json!([8, 31]));
    }
    let there = ids_in(&network, &network.target, 2);
    let expected: Vec<i64> = (1..=60).filter(|id| ![8, 31].contains(id)).collect();
    assert_eq!(there, expected);
    let verified = run.verify_packages().ends_with(0);
    let summary = "equal: all 58 rows, bit for bit; recorded: the load is verified\n\
                not compared: 2 rows left over";
    assert!(verified.stdout.contains(summary), "{}", verified.stdout);
}
