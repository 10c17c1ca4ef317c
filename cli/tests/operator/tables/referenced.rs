//! A target that other tables refer to: what is replaced there would take their rows along.

use super::{Network, ROWS, TABLE, assert_nothing_recorded};
use crate::network;
use reshare_fixtures::network::Running;

/// A target with rows 1 to 9, of which rows of another table refer to 3 to 5, and both packages.
fn referenced(on_delete: &str) -> Network {
    let network = network();
    let sql = format!(
        "INSERT INTO {TABLE} (id, version_id) SELECT id, 0 FROM generate_series(1, 9) id; \
         CREATE TABLE \"SMPC_dev_2\".\"Hits\" (hit int, iris_id bigint DEFAULT 1 \
             CONSTRAINT hits_of REFERENCES {TABLE} {on_delete}); \
         INSERT INTO \"SMPC_dev_2\".\"Hits\" SELECT id, id FROM generate_series(3, 5) id"
    );
    network.sql(&network.target, &sql);
    network
}

fn send(network: &Network) {
    network.send(0, "p0").ends_with(0);
    network.send(1, "p1").ends_with(0);
}

/// Rows of the other table, each with what it refers to.
fn hits(network: &Network) -> String {
    let sql =
        "SELECT string_agg(hit || '>' || iris_id, ' ' ORDER BY hit) FROM \"SMPC_dev_2\".\"Hits\"";
    network.sql(&network.target, sql).trim().to_owned()
}

#[track_caller]
fn assert_untouched(network: &Network) {
    assert_eq!(hits(network), "3>3 4>4 5>5");
    let rows = format!("SELECT count(*) FROM {TABLE} WHERE left_code IS NULL");
    assert_eq!(network.sql(&network.target, &rows).trim(), "9");
    assert_nothing_recorded(network);
}

const REPLACE: [&str; 2] = ["--on-conflict", "replace"];

#[test]
fn rows_that_others_refer_to_are_replaced_only_without_the_foreign_key() {
    let actions = [
        ("ON DELETE CASCADE", "would delete the rows there that refer to it (ON DELETE CASCADE)"),
        ("ON DELETE RESTRICT", "would refuse that in the middle of the load"),
    ];
    for (on_delete, says) in actions {
        let network = referenced(on_delete);
        send(&network);
        let facts = [
            "table SMPC_dev_2.irises: to replace a row is to delete it first, and the foreign key \
             \"hits_of\" of table \"SMPC_dev_2\".\"Hits\" would",
            says,
            "hint: nothing has been written; where the table has no delivered row yet, leave \
             --on-conflict replace out; else ALTER TABLE \"SMPC_dev_2\".\"Hits\" DROP CONSTRAINT \
             \"hits_of\", run the same command again, then ALTER TABLE \"SMPC_dev_2\".\"Hits\" ADD \
             CONSTRAINT \"hits_of\" FOREIGN KEY (iris_id) REFERENCES",
            on_delete,
        ];
        let stderr = network.rebuild(&REPLACE).ends_with(4).says(&facts).stderr;
        assert_untouched(&network);
        let packages = ["--package", "p0", "--package", "p1", "--identity", "r.age"];
        let merge = ["merge", "--session", "session.toml", "--out", "m.rsh"];
        network.run(&[&merge[..], &packages].concat()).ends_with(0);
        let load = ["load", "--session", "session.toml", "--in", "m.rsh", "--db-url"];
        let load = [&load[..], &[&network.target], &REPLACE].concat();
        network.run(&load).ends_with(4).says(&facts);
        assert_untouched(&network);
        // As the hint says.
        let (_, sql) = stderr.split_once("else ").expect("a hint");
        let (drop, add) = sql.split_once(", run the same command again, then ").expect("both");
        network.sql(&network.target, drop);
        assert_eq!(network.rebuild(&REPLACE).ends_with(0).report()["rows"], ROWS);
        network.sql(&network.target, add);
        assert_eq!(hits(&network), "3>3 4>4 5>5");
        assert_eq!(network.verify().ends_with(0).report()["rows_equal"], ROWS);
    }
}

#[test]
fn a_foreign_key_is_no_obstacle_where_nothing_is_replaced() {
    let network = referenced("ON DELETE CASCADE");
    send(&network);
    network.rebuild(&[]).ends_with(4).says(&["--on-conflict replace replaces such rows"]);
    assert_untouched(&network);
    network.sql(&network.target, &format!("TRUNCATE {TABLE} CASCADE"));
    assert_eq!(network.rebuild(&[]).ends_with(0).report()["rows"], ROWS);
    assert_eq!(network.verify().ends_with(0).report()["rows_equal"], ROWS);
}

#[test]
fn a_receiver_that_rebuilds_keeps_rows_that_others_refer_to_and_what_was_delivered() {
    let network = referenced("ON DELETE SET NULL");
    network.certify();
    let drop = "ALTER TABLE \"SMPC_dev_2\".\"Hits\" DROP CONSTRAINT hits_of";
    let mut receive = vec!["receive", "--session", "certified.toml", "--inbox", "inbox"];
    // The first sender has ended: nobody asks in its name again.
    receive.extend(["--health-listen", "127.0.0.1:0", "--linger", "5"]);
    receive.extend(["--rebuild", "--identity", "r.age", "--db-url", &network.target]);
    receive.extend(REPLACE);
    let start =
        |listen: &str| Running::start(network.program_as("2", &receive).args(["--listen", listen]));
    let assert_refused = |mut receiver: Running| {
        receiver.ends_with(4);
        assert!(receiver.said("would set NULL in the rows there (ON DELETE SET NULL)"));
        assert!(receiver.said("DROP CONSTRAINT \"hits_of\""), "{:#?}", receiver.lines());
        assert_untouched(&network);
    };
    // Before anybody delivers.
    assert_refused(start("127.0.0.1:0"));
    assert!(!network.path("inbox").exists());
    // And where it appears only while they do.
    network.sql(&network.target, drop);
    let mut receiver = start("127.0.0.1:0");
    let address = receiver.address();
    let url = format!("https://{address}");
    let add = "ALTER TABLE \"SMPC_dev_2\".\"Hits\" ADD CONSTRAINT hits_of \
               FOREIGN KEY (iris_id) REFERENCES \"SMPC_dev_2\".irises ON DELETE SET NULL";
    network.sql(&network.target, add);
    let send = |party: &str, other: &str, database: &str| {
        let (key, other) = (format!("file:{party}.key"), format!("approval-{other}.json"));
        let mut send = vec!["send", "--session", "certified.toml", "--agreement-key", &key];
        send.extend(["--approval", "approval-2.json", "--approval", &other]);
        send.extend(["--db-url", database, "--server-url", &url]);
        network.start_as(party, &send)
    };
    let [zero, one, _] = &network.databases;
    send("0", "1", zero).ends_with(0);
    // The table is looked at again as soon as both have begun.
    let mut second = send("1", "0", one);
    assert_refused(receiver);
    network.sql(&network.target, drop);
    // What was delivered is in the inbox, and who has not ended goes on by itself.
    let mut receiver = start(&address);
    second.ends_with(0);
    receiver.ends_with(0);
    assert_eq!(hits(&network), "3>3 4>4 5>5");
    assert_eq!(network.verify().ends_with(0).report()["rows_equal"], ROWS);
}
