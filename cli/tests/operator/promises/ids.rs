//! Any id there is, and none: ranges and lists, from end to end.

use super::agreed::{Agreed, empty_target, ids_in, table};
use crate::network;
use reshare_fixtures::network::Network;

const FIRST: &str = "-9223372036854775808";
const LAST: &str = "9223372036854775807";

/// A network whose three tables have these rows of 60 and ids alone, in this order.
fn network_with(ids: &[i64]) -> Network {
    let network = network();
    let list: Vec<String> = ids.iter().map(i64::to_string).collect();
    let last = ids.len();
    for (party, url) in network.databases.iter().enumerate() {
        let table = table(party);
        network.sql(url, &format!("DELETE FROM {table} WHERE id > {last}"));
        // Out of the way of the ids that are there.
        network.sql(url, &format!("UPDATE {table} SET id = id + 1000000"));
        let named = format!("('{{{}}}'::bigint[])[id - 1000000]", list.join(","));
        network.sql(url, &format!("UPDATE {table} SET id = {named}"));
    }
    network
}

const ENDS: [i64; 12] = [
    i64::MIN,
    i64::MIN + 1,
    i64::MIN + 2,
    -70_000,
    -5,
    -1,
    0,
    1,
    77,
    1 << 40,
    i64::MAX - 1,
    i64::MAX,
];

/// Sends, rebuilds and compares in a session, which must bring just these ids.
#[track_caller]
fn brings(network: &Network, name: &str, flags: &[&str], ids: &[i64]) {
    let run = Agreed::on(network, name, flags);
    for (sender, rows) in [(0, "2"), (1, "3")] {
        let sent = run.send(sender, &["--batch-size", rows]).ends_with(0);
        let summary = format!("packed {} in ", counted(ids.len()));
        assert!(sent.stdout.contains(&summary), "{}", sent.stdout);
    }
    empty_target(network);
    let rebuilt = run.rebuild(&["--batch-size", "4"]).ends_with(0);
    let summary = format!("loaded {} into SMPC_dev_2.irises\n", counted(ids.len()));
    assert!(rebuilt.stdout.contains(&summary), "{}", rebuilt.stdout);
    assert_eq!(ids_in(network, &network.target, 2), ids);
    let equal = match ids.len() {
        1 => "equal: the one row there is, bit for bit".to_owned(),
        rows => format!("equal: all {rows} rows, bit for bit"),
    };
    for verified in [run.verify(), run.verify_packages()] {
        let verified = verified.ends_with(0);
        assert!(verified.stdout.contains(&equal), "{}", verified.stdout);
    }
}

fn counted(rows: usize) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

#[test]
fn every_id_there_is_arrives_the_first_and_the_last_too() {
    let network = network_with(&ENDS);
    brings(&network, "all", &["--db-start", FIRST], &ENDS);
    // An end that is left out is behind the last id, and one that is given before it.
    brings(&network, "but-the-last", &["--db-start", FIRST, "--db-end", LAST], &ENDS[..11]);
    brings(&network, "above", &["--db-start", "1"], &ENDS[7..]);
    brings(&network, "below", &["--db-start", FIRST, "--db-end", "-5"], &ENDS[..4]);
    let end = (i64::MIN + 1).to_string();
    brings(&network, "first", &["--db-start", FIRST, "--db-end", &end], &ENDS[..1]);
    brings(&network, "last", &["--db-start", LAST], &ENDS[11..]);
}

#[test]
fn a_list_brings_the_first_id_the_last_one_and_no_neighbour_of_theirs() {
    let network = network_with(&ENDS);
    let list = |name: &str, ids: &[i64]| {
        let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(network.path(name), lines).expect("written");
    };
    list("ends.ids", &[i64::MIN, -5, 0, i64::MAX]);
    brings(&network, "ends", &["--ids-from", "ends.ids"], &[i64::MIN, -5, 0, i64::MAX]);
    // Ids that no sender has are just not there.
    list("one.ids", &[i64::MIN + 3, i64::MAX - 2, i64::MAX]);
    brings(&network, "one", &["--ids-from", "one.ids"], &[i64::MAX]);
}

#[test]
fn a_range_without_an_id_makes_no_session() {
    let network = network();
    let refuses = |start: &str, end: &str| {
        let new = ["session", "new", "--out", "none.toml", "--session-id", "none", "--environment"];
        let parties = ["dev", "--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver"];
        let recipient = "2=age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
        let shared = network.shared_key_id();
        let ids = [recipient, "--db-start", start, "--db-end", end, "--shared-key-id", &shared];
        let refused = network.run(&[&new[..], &parties, &ids].concat()).ends_with(2);
        assert!(!network.path("none.toml").exists());
        refused
    };
    let empty = "the range of ids is empty: --db-end must be above --db-start";
    refuses(FIRST, FIRST).says(&[empty]);
    refuses(LAST, LAST).says(&[empty]);
    refuses("5", "5").says(&[empty]);
    refuses("5", "-5").says(&[empty]);
    refuses("5", "9223372036854775808").says(&["--db-end", "9223372036854775808"]);
}

/// Goes through all that is done in a session of which no table has a row.
#[track_caller]
fn is_empty(network: &Network, name: &str, flags: &[&str]) {
    let run = Agreed::on(network, name, flags);
    for sender in [0, 1] {
        let summary = format!(
            "packed no rows of sender {sender} (0 bytes) to {name}-{sender}\n\
             note: this sender has no row with an id of the session, and its empty package says so\n"
        );
        assert_eq!(run.send(sender, &[]).ends_with(0).stdout, summary);
        let summary =
            format!("{name}-{sender} is complete already, with what the ledger has recorded");
        let again = run.send(sender, &[]).ends_with(0);
        assert!(again.stdout.starts_with(&summary), "{}", again.stdout);
    }
    for _ in 0..2 {
        let rebuilt = run.rebuild(&[]).ends_with(0);
        assert_eq!(rebuilt.stdout, "loaded no rows into SMPC_dev_2.irises\n");
    }
    for verified in [run.verify(), run.verify_packages()] {
        let summary = "equal: neither side has a row with an id of the session";
        let verified = verified.ends_with(0);
        assert!(verified.stdout.starts_with(summary), "{}", verified.stdout);
    }
    assert_eq!(ids_in(network, &network.target, 2), [0; 0]);
}

#[test]
fn a_session_of_which_no_table_has_a_row_ends_well_and_says_so() {
    let network = network();
    is_empty(&network, "range", &["--db-start", "61", "--db-end", "1000"]);
    std::fs::write(network.path("none.ids"), format!("{FIRST}\n0\n{LAST}\n")).expect("written");
    is_empty(&network, "list", &["--ids-from", "none.ids"]);
    for (party, url) in network.databases.iter().enumerate() {
        network.sql(url, &format!("TRUNCATE {}", table(party)));
    }
    is_empty(&network, "table", &["--db-start", FIRST]);
}

#[test]
fn rows_of_one_sender_alone_are_left_over_where_the_other_has_none() {
    let network = network();
    network.sql(&network.databases[0], &format!("TRUNCATE {}", table(0)));
    network.sql(&network.databases[1], &format!("DELETE FROM {} WHERE id <> 7", table(1)));
    let run = Agreed::on(&network, "run", &[]);
    run.send_both();
    let rebuilt = run.rebuild(&[]).ends_with(3);
    let summary =
        "loaded no rows into SMPC_dev_2.irises\nleft over: 1 row that only sender 1 has: 7\n";
    assert_eq!(rebuilt.stdout, summary);
    let verified = run.verify_packages().ends_with(0);
    let summary =
        "nothing to compare: 1 row left over, and no other; recorded: the load is verified\n";
    assert!(verified.stdout.contains(summary), "{}", verified.stdout);
}
