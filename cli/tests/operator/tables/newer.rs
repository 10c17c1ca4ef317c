//! The newer table: one trigger that is always enabled, gives each new row a `semantic_id`, and
//! takes none of another epoch than 0.

use super::world::Newer;
use super::{ROWS, TABLE, assert_nothing_recorded};

const EPOCHS: [&str; 2] = ["version_id", "rerand_epoch"];
const TRIGGER: &str = "\"update_iris_metadata_trigger\"";

impl Newer {
    #[track_caller]
    fn assert_untouched(&self) {
        assert_eq!(self.sql(&format!("SELECT count(*) FROM {TABLE}")), "0");
        assert_nothing_recorded(&self.network);
    }

    /// How a trigger of the target is enabled.
    fn enabled(&self, trigger: &str) -> String {
        let trigger = trigger.trim_matches('"');
        self.sql(&format!("SELECT tgenabled FROM pg_trigger WHERE tgname = '{trigger}'"))
    }

    /// Does what a hint says: the SQL from `from` on, up to a semicolon, a comma or a full stop.
    fn run_hinted(&self, stderr: &str, from: &str) {
        let hint = stderr.lines().find(|line| line.starts_with("hint: ")).expect("a hint");
        let sql = &hint[hint.find(from).expect("it says how")..];
        let end = sql.find(TRIGGER).expect("its name") + TRIGGER.len();
        self.sql(&sql[..end]);
    }
}

#[test]
fn rows_of_epoch_0_are_loaded_and_get_a_semantic_id_of_their_own() {
    let world = Newer::agreeing_on(&EPOCHS);
    let old = format!("INSERT INTO {TABLE} (id, version_id) VALUES (7, 0), (60, 0)");
    world.sql(&old);
    world.send();
    let report = world.rebuild(&["--on-conflict", "replace"]).ends_with(0).report();
    assert_eq!(report["rows"], ROWS);
    assert_eq!(world.verified(), ROWS as u64);
    let given = format!(
        "SELECT count(DISTINCT semantic_id), count(last_modified_at), \
         count(*) FILTER (WHERE semantic_id = md5(id::text)::uuid) FROM {TABLE}"
    );
    assert_eq!(world.sql(&given), format!("{ROWS}|{ROWS}|0"));
    let again = world.rebuild(&[]).ends_with(0).report();
    assert_eq!((&again["rows"], &again["rows_skipped"]), (&0.into(), &ROWS.into()));
}

#[test]
fn one_epoch_in_the_last_rows_is_refused_before_anything_is_written() {
    let world = Newer::agreeing_on(&EPOCHS);
    world.everywhere("UPDATE irises SET rerand_epoch = id - 56 WHERE id > 58");
    world.send();
    let facts = [
        "table SMPC_dev_2.irises: the trigger \"update_iris_metadata_trigger\" refuses rows whose \
         rerand_epoch is not 0, and 2 of the delivered rows have another: id 59 (epoch 3), \
         id 60 (epoch 4)\n",
        "hint: none of these rows has been written; ALTER TABLE \"SMPC_dev_2\".\"irises\" DISABLE TRIGGER",
        "run the same command again, then ALTER TABLE",
        "ENABLE ALWAYS TRIGGER \"update_iris_metadata_trigger\"",
        "cannot be loaded as epoch 0",
    ];
    for more in [&[][..], &["--on-conflict", "replace"]] {
        let rebuilt = world.rebuild(more).ends_with(4).says(&facts);
        let loaded = world.load(more).ends_with(4).says(&facts);
        assert_eq!(rebuilt.stderr, loaded.stderr);
        world.assert_untouched();
    }
    let stderr = world.rebuild(&[]).ends_with(4).stderr;
    world.run_hinted(&stderr, "ALTER TABLE");
    assert_eq!(world.enabled(TRIGGER), "D");
    assert_eq!(world.rebuild(&[]).ends_with(0).report()["rows"], ROWS);
    world.run_hinted(&stderr, "ALTER TABLE \"SMPC_dev_2\".\"irises\" ENABLE");
    assert_eq!(world.enabled(TRIGGER), "A");
    assert_eq!(world.verified(), ROWS as u64);
    let epochs = format!("SELECT id, rerand_epoch FROM {TABLE} WHERE rerand_epoch > 0 ORDER BY id");
    assert_eq!(world.sql(&epochs), "59|3\n60|4");
    // What is loaded is not asked about again.
    for run in [world.rebuild(&[]), world.load(&[])] {
        let report = run.ends_with(0).report();
        assert_eq!((&report["rows"], &report["rows_skipped"]), (&0.into(), &ROWS.into()));
    }
}

#[test]
fn a_merged_file_is_loaded_while_the_trigger_is_disabled() {
    let world = Newer::agreeing_on(&EPOCHS);
    world.everywhere("UPDATE irises SET rerand_epoch = 1 WHERE id > 20");
    world.send();
    let says =
        ["40 of the delivered rows have another: id 21 (epoch 1), ", "id 30 (epoch 1), ...\n"];
    let stderr = world.load(&[]).ends_with(4).says(&says).stderr;
    world.assert_untouched();
    world.run_hinted(&stderr, "ALTER TABLE");
    assert_eq!(world.load(&[]).ends_with(0).report()["rows"], ROWS);
    assert_eq!(world.verified(), ROWS as u64);
}

#[test]
fn rows_that_are_left_over_may_be_of_any_epoch() {
    let world = Newer::agreeing_on(&EPOCHS);
    let further = "UPDATE \"SMPC_dev_0\".irises SET rerand_epoch = 1 WHERE id = 60";
    world.network.sql(&world.network.databases[0], further);
    world.send();
    let report = world.rebuild(&[]).ends_with(3).report();
    assert_eq!(report["rows"], ROWS - 1);
    assert_eq!(report["leftovers"]["disagreeing"], serde_json::json!([60]));
}

#[test]
fn a_semantic_id_that_would_be_replaced_is_refused_before_anything_is_written() {
    let world = Newer::agreeing_on(&["version_id", "rerand_epoch", "semantic_id:uuid"]);
    world.send();
    let facts = [
        "table SMPC_dev_2.irises: the trigger \"update_iris_metadata_trigger\" puts a random \
         semantic_id in place of the delivered one\n",
        "hint: nothing has been written; make a session without the agree column semantic_id",
        "DISABLE TRIGGER \"update_iris_metadata_trigger\"",
    ];
    let stderr = world.rebuild(&[]).ends_with(4).says(&facts).stderr;
    world.load(&["--on-conflict", "replace"]).ends_with(4).says(&facts);
    world.assert_untouched();
    world.run_hinted(&stderr, "ALTER TABLE");
    assert_eq!(world.rebuild(&[]).ends_with(0).report()["rows"], ROWS);
    assert_eq!(world.verified(), ROWS as u64);
}
