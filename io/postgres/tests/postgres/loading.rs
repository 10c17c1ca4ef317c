//! Writing ranges once.

use std::sync::Arc;
use std::time::Duration;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout};
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_fixtures::iris_table::IrisTable;
use reshare_postgres::export::Snapshot;
use reshare_postgres::load::Loader;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::load_options::{LoadOptions, OnConflict};
use reshare_postgres::plan::ExportIds;
use reshare_postgres::progress_table::LoadedRange;
use reshare_postgres::table::{TableName, TableSpec};
use reshare_postgres::write::Written;

use crate::support::{
    Place, SESSION, assert_same, chain, count, none, push_row, range, small_layout, small_rows,
    small_spec, span, usual_agree,
};

const REPLACE: LoadOptions = replace(false);

const fn replace(allow_older: bool) -> LoadOptions {
    let on_conflict = OnConflict::Replace { allow_older };
    LoadOptions { on_conflict, lock_wait: Duration::from_secs(60) }
}

const OTHER_SESSION: Fingerprint = Fingerprint([8; 32]);

async fn other_loader(place: &Place, options: LoadOptions) -> Loader {
    Loader::open(&place.database, &small_spec(), OTHER_SESSION, options).await.expect("opens")
}

/// The whole table, at most `capacity` rows.
async fn table(place: &Place, capacity: usize) -> RowBatch {
    let snapshot = Snapshot::open(&place.database, &small_spec()).await.expect("opens");
    let mut got = RowBatch::with_capacity(small_layout(), capacity);
    snapshot.reader().read_page(IdRange::ALL, &mut got).await.expect("reads");
    got
}

#[tokio::test]
async fn a_second_load_is_a_no_op() {
    let mut place = Place::with_table().await;
    let rows = small_rows(&[1, 2, 5]);
    let leftovers = Leftovers { only_lower_sender: vec![3], disagreeing: vec![4], ..none() };
    let loader = place.loader(LoadOptions::default()).await;
    assert_eq!(loader.loaded(), []);
    let mut writer = loader.writer();
    let written = writer.write(range(0, 9), &rows.rows(), [5; 32], &leftovers).await;
    assert_eq!(written.expect("writes"), Written::Now);
    let again = writer.write(range(0, 9), &rows.rows(), [5; 32], &leftovers).await;
    assert_eq!(again.expect("knows it"), Written::AlreadyLoaded);
    writer.close().await;
    loader.close().await;
    let mut loader = place.loader(LoadOptions::default()).await;
    let [loaded] = loader.loaded() else { panic!("one range") };
    assert_eq!((loaded.ids, loaded.rows, loaded.digest), (range(0, 9), 3, [5; 32]));
    assert_eq!(loaded.leftovers, leftovers);
    assert!(loader.conflicting_ids(&[1, 2, 5]).await.expect("reads").is_empty());
    assert!(loader.existing_ids(IdRange::ALL, 10).await.expect("reads").is_empty());
    let again = loader.writer().write(range(0, 9), &rows.rows(), [5; 32], &leftovers).await;
    assert_eq!(again.expect("knows it"), Written::AlreadyLoaded);
    assert_same(&table(&place, 9).await, &rows);
    // Columns that the session does not know take their defaults.
    let defaults = "SELECT count(*) FROM \"SMPC_dev_0\".rows WHERE note = 'default'";
    assert_eq!(place.number(defaults).await, 3);
}

#[tokio::test]
async fn rows_that_were_loaded_and_are_gone_are_not_skipped() {
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1, 2, 5])).await;
    place.run("DELETE FROM \"SMPC_dev_0\".rows WHERE id = 2").await;
    let options = LoadOptions::default();
    let opened = Loader::open(&place.database, &small_spec(), SESSION, options).await;
    let error = opened.err().expect("must be refused");
    assert!(error.is_refusal());
    let LoadError::LoadedRowsGone { range: gone, recorded, found, .. } = error else {
        panic!("another error: {error}")
    };
    assert_eq!((gone, recorded, found), (range(1, 5), 3, 2));
}

#[tokio::test]
async fn a_range_loaded_with_other_content_or_bounds_is_refused() {
    let place = Place::with_table().await;
    let rows = small_rows(&[3, 4]);
    place.load(&rows).await;
    for options in [LoadOptions::default(), REPLACE] {
        let loader = place.loader(options).await;
        let mut writer = loader.writer();
        for (ids, digest) in [
            (range(3, 4), [9; 32]),
            (range(3, 9), [1; 32]),
            (range(2, 4), [1; 32]),
            (range(0, 9), [1; 32]),
        ] {
            let error = writer.write(ids, &rows.rows(), digest, &none()).await;
            let error = error.expect_err("must be refused");
            let recorded = range(3, 4);
            assert!(
                matches!(error, LoadError::LoadedOtherwise { recorded: is, .. } if is == recorded)
            );
            assert!(error.is_refusal());
        }
        let second = small_rows(&[2]);
        loader.close().await;
        if options.on_conflict == OnConflict::Error {
            place.load(&second).await;
        }
    }
    assert_same(&table(&place, 9).await, &small_rows(&[2, 3, 4]));
}

#[tokio::test]
async fn rows_that_are_there_are_a_conflict_and_nothing_is_written() {
    let mut place = Place::with_table().await;
    let ids: Vec<i64> = (1..=30).collect();
    let before = small_rows(&ids);
    place.load(&before).await;
    let mut loader = other_loader(&place, LoadOptions::default()).await;
    let existing = loader.existing_ids(range(5, 100), 3).await.expect("reads");
    assert_eq!(existing, [5, 6, 7]);
    assert_eq!(loader.conflicting_ids(&[0, 7, 31]).await.expect("reads"), [7]);
    let rows = small_rows(&[0, 7, 31]);
    let error = loader.writer().write(range(0, 40), &rows.rows(), [1; 32], &none()).await;
    let error = error.expect_err("must be refused");
    let text = "table SMPC_dev_0.rows has 1 of the delivered rows already: 7";
    assert_eq!(error.to_string(), text);
    assert!(error.is_refusal());
    let many = loader.writer().write(range(1, 30), &before.rows(), [1; 32], &none()).await;
    let text = "table SMPC_dev_0.rows has more than 10 of the delivered rows already: \
                1, 2, 3, 4, 5, 6, 7, 8, 9, 10";
    assert_eq!(many.expect_err("must be refused").to_string(), text);
    loader.close().await;
    assert_same(&table(&place, 99).await, &before);
    let ranges = "SELECT count(*) FROM \"SMPC_dev_0\".reshare_progress";
    assert_eq!(place.number(ranges).await, 1);
}

#[tokio::test]
async fn another_unique_column_is_a_conflict_too() {
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1])).await;
    place.run("ALTER TABLE \"SMPC_dev_0\".rows ADD CONSTRAINT one_note UNIQUE (note)").await;
    let loader = other_loader(&place, LoadOptions::default()).await;
    let rows = small_rows(&[2]);
    let error = loader.writer().write(range(2, 2), &rows.rows(), [1; 32], &none()).await;
    let error = error.expect_err("must be refused");
    assert!(
        matches!(&error, LoadError::UniqueViolation { constraint, .. } if constraint == "one_note")
    );
    assert!(error.is_refusal());
}

#[tokio::test]
async fn replacing_takes_newer_rows_and_keeps_what_is_not_delivered() {
    let place = Place::with_table().await;
    place.load(&small_rows(&[1, 2, 3])).await;
    let mut rows = RowBatch::with_capacity(small_layout(), 2);
    for id in [1, 3] {
        let mut agree = usual_agree(id);
        agree[0] = AgreeValue::Integer(100);
        push_row(&mut rows, id, agree, 50);
    }
    let loader = other_loader(&place, REPLACE).await;
    let written = loader.writer().write(range(1, 3), &rows.rows(), [1; 32], &none()).await;
    assert_eq!(written.expect("writes"), Written::Now);
    let got = table(&place, 9).await;
    assert_eq!(got.rows().ids, [1, 2, 3]);
    assert!(got.rows().share_row(0).eq(rows.rows().share_row(0)));
    assert!(got.rows().share_row(1).eq(small_rows(&[2]).rows().share_row(0)));
    assert!(got.rows().agree_values(2).eq(rows.rows().agree_values(1)));
}

#[tokio::test]
async fn an_older_row_never_replaces_a_newer_one_unless_allowed() {
    let place = Place::with_table().await;
    place.load(&small_rows(&[1, 2, 3, 4])).await;
    let before = table(&place, 9).await;
    let older = |column: usize, value| {
        let mut rows = RowBatch::with_capacity(small_layout(), 2);
        for id in [2, 4] {
            let mut agree = usual_agree(id);
            agree[column] = if id == 2 { value } else { agree[column] };
            push_row(&mut rows, id, agree, 50);
        }
        rows
    };
    let cases = [
        older(0, AgreeValue::Integer(1)),
        older(0, AgreeValue::Null),
        older(1, AgreeValue::Integer(-900)),
        older(2, AgreeValue::Integer(i64::MIN)),
    ];
    let loader = other_loader(&place, REPLACE).await;
    for rows in &cases {
        let error = loader.writer().write(range(0, 9), &rows.rows(), [1; 32], &none()).await;
        let error = error.expect_err("must be refused");
        assert!(matches!(&error, LoadError::OlderDelivered { ids, .. } if ids == &[2]));
        assert!(error.is_refusal());
    }
    loader.close().await;
    assert_same(&table(&place, 9).await, &before);
    let loader = other_loader(&place, replace(true)).await;
    let written = loader.writer().write(range(0, 9), &cases[0].rows(), [1; 32], &none()).await;
    assert_eq!(written.expect("writes"), Written::Now);
    let got = table(&place, 9).await;
    assert!(got.rows().agree_values(1).eq(cases[0].rows().agree_values(0)));
}

#[tokio::test]
async fn a_narrow_column_refuses_a_wide_value_by_id() {
    let mut place = Place::with_table().await;
    place.run("ALTER TABLE \"SMPC_dev_0\".rows ALTER big TYPE smallint").await;
    let rows = small_rows(&[0, 5]);
    let loader = place.loader(LoadOptions::default()).await;
    let error = loader.writer().write(range(0, 9), &rows.rows(), [1; 32], &none()).await;
    let error = error.expect_err("must be refused");
    assert!(chain(&error).contains("column \"big\", id 5"), "{}", chain(&error));
    assert!(error.is_refusal());
    assert_eq!(place.number("SELECT count(*) FROM \"SMPC_dev_0\".rows").await, 0);
}

#[tokio::test]
async fn misplaced_rows_are_refused() {
    let place = Place::with_table().await;
    let loader = place.loader(LoadOptions::default()).await;
    let mut writer = loader.writer();
    for (ids, rows) in [(range(0, 2), small_rows(&[1, 3])), (range(0, 9), small_rows(&[3, 3]))] {
        let error = writer.write(ids, &rows.rows(), [1; 32], &none()).await;
        assert!(matches!(error, Err(LoadError::MisplacedRow { id: 3, .. })));
    }
    let rows = small_rows(&[]);
    let empty = writer.write(range(0, 2), &rows.rows(), [1; 32], &none()).await;
    assert_eq!(empty.expect("a range of leftovers only"), Written::Now);
}

#[tokio::test]
async fn a_trigger_that_changes_an_agree_column_rolls_the_range_back() {
    let mut place = Place::with_table().await;
    let trigger = |body: &str| {
        format!(
            "CREATE OR REPLACE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN IF NEW.id = 2 THEN {body}; END IF; RETURN NEW; END $$; \
             CREATE OR REPLACE TRIGGER meddle BEFORE INSERT ON \"SMPC_dev_0\".rows \
             FOR EACH ROW EXECUTE FUNCTION meddle()"
        )
    };
    let rows = small_rows(&[1, 2, 3]);
    let cases = [
        ("NEW.version_id = 77", "column \"version_id\", id 2: 77 is stored, 2 was delivered"),
        ("NEW.epoch = NULL", "column \"epoch\", id 2: NULL is stored, -2 was delivered"),
        (
            "NEW.semantic = '00000000-0000-0000-0000-0000000000ff'",
            "column \"semantic\", id 2: 00000000-0000-0000-0000-0000000000ff is stored",
        ),
        ("NEW.id = 9", "id 2: the row was written and is not there"),
        ("RETURN NULL", "the server took 2 rows, 3 were sent"),
        ("RAISE EXCEPTION 'not today'", "not today (SQLSTATE P0001)"),
    ];
    let loader = place.loader(LoadOptions::default()).await;
    for (body, text) in cases {
        place.run(&trigger(body)).await;
        let error = loader.writer().write(range(1, 3), &rows.rows(), [1; 32], &none()).await;
        let error = error.expect_err(body);
        assert!(chain(&error).contains(text), "{}", chain(&error));
        assert!(error.is_refusal(), "{body}");
    }
    loader.close().await;
    assert_eq!(place.number("SELECT count(*) FROM \"SMPC_dev_0\".rows").await, 0);
    let ranges = "SELECT count(*) FROM \"SMPC_dev_0\".reshare_progress";
    assert_eq!(place.number(ranges).await, 0);
}

#[tokio::test]
async fn no_error_quotes_a_share() {
    let mut place = Place::with_table().await;
    place.run("ALTER TABLE \"SMPC_dev_0\".rows ADD CHECK (get_byte(code, 0) < 0)").await;
    let loader = place.loader(LoadOptions::default()).await;
    let rows = small_rows(&[7]);
    let error = loader.writer().write(range(7, 7), &rows.rows(), [1; 32], &none()).await;
    let error = error.expect_err("must be refused");
    let share: Vec<String> = rows.rows().shares[0]
        .iter()
        .flat_map(|share| share.to_le_bytes())
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let shown = format!("{} {error:?}", chain(&error));
    assert!(shown.contains("check constraint") && !shown.contains(&share[..4].concat()), "{shown}");
    assert!(error.is_refusal());
}

#[tokio::test]
async fn no_error_quotes_a_share_that_a_trigger_quotes() {
    let mut place = Place::with_table().await;
    let rows = small_rows(&[7]);
    let bytes = rows.rows().shares[0].iter().flat_map(|share| share.to_le_bytes());
    let bytes: Vec<u8> = bytes.collect();
    let digits = hex::encode(&bytes[..4]);
    let raised = [
        "'left code % is bad', NEW.code",
        "'row % is bad', NEW",
        "USING MESSAGE = format('row %s is bad', NEW), ERRCODE = '23514'",
        "'bytes % are bad', repeat(encode(NEW.code, 'hex'), 9)",
    ];
    for raise in raised {
        place
            .run(&format!(
                "CREATE OR REPLACE FUNCTION quote() RETURNS trigger LANGUAGE plpgsql AS \
                 $$ BEGIN RAISE EXCEPTION {raise}; END $$; \
                 CREATE OR REPLACE TRIGGER quote BEFORE INSERT ON \"SMPC_dev_0\".rows \
                 FOR EACH ROW EXECUTE FUNCTION quote()"
            ))
            .await;
        let loader = place.loader(LoadOptions::default()).await;
        let error = loader.writer().write(range(7, 7), &rows.rows(), [1; 32], &none()).await;
        let error = error.expect_err("must be refused");
        let shown = format!("{} {error:?}", chain(&error));
        assert!(shown.contains("[bytes left out]"), "{raise}: {shown}");
        assert!(!shown.contains(&digits) && shown.contains("bad (SQLSTATE "), "{raise}: {shown}");
        loader.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_of_the_same_range_load_it_once() {
    let place = Place::with_table().await;
    let loader = place.loader(LoadOptions::default()).await;
    let ids: Vec<i64> = (1..=500).collect();
    let rows = Arc::new(small_rows(&ids));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (mut writer, rows) = (loader.writer(), Arc::clone(&rows));
        tasks.spawn(async move {
            writer.write(span(&rows), &rows.rows(), [1; 32], &none()).await.expect("writes")
        });
    }
    let outcomes = tasks.join_all().await;
    let now = outcomes.iter().filter(|outcome| **outcome == Written::Now).count();
    assert_eq!((now, outcomes.len()), (1, 6));
    assert_same(&table(&place, 999).await, &rows);
}

#[tokio::test]
async fn a_write_that_is_dropped_leaves_nothing_and_the_writer_usable() {
    let place = Place::with_table().await;
    let loader = place.loader(LoadOptions::default()).await;
    let rows = small_rows(&(1..=20_000).collect::<Vec<_>>());
    let mut writer = loader.writer();
    for _ in 0..3 {
        let (view, leftovers) = (rows.rows(), none());
        let writing = writer.write(span(&rows), &view, [1; 32], &leftovers);
        // Whether the time ends before or after the commit, the result must be the same.
        let _ = tokio::time::timeout(Duration::from_millis(10), writing).await;
    }
    writer.write(span(&rows), &rows.rows(), [1; 32], &none()).await.expect("writes");
    assert_same(&table(&place, 20_001).await, &rows);
}

#[tokio::test]
async fn a_second_process_waits_for_its_turn_or_gives_up() {
    let place = Place::with_table().await;
    let first = place.loader(LoadOptions::default()).await;
    let impatient = LoadOptions { lock_wait: Duration::from_millis(20), ..LoadOptions::default() };
    let busy = Loader::open(&place.database, &small_spec(), SESSION, impatient).await;
    let busy = busy.err().expect("must give up");
    assert!(matches!(busy, LoadError::Busy { .. }) && !busy.is_refusal());
    // Another session is not excluded.
    other_loader(&place, impatient).await.close().await;
    let rows = small_rows(&[1]);
    let (second, ()) = tokio::join!(place.loader(LoadOptions::default()), async {
        first.writer().write(span(&rows), &rows.rows(), [1; 32], &none()).await.expect("writes");
        first.close().await;
    });
    assert_eq!(second.loaded().len(), 1);
}

#[tokio::test]
async fn a_load_that_no_longer_keeps_others_out_ends() {
    let mut place = Place::with_table().await;
    let loader = place.loader(LoadOptions::default()).await;
    let mut writer = loader.writer();
    let write = small_rows(&[1]);
    writer.write(span(&write), &write.rows(), [1; 32], &none()).await.expect("writes");
    let end = "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    place.run(end).await;
    let held = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' \
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    while place.number(held).await > 0 {}
    let rows = small_rows(&[2]);
    let error = writer.write(span(&rows), &rows.rows(), [1; 32], &none()).await;
    let error = error.expect_err("the lock is gone");
    assert!(matches!(error, LoadError::TurnLost { .. }) && !error.is_refusal(), "{error}");
    // Another process continues.
    let next = place.loader(LoadOptions::default()).await;
    assert_eq!(next.loaded().len(), 1);
    next.writer().write(span(&rows), &rows.rows(), [1; 32], &none()).await.expect("writes");
    assert_same(&table(&place, 2).await, &small_rows(&[1, 2]));
}

/// A table of two full-size iris rows, moved through triggers.
#[tokio::test]
async fn triggers_of_an_iris_table_leave_delivered_versions_alone() {
    let mut place = Place::new().await;
    let name = TableName::new("SMPC_dev_2", "irises").expect("usable");
    IrisTable::Triggers.create(&mut place.sql, name.schema(), name.table()).await.expect("made");
    let layout = Arc::new(RowLayout::iris());
    let spec = TableSpec::new(name, "id", Arc::clone(&layout)).expect("usable");
    let delivery = |versions: [i64; 2], byte: u8| {
        let mut rows = RowBatch::with_capacity(Arc::clone(&layout), 2);
        let share = vec![byte; 25_600];
        for (id, version) in (1..).zip(versions) {
            let shares: [&[u8]; 4] = [&share, &share[..12_800], &share, &share[..12_800]];
            rows.push_bytes(id, &[AgreeValue::Integer(version)], &shares).expect("fits");
        }
        rows
    };
    for (session, versions, byte) in [(1, [0, 3], 1), (2, [1, 3], 2)] {
        let rows = delivery(versions, byte);
        let session = Fingerprint([session; 32]);
        let loader = Loader::open(&place.database, &spec, session, REPLACE).await.expect("opens");
        let written = loader.writer().write(range(1, 2), &rows.rows(), [1; 32], &none()).await;
        assert_eq!(written.expect("writes"), Written::Now);
        let mut snapshot = Snapshot::open(&place.database, &spec).await.expect("opens");
        let all = ExportIds::Range(IdRange::ALL);
        let parts = snapshot.plan(&all, count(512)).await.expect("plans");
        let mut got = RowBatch::with_capacity(Arc::clone(&layout), 2);
        snapshot.reader().read(&parts[0], &mut got).await.expect("reads");
        assert_same(&got, &rows);
        let dated = "SELECT count(last_modified_at) FROM \"SMPC_dev_2\".irises";
        assert_eq!(place.number(dated).await, 2);
    }
    // The trigger works: an UPDATE does raise the version.
    place.run("UPDATE \"SMPC_dev_2\".irises SET left_mask = left_code").await;
    let versions = "SELECT sum(version_id)::bigint FROM \"SMPC_dev_2\".irises";
    assert_eq!(place.number(versions).await, 2 + 4);
}

#[tokio::test]
async fn smaller_ids_and_wider_columns_are_no_obstacle() {
    let mut place = Place::new().await;
    place.run("CREATE TABLE narrow (id smallint PRIMARY KEY, v bigint, code bytea)").await;
    let agree = vec![AgreeColumn { name: "v".into(), kind: AgreeKind::Integer }];
    let mut shares = small_layout().shares().to_vec();
    shares.truncate(1);
    let layout = Arc::new(RowLayout::new(agree, shares).expect("valid"));
    let name = TableName::new("public", "narrow").expect("usable");
    let spec = TableSpec::new(name, "id", Arc::clone(&layout)).expect("usable");
    let mut rows = RowBatch::with_capacity(Arc::clone(&layout), 2);
    for id in [-32_768, 32_767] {
        rows.push_bytes(id, &[AgreeValue::Integer(i64::MIN)], &[&[3; 16]]).expect("fits");
    }
    let loader = Loader::open(&place.database, &spec, SESSION, REPLACE).await.expect("opens");
    loader.writer().write(IdRange::ALL, &rows.rows(), [1; 32], &none()).await.expect("writes");
    let mut snapshot = Snapshot::open(&place.database, &spec).await.expect("opens");
    let list = ExportIds::List(&[32_767, i64::MIN, -32_768]);
    let parts = snapshot.plan(&list, count(2)).await.expect("plans");
    let mut got = RowBatch::with_capacity(layout, 2);
    snapshot.reader().read(&parts[0], &mut got).await.expect("reads");
    assert_same(&got, &rows);
}

/// A loader that has loaded three rows, and the range that they are in.
async fn taken_back(place: &mut Place) -> (Loader, LoadedRange) {
    place.load(&small_rows(&[1, 2, 5])).await;
    let loader = place.loader(LoadOptions::default()).await;
    let [recorded] = loader.loaded() else { panic!("one range") };
    let recorded = recorded.clone();
    (loader, recorded)
}

#[tokio::test]
async fn until_it_is_committed_a_range_that_is_taken_back_is_what_it_was() {
    let mut place = Place::with_table().await;
    let (mut loader, recorded) = taken_back(&mut place).await;
    let mut writer = loader.writer();
    let others = small_rows(&[2, 3]);
    for commits in [false, true] {
        let mut redo = writer.begin_redo(&recorded).await.expect("begins");
        let mut page = RowBatch::with_capacity(small_layout(), 9);
        redo.read_page(recorded.ids, &mut page).await.expect("reads");
        assert_same(&page, &small_rows(&[1, 2, 5]));
        redo.remove().await.expect("removes");
        for (ids, picked) in [(range(1, 2), small_rows(&[2])), (range(3, 5), small_rows(&[3]))] {
            redo.write(ids, &picked.rows(), [9; 32], &none()).await.expect("writes");
        }
        // Others see what was loaded.
        assert_same(&table(&place, 9).await, &small_rows(&[1, 2, 5]));
        if commits {
            redo.commit().await.expect("commits");
        }
    }
    writer.close().await;
    assert_same(&table(&place, 9).await, &others);
    loader.refresh().await.expect("reads");
    let ranges: Vec<_> = loader.loaded().iter().map(|range| (range.ids, range.rows)).collect();
    assert_eq!(ranges, [(range(1, 2), 1), (range(3, 5), 1)]);
}

#[tokio::test]
async fn a_row_that_is_changed_after_it_was_read_is_not_taken_back() {
    for change in
        ["UPDATE \"SMPC_dev_0\".rows SET big = 7 WHERE id = 2", "DELETE FROM \"SMPC_dev_0\".rows"]
    {
        let mut place = Place::with_table().await;
        let (loader, recorded) = taken_back(&mut place).await;
        let mut writer = loader.writer();
        let mut redo = writer.begin_redo(&recorded).await.expect("begins");
        let mut page = RowBatch::with_capacity(small_layout(), 9);
        redo.read_page(recorded.ids, &mut page).await.expect("reads");
        place.run(change).await;
        let error = redo.remove().await.expect_err("changed meanwhile");
        let LoadError::Database { source, .. } = &error else { panic!("{error}") };
        assert_eq!(source.code(), Some("40001"), "{error}");
        assert!(!error.is_refusal(), "{error}");
    }
}

#[tokio::test]
async fn a_range_that_another_process_has_taken_back_is_not_taken_back_again() {
    let mut place = Place::with_table().await;
    let (loader, recorded) = taken_back(&mut place).await;
    place.run("UPDATE \"SMPC_dev_0\".reshare_progress SET digest = '\\x00'").await;
    let mut writer = loader.writer();
    let mut redo = writer.begin_redo(&recorded).await.expect("begins");
    let error = redo.remove().await.expect_err("another record");
    assert!(matches!(error, LoadError::LoadedOtherwise { .. }), "{error}");
    drop(redo);
    drop(loader);
    // Nobody is kept out any more, so nothing may be written.
    let mut writer = writer;
    let error = writer.begin_redo(&recorded).await.err().expect("the turn is lost");
    assert!(matches!(error, LoadError::TurnLost { .. }), "{error}");
    assert_same(&table(&place, 9).await, &small_rows(&[1, 2, 5]));
}
