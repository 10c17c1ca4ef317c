//! Reading parts of one snapshot.

use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_postgres::copy::DecodeError;
use reshare_postgres::export::{ExportError, Snapshot};
use reshare_postgres::plan::{ExportIds, PlannedPart};
use reshare_postgres::schema::SchemaError;

use crate::support::{
    Place, assert_same, chain, count, range, small_layout, small_rows, small_spec,
};

async fn open(place: &Place) -> Snapshot {
    Snapshot::open(&place.database, &small_spec()).await.expect("opens")
}

fn batch(capacity: usize) -> RowBatch {
    RowBatch::with_capacity(small_layout(), capacity)
}

fn shape(parts: &[PlannedPart]) -> Vec<(i64, i64, u64)> {
    parts.iter().map(|part| (part.ids.first(), part.ids.last(), part.rows)).collect()
}

#[tokio::test]
async fn rows_of_every_kind_come_out_as_they_went_in() {
    let place = Place::with_table().await;
    let ids = [i64::MIN, i64::MIN + 1, -5, -1, 0, 1, 2, 3, 15, 1 << 40, i64::MAX];
    let rows = small_rows(&ids);
    place.load(&rows).await;
    let mut snapshot = open(&place).await;
    let mut reader = snapshot.reader();
    for per_part in [1, 3, 4, 11, 500] {
        let parts = snapshot.plan(&ExportIds::Range(IdRange::ALL), count(per_part)).await;
        let parts = parts.expect("plans");
        assert_eq!(parts.len(), ids.len().div_ceil(per_part));
        let mut from = 0;
        for part in &parts {
            let mut got = batch(per_part);
            reader.read(part, &mut got).await.expect("reads");
            assert_eq!(got.len() as u64, part.rows);
            let slice = &ids[from..from + got.len()];
            assert_eq!(part.ids, range(slice[0], slice[slice.len() - 1]));
            assert_same(&got, &small_rows(slice));
            from += got.len();
        }
        assert_eq!(from, ids.len());
    }
    reader.close().await;
    snapshot.close().await;
}

#[tokio::test]
async fn plans_follow_ranges_and_lists() {
    let place = Place::with_table().await;
    let ids: Vec<i64> = (0..100).map(|n| n * 2).collect();
    place.load(&small_rows(&ids)).await;
    let mut snapshot = open(&place).await;
    let within = ExportIds::Range(range(11, 39));
    let parts = snapshot.plan(&within, count(6)).await.expect("plans");
    assert_eq!(shape(&parts), [(12, 22, 6), (24, 34, 6), (36, 38, 2)]);
    let empty = ExportIds::Range(range(1_000, 2_000));
    assert_eq!(snapshot.plan(&empty, count(6)).await.expect("plans"), []);
    let listed = [198, 7, 4, 0, 4, 100, -3, 6];
    let list = ExportIds::List(&listed);
    let parts = snapshot.plan(&list, count(3)).await.expect("plans");
    assert_eq!(shape(&parts), [(0, 6, 3), (100, 198, 2)]);
    let mut got = batch(3);
    snapshot.reader().read(&parts[1], &mut got).await.expect("reads");
    assert_same(&got, &small_rows(&[100, 198]));
    let again = snapshot.recut(&list, range(0, 9), &[]).await.expect("counts");
    assert_eq!(shape(&[again]), [(0, 9, 3)]);
    let again = snapshot.recut(&within, range(0, 13), &[]).await.expect("counts");
    assert_eq!(shape(&[again]), [(11, 13, 1)]);
    let outside = snapshot.recut(&within, range(50, 60), &[]).await.expect("counts");
    snapshot.reader().read(&outside, &mut got).await.expect("reads");
    assert!(got.is_empty());
}

#[tokio::test]
async fn rows_changed_during_an_export_do_not_tear_it() {
    let mut place = Place::with_table().await;
    let ids: Vec<i64> = (1..=60).collect();
    let rows = small_rows(&ids);
    place.load(&rows).await;
    let mut snapshot = open(&place).await;
    let mut first = snapshot.reader();
    let parts = snapshot.plan(&ExportIds::Range(IdRange::ALL), count(20)).await.expect("plans");
    let mut got = batch(20);
    first.read(&parts[0], &mut got).await.expect("reads");
    let change = "DELETE FROM \"SMPC_dev_0\".rows WHERE id % 2 = 0; \
                  UPDATE \"SMPC_dev_0\".rows SET code = mask; \
                  INSERT INTO \"SMPC_dev_0\".rows (id) VALUES (61), (-1)";
    place.run(change).await;
    // A connection that is made after the change sees the snapshot too.
    let mut second = snapshot.reader();
    for (reader, part, slice) in [(&mut first, 1, &ids[20..40]), (&mut second, 2, &ids[40..60])] {
        reader.read(&parts[part], &mut got).await.expect("reads");
        assert_same(&got, &small_rows(slice));
    }
    let now = time::OffsetDateTime::now_utc();
    assert!((now - snapshot.taken_at()).abs() < time::Duration::minutes(5));
}

#[tokio::test]
async fn a_table_is_not_truncated_under_a_snapshot() {
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1, 2])).await;
    let snapshot = open(&place).await;
    let truncate = "SET lock_timeout = '50ms'; TRUNCATE \"SMPC_dev_0\".rows";
    let waits = sqlx::raw_sql(truncate).execute(&mut place.sql).await;
    let error = waits.expect_err("must wait").into_database_error().expect("by the server");
    assert_eq!(error.code().as_deref(), Some("55P03"));
    snapshot.close().await;
    place.run("SET lock_timeout = '9s'; TRUNCATE \"SMPC_dev_0\".rows").await;
}

#[tokio::test]
async fn unusable_rows_are_refused_by_table_column_and_id() {
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1, 2, 3])).await;
    let table = "table SMPC_dev_0.rows, ids 1..=3: 1 row does not have the session's lengths: id 2";
    let cases = [
        ("NULL", "(\"code\" is NULL)"),
        ("'\\x0102'", "(\"code\" has 2 bytes)"),
        ("code || '\\x00'", "(\"code\" has 17 bytes)"),
    ];
    let mut got = batch(3);
    for (value, text) in cases {
        let change = format!("UPDATE \"SMPC_dev_0\".rows SET code = {value} WHERE id = 2");
        place.run(&change).await;
        let mut snapshot = open(&place).await;
        let all = ExportIds::Range(IdRange::ALL);
        let parts = snapshot.plan(&all, count(3)).await.expect("plans");
        let mut reader = snapshot.reader();
        let error = reader.read(&parts[0], &mut got).await.expect_err(value);
        assert_eq!(chain(&error), format!("{table} {text}"));
        assert!(error.is_refusal() && got.is_empty());
        // The reader can still read other parts.
        reader.read_page(range(3, 9), &mut got).await.expect("reads");
        assert_same(&got, &small_rows(&[3]));
        let repair = "UPDATE \"SMPC_dev_0\".rows SET code = mask || mask WHERE id = 2";
        place.run(repair).await;
    }
}

#[tokio::test]
async fn a_read_that_is_dropped_leaves_the_reader_usable() {
    let place = Place::with_table().await;
    // Enough reads of the socket that the runtime yields in between.
    let ids: Vec<i64> = (1..=60_000).collect();
    place.load(&small_rows(&ids)).await;
    let mut snapshot = open(&place).await;
    let all = ExportIds::Range(IdRange::ALL);
    let parts = snapshot.plan(&all, count(ids.len())).await.expect("plans");
    let mut reader = snapshot.reader();
    let mut got = batch(ids.len());
    reader.read(&parts[0], &mut got).await.expect("reads");
    for _ in 0..3 {
        // One poll sends the COPY; then it is dropped in the middle of the answer.
        tokio::select! {
            biased;
            done = reader.read(&parts[0], &mut got) => panic!("an answer without waiting {done:?}"),
            () = std::future::ready(()) => {}
        }
        reader.read(&parts[0], &mut got).await.expect("reads");
        assert_same(&got, &small_rows(&ids));
    }
}

#[tokio::test]
async fn too_small_a_batch_and_a_missing_table_are_errors() {
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1, 2, 3])).await;
    let mut snapshot = open(&place).await;
    let all = ExportIds::Range(IdRange::ALL);
    let parts = snapshot.plan(&all, count(3)).await.expect("plans");
    let error = snapshot.reader().read(&parts[0], &mut batch(2)).await.expect_err("full");
    assert!(matches!(error, ExportError::Decode(DecodeError::Refused { .. })));
    snapshot.close().await;
    place.run("DROP TABLE \"SMPC_dev_0\".rows").await;
    let missing = Snapshot::open(&place.database, &small_spec()).await.err().expect("missing");
    assert!(matches!(missing, ExportError::Schema(SchemaError::NoSuchTable { .. })));
    place.run("DROP SCHEMA \"SMPC_dev_0\" CASCADE").await;
    let missing = Snapshot::open(&place.database, &small_spec()).await.err().expect("missing");
    assert!(matches!(missing, ExportError::Schema(SchemaError::NoSuchTable { .. })));
}

#[tokio::test]
async fn a_policy_that_hides_rows_is_an_error_and_not_a_short_export() {
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1, 2, 3])).await;
    place
        .run(
            "CREATE ROLE reader LOGIN; GRANT USAGE ON SCHEMA \"SMPC_dev_0\" TO reader; \
             GRANT SELECT ON ALL TABLES IN SCHEMA \"SMPC_dev_0\" TO reader; \
             ALTER TABLE \"SMPC_dev_0\".rows ENABLE ROW LEVEL SECURITY; \
             CREATE POLICY few ON \"SMPC_dev_0\".rows USING (id < 3)",
        )
        .await;
    let shown = place.database.to_string();
    let (socket, rest) = shown.split_once(':').expect("a socket");
    let name = rest.split(['/', ' ']).nth(1).expect("a database");
    let url = format!("postgres:///{name}?host={socket}&port=5432&user=reader");
    let url = secrecy::SecretString::from(url);
    let reader = reshare_postgres::connect::Database::resolve(Some(&url)).expect("good");
    let mut snapshot = Snapshot::open(&reader, &small_spec()).await.expect("opens");
    let all = ExportIds::Range(IdRange::ALL);
    let error = snapshot.plan(&all, count(3)).await.expect_err("must be refused");
    assert!(chain(&error).contains("row-level security"), "{}", chain(&error));
    drop(snapshot);
    place.run("DROP OWNED BY reader; DROP ROLE reader").await;
}

#[tokio::test]
async fn readers_work_side_by_side() {
    let place = Place::with_table().await;
    let ids: Vec<i64> = (1..=400).collect();
    place.load(&small_rows(&ids)).await;
    let mut snapshot = open(&place).await;
    let all = ExportIds::Range(IdRange::ALL);
    let parts = Arc::new(snapshot.plan(&all, count(100)).await.expect("plans"));
    let mut tasks = tokio::task::JoinSet::new();
    for part in 0..parts.len() {
        let (mut reader, parts) = (snapshot.reader(), Arc::clone(&parts));
        tasks.spawn(async move {
            let mut got = batch(100);
            reader.read(&parts[part], &mut got).await.expect("reads");
            (part, got)
        });
    }
    while let Some(done) = tasks.join_next().await {
        let (part, got) = done.expect("ends well");
        assert_same(&got, &small_rows(&ids[part * 100..][..100]));
    }
}
