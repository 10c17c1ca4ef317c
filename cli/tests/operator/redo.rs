//! A delivery that is made again after its rows were loaded, as operators meet it.

use reshare_fixtures::network::{Network, Run};

use crate::{ROWS, network};

/// Sends once more from one side, with a new ledger, to the directory `name`.
fn send_without_ledger(network: &Network, sender: usize, name: &str) {
    let (party, state) = (sender.to_string(), format!("fresh-{sender}"));
    network.approve(&party, &state).ends_with(0);
    let key = format!("file:{sender}.key");
    let send = ["send", "--json", "--session", "session.toml", "--agreement-key", &key];
    let trust = ["--expect-fingerprint", &network.fingerprint, "--state-dir", &state];
    let trust = [&trust[..], &["--target-party-id", "2"]].concat();
    let rows = ["--db-url", &network.databases[sender], "--batch-size", "9", "--to", name];
    network.run(&[&send[..], &trust, &rows].concat()).ends_with(0);
}

fn rebuild_from(network: &Network, packages: [&str; 2], more: &[&str]) -> Run {
    let [lower, higher] = packages;
    let rebuild = ["rebuild", "--session", "session.toml", "--identity", "r.age"];
    let packages = ["--package", lower, "--package", higher, "--db-url", &network.target];
    network.run(&[&rebuild[..], &packages, &["--batch-size", "8"], more].concat())
}

/// The flags that a hint names.
fn redo_flags(run: &Run) -> Vec<String> {
    let hint = run.stderr.lines().find(|line| line.starts_with("hint: ")).expect("a hint");
    let words = hint.split_whitespace().skip_while(|word| *word != "--redo");
    let named = words.take_while(|word| word.starts_with("--redo") || word.contains('-'));
    named.map(|word| word.trim_end_matches('.').to_owned()).collect()
}

const TARGET: &str = "\"SMPC_dev_2\".irises";

#[test]
fn a_sender_that_lost_its_ledger_is_named_and_the_hint_loads_its_ranges_again() {
    let network = network();
    for sender in [0, 1] {
        network.send(sender, &format!("p{sender}")).ends_with(0);
    }
    network.rebuild(&[]).ends_with(0);
    // A column that is not delivered, and a trigger of the table sets, shows what is written again.
    let silently = "SET session_replication_role = replica";
    let set = format!("{silently}; UPDATE {TARGET} SET last_modified_at = 7");
    network.sql(&network.target, &set);
    send_without_ledger(&network, 0, "again-0");
    let refused = rebuild_from(&network, ["again-0", "p1"], &[]).ends_with(4).says(&[
        "since this session loaded ids ",
        "the package of sender 0 has become another",
        "--redo ",
    ]);
    let touched = format!("SELECT count(*) FROM {TARGET} WHERE last_modified_at = 7");
    assert_eq!(network.sql(&network.target, &touched).trim(), ROWS.to_string());
    let flags = redo_flags(&refused);
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    assert!(flags.len() >= 2, "{}", refused.stderr);
    rebuild_from(&network, ["again-0", "p1"], &["--redo", "7-1"]).ends_with(2).says(&["--redo"]);
    let redone = rebuild_from(&network, ["again-0", "p1"], &flags).ends_with(0);
    let said = "loaded again, in place of what was loaded: ids ";
    assert!(redone.stdout.contains(said), "{}", redone.stdout);
    // Columns that are not delivered took their defaults: the rows were deleted and came again.
    assert_ne!(network.sql(&network.target, &touched).trim(), ROWS.to_string());
    assert_eq!(network.verify().ends_with(0).number("rows_equal"), ROWS as u64);
    // The redo is done; the same command says so, and touches nothing.
    let again = rebuild_from(&network, ["again-0", "p1"], &flags).ends_with(0);
    assert!(again.stdout.contains("of these packages already: ids "), "{}", again.stdout);
    rebuild_from(&network, ["p0", "p1"], &[]).ends_with(4);
}

#[test]
fn a_row_that_the_application_has_changed_keeps_its_range_from_being_loaded_again() {
    let network = network();
    for sender in [0, 1] {
        network.send(sender, &format!("p{sender}")).ends_with(0);
    }
    network.rebuild(&[]).ends_with(0);
    send_without_ledger(&network, 1, "again-1");
    let set = format!("UPDATE {TARGET} SET version_id = version_id + 1 WHERE id = 31");
    network.sql(&network.target, &set);
    let all = || {
        network.sql(
            &network.target,
            &format!("SELECT md5(string_agg(t::text, '' ORDER BY id)) FROM {TARGET} t"),
        )
    };
    let before = all();
    let run = rebuild_from(&network, ["p0", "again-1"], &["--redo", "1-100000"]).ends_with(4);
    run.says(&["rows of ids ", "are not as this session loaded them", "hint: "]);
    assert_eq!(all(), before);
    let (url, role) = network.url_as(
        2,
        "GRANT USAGE, CREATE ON SCHEMA \"SMPC_dev_2\" TO ROLE; \
         GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA \"SMPC_dev_2\" TO ROLE",
    );
    let check = ["check", "receiver", "--session", "session.toml", "--db-url", &url];
    let checked = network.run(&[&check[..], &["--redo", "1-9"]].concat()).ends_with(4);
    let grant =
        |table: &str| format!("GRANT DELETE ON TABLE \"SMPC_dev_2\".\"{table}\" TO \"{role}\"");
    for table in ["irises", "reshare_progress"] {
        assert!(checked.stdout.contains(&grant(table)), "{}", checked.stdout);
    }
    let without = network.run(&check).stdout;
    assert!(!without.contains("GRANT DELETE"), "{without}");
}
