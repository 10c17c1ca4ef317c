//! Ranges that the senders cut as they like, and ids that are not there.

use std::collections::BTreeSet;

use super::agreed::{Agreed, empty_target, ids_in, table};
use crate::{ROWS, network};
use reshare_fixtures::network::Network;

/// There both batches are dropped; one sender exits 1 and the other 0.
#[test]
fn senders_that_cut_their_ranges_differently_give_the_equal_table() {
    let network = network();
    for (number, (lower, higher)) in
        [(["1", "1"], ["60", "3"]), (["7", "2"], ["11", "1"]), (["512", "4"], ["13", "1"])]
            .into_iter()
            .enumerate()
    {
        let run = Agreed::on(&network, &format!("run-{number}"), &[]);
        let parts = [lower, higher].into_iter().enumerate().map(|(sender, [rows, connections])| {
            let flags = ["--batch-size", rows, "-j", connections, "--json"];
            run.send(sender, &flags).ends_with(0).report()["parts"].as_u64()
        });
        let parts: Vec<_> = parts.collect();
        assert_ne!(parts[0], parts[1]);
        empty_target(&network);
        run.rebuild(&["--batch-size", "9"]).ends_with(0);
        run.is_equal(ROWS);
    }
}

/// There it is an abort, or, where a batch ends, a row that is missing in silence.
#[test]
fn a_gap_in_the_ids_loses_no_row_wherever_it_is() {
    let network = network();
    let everywhere = [1, 5, 6, 10, 11, 12, 13, 14, 15, 16, 25, 33, 40, 41, 60];
    let (only_higher, only_lower) = ([20, 34], [9, 21, 45, 59]);
    let gaps = [&only_higher[..], &only_lower, &[]].map(|own| [&everywhere[..], own].concat());
    for (party, url) in network.databases.iter().enumerate() {
        delete(&network, url, party, &gaps[party]);
    }
    let run = Agreed::on(&network, "run", &[]);
    for (sender, rows) in [(0, "5"), (1, "9")] {
        run.send(sender, &["--batch-size", rows]).ends_with(0);
        let boundaries = ids_after_parts(&network, &run.package(sender));
        let met = boundaries.iter().any(|id| *id < 60 && gaps[sender].contains(id));
        assert!(met, "no part ends where a gap begins: {boundaries:?}");
    }
    let rebuilt = run.rebuild(&["--json", "--batch-size", "3"]).ends_with(3).report();
    let leftovers = &rebuilt["leftovers"];
    assert_eq!(leftovers["only_lower_sender"], serde_json::json!(only_lower));
    assert_eq!(leftovers["only_higher_sender"], serde_json::json!(only_higher));
    delete(&network, &network.databases[2], 2, &[&only_higher[..], &only_lower].concat());
    let there = ids_in(&network, &network.databases[2], 2);
    assert_eq!(there.len(), ROWS - 15 - 6);
    assert_eq!(ids_in(&network, &network.target, 2), there);
    run.is_equal(there.len());
}

fn delete(network: &Network, url: &str, party: usize, ids: &[i64]) {
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    network.sql(url, &format!("DELETE FROM {} WHERE id IN ({})", table(party), list.join(", ")));
}

/// The ids that come after the last one of each part of a package.
fn ids_after_parts(network: &Network, package: &str) -> BTreeSet<i64> {
    let shown = network.run(&["inspect", package, "--json"]).ends_with(0).report();
    let parts = shown["part"].as_array().expect("a list").iter();
    let last = |ids: &str| ids.rsplit("..=").next().and_then(|last| last.parse::<i64>().ok());
    parts.map(|part| part["ids"].as_str().and_then(last).expect("a range") + 1).collect()
}
