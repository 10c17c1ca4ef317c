//! The older table: triggers that set a time, and raise a version where a share changes.

use super::{ROWS, TABLE, assert_nothing_recorded};
use crate::network;

#[test]
fn versions_of_replaced_rows_are_as_delivered_and_not_raised() {
    let network = network();
    for (party, url) in network.databases.iter().enumerate() {
        let versions = "SET version_id = 5 + id % 3";
        let silently = "SET session_replication_role = replica";
        network.sql(url, &format!("{silently}; UPDATE \"SMPC_dev_{party}\".irises {versions}"));
    }
    let old = "INSERT INTO TABLE (id, version_id, left_code, left_mask, right_code, right_mask) \
        SELECT id, 4, '', '', '', '' FROM generate_series(50, 60) id";
    network.sql(&network.target, &old.replace("TABLE", TABLE));
    network.send(0, "p0").ends_with(0);
    network.send(1, "p1").ends_with(0);
    let refused = network.rebuild(&[]).ends_with(4);
    refused.says(&["delivered ids are in SMPC_dev_2.irises already", "--on-conflict replace"]);
    assert_nothing_recorded(&network);
    let report = network.rebuild(&["--on-conflict", "replace"]).ends_with(0).report();
    assert_eq!(report["rows"], ROWS);
    assert_eq!(network.verify().ends_with(0).report()["rows_equal"], ROWS);
    let as_delivered = format!(
        "SELECT count(*) FROM {TABLE} WHERE version_id = 5 + id % 3 AND last_modified_at IS NOT NULL"
    );
    assert_eq!(network.sql(&network.target, &as_delivered).trim(), ROWS.to_string());
    // The trigger is alive: an UPDATE of a share does raise the version.
    let raised = format!(
        "UPDATE {TABLE} SET left_mask = right_mask WHERE id = 60; \
         SELECT version_id FROM {TABLE} WHERE id = 60"
    );
    assert_eq!(network.sql(&network.target, &raised).trim(), "6");
}
