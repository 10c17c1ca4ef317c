//! Locks of others, transactions that are undone, and tables that are not what they seem.

use std::time::Duration;

use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::row_batch::RowBatch;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_fixtures::postgres::{Shutdown, ThrowAwayPostgres};
use reshare_postgres::connect::Database;
use reshare_postgres::export::{BadRow, ExportError, RowDefect, Snapshot};
use reshare_postgres::load::Loader;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::load_options::LoadOptions;
use reshare_postgres::plan::ExportIds;
use reshare_postgres::schema::SchemaError;
use reshare_postgres::table::{TableName, TableSpec};
use reshare_postgres::verified::{load_state, record_verified};
use reshare_postgres::write::Written;
use secrecy::SecretString;
use sqlx::{Connection, PgConnection};

use crate::support::{
    Place, SESSION, SMALL_TABLE, chain, count, none, small_rows, small_spec, span,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lock_that_nobody_gives_up_ends_the_wait_and_is_named() {
    let cluster = ThrowAwayPostgres::start().unwrap_or_else(|error| panic!("{error}"));
    let mut holder = PgConnection::connect(&cluster.url("postgres")).await.expect("connects");
    let sql = "ALTER SYSTEM SET max_prepared_transactions = 5";
    sqlx::raw_sql(sql).execute(&mut holder).await.expect("set");
    cluster.restart(Shutdown::Fast).expect("starts");
    let mut holder = PgConnection::connect(&cluster.url("postgres")).await.expect("connects");
    let lock = "BEGIN; LOCK TABLE \"SMPC_dev_0\".rows; PREPARE TRANSACTION 'it''s left'";
    for sql in [SMALL_TABLE, lock] {
        sqlx::raw_sql(sql).execute(&mut holder).await.expect("locks");
    }
    let url = SecretString::from(cluster.url("postgres"));
    let database = Database::resolve(Some(&url)).expect("a good URL");
    let database = database.with_lock_wait(Duration::from_millis(300));
    let error = Snapshot::open(&database, &small_spec()).await.err().expect("locked");
    let ExportError::Database { source, .. } = &error else { panic!("{error:?}") };
    assert!(source.is_lock_timeout() && !error.is_refusal(), "{error:?}");
    let mut connection = database.connect_read_only().await.expect("connects");
    let table = small_spec().name().sql();
    let holders = database.lock_holders(&mut connection, &table).await.expect("answers");
    assert_eq!(holders.len(), 1, "{holders:?}");
    for words in ["prepared transaction 'it''s left' of postgres", "ROLLBACK PREPARED"] {
        assert!(holders[0].contains(words), "{holders:?}");
    }
    for sql in ["ROLLBACK PREPARED 'it''s left'", "BEGIN; LOCK TABLE \"SMPC_dev_0\".rows"] {
        sqlx::raw_sql(sql).execute(&mut holder).await.expect("locks");
    }
    database.look_again(&mut connection).await.expect("begins");
    let holders = database.lock_holders(&mut connection, &table).await.expect("answers");
    assert!(
        holders[0].contains("of postgres") && holders[0].contains("idle in transaction"),
        "{holders:?}"
    );
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.expect("ends");
    Snapshot::open(&database, &small_spec()).await.expect("free").close().await;
}

#[tokio::test]
async fn a_transaction_that_is_undone_for_another_is_tried_again() {
    for code in ["40001", "40P01"] {
        let mut place = Place::with_table().await;
        place.run("ALTER ROLE postgres SET default_transaction_isolation = serializable").await;
        let trigger = format!(
            "CREATE SEQUENCE tries; CREATE FUNCTION undo() RETURNS trigger LANGUAGE plpgsql AS $$ \
             BEGIN IF nextval('tries') < 3 THEN RAISE EXCEPTION 'undone' USING ERRCODE = '{code}'; \
             END IF; RETURN NEW; END $$; CREATE TRIGGER undo BEFORE INSERT ON \"SMPC_dev_0\".rows \
             FOR EACH STATEMENT EXECUTE FUNCTION undo()"
        );
        place.run(&trigger).await;
        let rows = small_rows(&[1, 2, 3]);
        let loader = place.loader(LoadOptions::default()).await;
        let written = loader.writer().write(span(&rows), &rows.rows(), [1; 32], &none()).await;
        place.run("ALTER ROLE postgres RESET default_transaction_isolation").await;
        assert_eq!(written.expect("the third try"), Written::Now);
        assert_eq!(place.number("SELECT last_value FROM tries").await, 3);
        loader.close().await;
    }
}

#[tokio::test]
async fn a_table_of_records_whose_making_is_undone_for_another_is_made_again() {
    let mut place = Place::with_table().await;
    place
        .run(
            "CREATE SEQUENCE tries; CREATE FUNCTION undo() RETURNS event_trigger LANGUAGE plpgsql \
             AS $$ BEGIN IF nextval('tries') % 3 <> 0 THEN RAISE EXCEPTION 'undone' USING ERRCODE \
             = '40P01'; END IF; END $$; CREATE EVENT TRIGGER undo ON ddl_command_start \
             WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION undo()",
        )
        .await;
    place.load(&small_rows(&[1, 2, 3])).await;
    assert_eq!(place.number("SELECT last_value FROM tries").await, 3);
    let (name, against) = (small_spec().name().clone(), "packages");
    let state = load_state(&place.database, &name, SESSION).await.expect("read");
    let mark = state.mark().expect("loaded");
    let recorded = record_verified(&place.database, &name, SESSION, mark, against).await;
    recorded.expect("the third try");
    assert_eq!(place.number("SELECT last_value FROM tries").await, 6);
    let state = load_state(&place.database, &name, SESSION).await.expect("read");
    assert_eq!(state.verified.map(|verified| verified.rows), Some(3));
}

#[tokio::test]
async fn a_sequence_below_the_highest_id_is_named_with_what_moves_it() {
    for kind in ["identity", "serial"] {
        let mut place = Place::new().await;
        let table = match kind {
            "identity" => {
                SMALL_TABLE.replace("id bigint", "id bigint GENERATED BY DEFAULT AS IDENTITY")
            }
            _ => SMALL_TABLE.replace("id bigint", "id bigserial"),
        };
        place.run(&table).await;
        place.load(&small_rows(&[5, 9])).await;
        let mut loader = place.loader(LoadOptions::default()).await;
        let behind = loader.sequences_behind().await.expect("answers");
        assert_eq!((behind.len(), behind[0].highest_id), (1, 9), "{kind}: {behind:?}");
        place.run(&behind[0].setval).await;
        assert_eq!(loader.sequences_behind().await.expect("answers"), [], "{kind}");
        loader.close().await;
        place.run("INSERT INTO \"SMPC_dev_0\".rows DEFAULT VALUES").await;
        assert_eq!(place.number("SELECT max(id) FROM \"SMPC_dev_0\".rows").await, 10);
    }
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[5])).await;
    let mut loader = place.loader(LoadOptions::default()).await;
    assert_eq!(loader.sequences_behind().await.expect("answers"), [], "there is no sequence");
    place.run("SELECT 1").await;
}

#[tokio::test]
async fn tables_whose_ids_are_no_key_are_refused_in_words() {
    let deferrable =
        SMALL_TABLE.replace("id bigint PRIMARY KEY", "id bigint PRIMARY KEY DEFERRABLE");
    let mut place = Place::new().await;
    place.run(&deferrable).await;
    let error = Snapshot::open(&place.database, &small_spec()).await.err().expect("refused");
    assert!(matches!(error, ExportError::Schema(_)) && error.is_refusal(), "{error:?}");
    assert!(error.to_string().contains("DEFERRABLE"), "{error}");
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1, 2])).await;
    let child = "CREATE TABLE more () INHERITS (\"SMPC_dev_0\".rows); \
                 INSERT INTO more SELECT * FROM ONLY \"SMPC_dev_0\".rows WHERE id = 2";
    place.run(child).await;
    let mut snapshot = Snapshot::open(&place.database, &small_spec()).await.expect("opens");
    let parts = snapshot.plan(&ExportIds::Range(IdRange::ALL), count(10)).await.expect("plans");
    let mut batch = RowBatch::with_capacity(small_spec().layout().clone(), 10);
    let error = snapshot.reader().read(&parts[0], &mut batch).await.expect_err("twice");
    assert!(
        matches!(error, ExportError::RepeatedId { id: 2, .. }) && error.is_refusal(),
        "{error:?}"
    );
    assert!(error.to_string().contains("inherit from it have rows too: more"), "{error}");
    let mut place = Place::new().await;
    let generated = "big bigint GENERATED ALWAYS AS (id * 2) STORED";
    place.run(&SMALL_TABLE.replace("big bigint", generated)).await;
    let (spec, options) = (small_spec(), LoadOptions::default());
    let error =
        Loader::open(&place.database, &spec, SESSION, options).await.err().expect("refused");
    assert!(
        matches!(&error, LoadError::Schema(SchemaError::Generated { column, .. }) if column == "big")
    );
    assert!(error.is_refusal());
    Snapshot::open(&place.database, &spec).await.expect("a sender may have it").close().await;
}

#[tokio::test]
async fn all_rows_of_a_wrong_length_are_named_at_once() {
    let mut place = Place::with_table().await;
    place.load(&small_rows(&[1, 2, 3, 4, 5, 6])).await;
    place.run("UPDATE \"SMPC_dev_0\".rows SET code = 'x' WHERE id IN (2, 5)").await;
    place.run("UPDATE \"SMPC_dev_0\".rows SET mask = NULL WHERE id IN (4, 5)").await;
    let mut snapshot = Snapshot::open(&place.database, &small_spec()).await.expect("opens");
    let parts = snapshot.plan(&ExportIds::Range(IdRange::ALL), count(10)).await.expect("plans");
    let mut reader = snapshot.reader();
    let mut batch = RowBatch::with_capacity(small_spec().layout().clone(), 10);
    let error = reader.read(&parts[0], &mut batch).await.expect_err("bad rows");
    assert!(error.is_refusal() && batch.is_empty());
    let said = error.to_string();
    for words in [
        "3 rows do not",
        "id 2 (\"code\" has 1 bytes)",
        "id 4 (\"mask\" is NULL)",
        "id 5 (\"code\" has 1 bytes)",
        "id 5 (\"mask\" is NULL)",
    ] {
        assert!(said.contains(words), "{said}");
    }
    let mut connection = place.database.connect_read_only().await.expect("connects");
    let (spec, limit) = (small_spec(), Duration::from_secs(20));
    let all = IdRange::ALL;
    let found = reshare_postgres::export::check_lengths(&mut connection, &spec, all, limit).await;
    assert!(matches!(found, Err(ExportError::BadRows { count: 3, .. })), "{found:?}");
    place.run("DELETE FROM \"SMPC_dev_0\".rows WHERE id IN (2, 4, 5)").await;
    place.database.look_again(&mut connection).await.expect("begins");
    let found = reshare_postgres::export::check_lengths(&mut connection, &spec, all, limit).await;
    assert!(found.is_ok(), "{found:?}");
}

#[tokio::test]
async fn damage_at_the_server_names_the_ids() {
    let mut place = Place::new().await;
    let agree = vec![AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer }];
    let shares = vec![ShareColumn { name: "code".into(), len: 4096 }];
    let layout = std::sync::Arc::new(RowLayout::new(agree, shares).expect("valid"));
    let name = TableName::new("public", "large").expect("usable");
    let spec = TableSpec::new(name, "id", layout.clone()).expect("usable");
    place
        .run(
            "CREATE TABLE large (id bigint PRIMARY KEY, version_id smallint, code bytea); \
             ALTER TABLE large ALTER code SET STORAGE EXTERNAL; \
             INSERT INTO large SELECT i, 0, decode(repeat('ab', 8192), 'hex') FROM generate_series(1, 4) i; \
             CREATE EXTENSION pg_surgery; \
             DO $$ BEGIN EXECUTE format('SELECT heap_force_kill(%L::regclass, ARRAY[''(0,1)'']::tid[])', \
                 (SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'large')); END $$",
        )
        .await;
    let mut snapshot = Snapshot::open(&place.database, &spec).await.expect("opens");
    let parts = snapshot.plan(&ExportIds::Range(IdRange::ALL), count(3)).await.expect("plans");
    let mut batch = RowBatch::with_capacity(layout, 3);
    let error = snapshot.reader().read(&parts[0], &mut batch).await.expect_err("damaged");
    assert!(matches!(error, ExportError::Damaged { .. }) && error.is_refusal(), "{error:?}");
    snapshot.reader().read(&parts[1], &mut batch).await.expect("the others are whole");
    let said = chain(&error);
    assert!(said.contains("ids 1..=3") && said.contains("XX001"), "{said}");
    assert!(said.contains("damaged: id 1:"), "{said}");
    let bad = snapshot.reader().read_good(&parts[0], &mut batch).await.expect("two are whole");
    assert_eq!(bad, [BadRow { id: 1, defect: RowDefect::Damaged }]);
    assert_eq!(batch.rows().ids, [2, 3]);
    place.run("UPDATE large SET code = 'x' WHERE id = 3").await;
    let mut snapshot = Snapshot::open(&place.database, &spec).await.expect("opens");
    let parts = snapshot.plan(&ExportIds::List(&[1, 2, 3]), count(3)).await.expect("plans");
    let bad = snapshot.reader().read_good(&parts[0], &mut batch).await.expect("one is good");
    let defect = RowDefect::Length { column: 0, bytes: 1 };
    assert_eq!(bad[1..], [BadRow { id: 3, defect }]);
    assert_eq!((bad[0].id, batch.rows().ids), (1, &[2][..]));
}
