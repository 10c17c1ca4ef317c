//! Loads into a table that is empty, or made so, in one transaction.

use std::sync::Arc;

use reshare_exchange::progress::Progress;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::load::load;
use reshare_pipeline::merge::merge;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::rebuild::RebuildReport;
use reshare_postgres::fresh::NotFresh;
use reshare_postgres::load::{LoadOptions, OnConflict};
use reshare_postgres::load_error::LoadError;
use reshare_postgres::schema::{compressed_columns, storage_sql};
use reshare_postgres::verified::{load_state, record_verified};
use sqlx::Connection;
use sqlx::postgres::PgConnection;

use crate::support::{Place, TARGET, World, chain, workers};

fn fresh(truncate: bool) -> LoadOptions {
    let on_conflict = OnConflict::FreshTable { truncate };
    LoadOptions { on_conflict, ..LoadOptions::default() }
}

async fn forty_rows() -> (World, Arc<Packages>) {
    let world = World::new(&(1..=40).collect::<Vec<_>>()).await;
    let packages = world.send_both([7, 9]).await;
    (world, packages)
}

async fn try_fresh(
    world: &World,
    packages: &Arc<Packages>,
    truncate: bool,
) -> Result<RebuildReport, PipelineError> {
    world.rebuild_with(packages, fresh(truncate), workers(3, 6)).await
}

fn defect_of(error: &PipelineError) -> &NotFresh {
    match error {
        PipelineError::Load(LoadError::NotFresh { defect, .. }) => defect,
        error => panic!("another error: {}", chain(error)),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_table_is_loaded_and_frozen_once() {
    let (mut world, packages) = forty_rows().await;
    let report = try_fresh(&world, &packages, false).await.expect("rebuilt");
    assert_eq!((report.rows, report.rows_skipped), (40, 0));
    assert_eq!(world.equal_rows().await, 40);
    // Rows of one transaction, which VACUUM has nothing to do with.
    world.place.run("ANALYZE target.rows").await;
    let all = "SELECT count(*) FROM pg_class WHERE oid = 'target.rows'::regclass \
               AND relpages > 0 AND relallvisible = relpages";
    assert_eq!(world.place.number(all).await, 1);
    let transactions = "SELECT count(DISTINCT xmin::text) FROM target.reshare_progress";
    assert_eq!(world.place.number(transactions).await, 1);
    for truncate in [false, true] {
        let again = try_fresh(&world, &packages, truncate).await.expect("complete");
        assert_eq!((again.rows, again.rows_skipped), (0, 40));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merged_file_is_loaded_into_a_fresh_table() {
    let (world, packages) = forty_rows().await;
    let file = world.cast.path("rebuilt");
    let merged = merge(&world.session, packages, &file, workers(2, 6), Arc::default()).await;
    merged.expect("merged");
    for (rows, skipped) in [(40, 0), (0, 40)] {
        let (target, hands) = (world.target(fresh(false)), workers(2, 6));
        let loaded = load(&world.session, &file, &target, hands, Arc::default()).await;
        let loaded = loaded.expect("loaded");
        assert_eq!((loaded.rows, loaded.rows_skipped), (rows, skipped));
        assert_eq!(world.equal_rows().await, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_with_rows_is_truncated_only_when_asked() {
    let (mut world, packages) = forty_rows().await;
    // A row of the session's ids that nobody delivers, and one of this session's own ranges.
    world.place.run("INSERT INTO target.rows (id, version_id) VALUES (1000, 3)").await;
    let error = try_fresh(&world, &packages, false).await.expect_err("not empty");
    assert!(error.is_refusal() && *defect_of(&error) == NotFresh::NotEmpty);
    assert_eq!(world.place.rows_in("target").await, 1);
    world.rebuild(&packages).await;
    let (source, of) = (world.source(TARGET), world.session.fingerprint());
    let (database, name) = (&source.database, source.table.name());
    let state = load_state(database, name, of).await.expect("read");
    let mark = state.mark().expect("loaded");
    record_verified(database, name, of, mark, "packages").await.expect("recorded");
    assert!(load_state(database, name, of).await.expect("read").verified.is_some());
    world.place.run("DELETE FROM target.rows WHERE id = 1000").await;
    // The records of half the ranges are gone: the session has not loaded all it delivers.
    world.place.run("DELETE FROM target.reshare_progress WHERE first_id > 12").await;
    let error = try_fresh(&world, &packages, false).await.expect_err("not empty");
    assert_eq!(*defect_of(&error), NotFresh::NotEmpty);
    let report = try_fresh(&world, &packages, true).await.expect("rebuilt");
    assert_eq!((report.rows, report.rows_skipped), (40, 0));
    assert_eq!(world.equal_rows().await, 40);
    // The same rows, but nobody has compared these.
    let state = load_state(database, name, of).await.expect("read");
    assert!(state.verified.is_none() && state.rows() == 40);
    assert_eq!(world.place.number("SELECT count(*) FROM target.reshare_verified").await, 0);
    let recorded = "SELECT sum(rows)::bigint FROM target.reshare_progress";
    assert_eq!(world.place.number(recorded).await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_more_rows_than_a_table_has_are_refused() {
    let mut world = World::new(&(1..=20).collect::<Vec<_>>()).await;
    let packages = world.send_both([6, 8]).await;
    world.rebuild(&packages).await;
    let (source, of) = (world.source(TARGET), world.session.fingerprint());
    let (database, name) = (&source.database, source.table.name());
    assert_eq!(load_state(database, name, of).await.expect("read").rows(), 20);
    world.place.run("UPDATE target.reshare_progress SET rows = 9223372036854775807").await;
    let error = load_state(database, name, of).await.expect_err("too many");
    let said = chain(&error);
    assert!(said.contains("reshare_progress: bad number of rows in all"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_truncated_or_frozen_is_refused_and_stays() {
    let cases = [
        (
            "CREATE TABLE target.other (id bigint REFERENCES target.rows)",
            "referred to by the foreign key other_id_fkey of target.other",
        ),
        ("CREATE TABLE target.child () INHERITS (target.rows)", "target.child inherits"),
        (
            "CREATE FUNCTION target.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
             CREATE TRIGGER keeper BEFORE TRUNCATE ON target.rows EXECUTE FUNCTION target.no()",
            "\"keeper\" fires on TRUNCATE",
        ),
        (
            "ALTER TABLE target.rows RENAME TO old; \
             CREATE TABLE target.rows (LIKE target.old INCLUDING ALL) PARTITION BY RANGE (id); \
             CREATE TABLE target.one PARTITION OF target.rows DEFAULT",
            "is partitioned",
        ),
    ];
    for (sql, says) in cases {
        let (mut world, packages) = forty_rows().await;
        world.place.run(sql).await;
        let error = try_fresh(&world, &packages, true).await.expect_err("refused");
        assert!(error.is_refusal() && chain(&error).contains(says), "{}", chain(&error));
        world.place.assert_target_untouched().await;
        world.rebuild(&packages).await;
        assert_eq!(world.equal_rows().await, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_load_that_fails_leaves_the_rows_that_were_there() {
    let (mut world, packages) = forty_rows().await;
    world.place.run("INSERT INTO target.rows (id, version_id) VALUES (1000, 3)").await;
    // The last range of all is refused by the table.
    world.place.run("ALTER TABLE target.rows ADD CHECK (id <> 40)").await;
    let error = try_fresh(&world, &packages, true).await.expect_err("refused");
    assert!(chain(&error).contains("rows_id_check"), "{}", chain(&error));
    assert_eq!(world.place.number("SELECT sum(id)::bigint FROM target.rows").await, 1000);
    assert_eq!(world.place.rows_in("target").await, 1);
    assert_eq!(world.place.number("SELECT count(*) FROM target.reshare_progress").await, 0);

    // And so does one that is stopped.
    let progress = Arc::new(Progress::default());
    progress.stop();
    let (packages, target) = (Arc::clone(&packages), world.target(fresh(true)));
    let stopped = reshare_pipeline::rebuild::rebuild(
        &world.session,
        packages,
        &target,
        workers(1, 6),
        progress,
    );
    assert!(matches!(stopped.await, Err(PipelineError::Stopped)));
    assert_eq!(world.place.rows_in("target").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_in_use_is_waited_for_and_then_left_alone() {
    let (world, packages) = forty_rows().await;
    let mut reader = world.place.connect().await;
    crate::support::run(&mut reader, "BEGIN; SELECT count(*) FROM target.rows").await;
    let lock_wait = std::time::Duration::from_millis(20);
    let options = LoadOptions { lock_wait, ..fresh(false) };
    let error = world.rebuild_with(&packages, options, workers(1, 6)).await.expect_err("in use");
    assert!(!error.is_refusal());
    assert_eq!(*defect_of(&error), NotFresh::InUse { waited: lock_wait });
    crate::support::run(&mut reader, "COMMIT").await;
    assert_eq!(try_fresh(&world, &packages, false).await.expect("rebuilt").rows, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_not_truncate_is_told_so() {
    let (mut world, packages) = forty_rows().await;
    world
        .place
        .run(
            "CREATE ROLE only_adds LOGIN; GRANT USAGE, CREATE ON SCHEMA target TO only_adds; \
             GRANT SELECT, INSERT ON target.rows TO only_adds",
        )
        .await;
    world.place.url = world.place.url.replace("user=postgres", "user=only_adds");
    let error = try_fresh(&world, &packages, false).await.expect_err("refused");
    assert_eq!(*defect_of(&error), NotFresh::NoRight);
    assert_eq!(world.rebuild(&packages).await.rows, 40);
}

/// Bytes of write-ahead log that a rebuild makes on a server of its own, with `wal_level=minimal`.
async fn logged_bytes(options: LoadOptions) -> i64 {
    let server = ThrowAwayPostgres::start().unwrap_or_else(|error| panic!("{error}"));
    let url = server.create_database("target").await.expect("a database");
    let mut world = World::new(&(1..=3000).collect::<Vec<_>>()).await;
    let packages = world.send_both([500, 500]).await;
    let sql = PgConnection::connect(&url).await.expect("a connection");
    let mut other = Place { url: url.clone(), sql };
    other.tables(&world.layout).await;
    // However small the table is.
    other.run("ALTER DATABASE target SET wal_skip_threshold = 0").await;
    let level = "SELECT (current_setting('wal_level') = 'minimal')::int::bigint";
    assert_eq!(other.number(level).await, 1);
    let position = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint";
    let before = other.number(position).await;
    std::mem::swap(&mut world.place, &mut other);
    let report = world.rebuild_with(&packages, options, workers(1, 500)).await.expect("rebuilt");
    assert_eq!(report.rows, 3000);
    assert_eq!(world.place.rows_in("target").await, 3000);
    world.place.number(position).await - before
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_fresh_table_are_not_logged_where_the_server_need_not() {
    let (usual, fresh) =
        (logged_bytes(LoadOptions::default()).await, logged_bytes(fresh(false)).await);
    assert!(usual > 3 * fresh, "{usual} bytes usually, {fresh} of a fresh table");
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_compressed_for_nothing_are_named() {
    let mut place = Place::new().await;
    place
        .run(
            "CREATE SCHEMA t; CREATE TABLE t.irises (id bigint PRIMARY KEY, version_id smallint, \
             left_code bytea, left_mask bytea, right_code bytea, right_mask bytea)",
        )
        .await;
    let layout = Arc::new(reshare_engine::layout::RowLayout::iris());
    let spec = crate::support::source(place.database(), "t", "irises", &layout).table;
    place
        .run(
            "ALTER TABLE t.irises ALTER COLUMN left_mask SET STORAGE EXTERNAL, \
             ALTER COLUMN right_code SET STORAGE MAIN",
        )
        .await;
    let found = compressed_columns(&mut place.sql, &spec).await.expect("read");
    assert_eq!(found, ["left_code", "right_code", "right_mask"]);
    place.run(&storage_sql(&spec, &found)).await;
    assert!(compressed_columns(&mut place.sql, &spec).await.expect("read").is_empty());
    // Short rows are never compressed.
    let short = crate::support::small_layout();
    place.tables(&short).await;
    let spec = place.source("target", &short).table;
    assert!(compressed_columns(&mut place.sql, &spec).await.expect("read").is_empty());
}
