//! What the target's table, its records and its role may be.

use std::sync::Arc;

use reshare_pipeline::packages::Packages;
use reshare_postgres::schema::{compressed_columns, storage_sql};
use reshare_postgres::verified::load_state;

use crate::support::{Place, TARGET, World, chain};

async fn forty_rows() -> (World, Arc<Packages>) {
    let world = World::new(&(1..=40).collect::<Vec<_>>()).await;
    let packages = world.send_both([7, 9]).await;
    (world, packages)
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
async fn a_table_with_referrers_children_triggers_or_partitions_is_loaded() {
    let cases = [
        "CREATE TABLE target.other (id bigint REFERENCES target.rows)",
        "CREATE TABLE target.child () INHERITS (target.rows)",
        "CREATE FUNCTION target.no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'; \
         CREATE TRIGGER keeper BEFORE TRUNCATE ON target.rows EXECUTE FUNCTION target.no()",
        "ALTER TABLE target.rows RENAME TO old; \
         CREATE TABLE target.rows (LIKE target.old INCLUDING ALL) PARTITION BY RANGE (id); \
         CREATE TABLE target.one PARTITION OF target.rows DEFAULT",
    ];
    for sql in cases {
        let (mut world, packages) = forty_rows().await;
        world.place.run(sql).await;
        world.rebuild(&packages).await;
        assert_eq!(world.equal_rows().await, 40);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_that_may_only_add_rows_can_rebuild() {
    let (mut world, packages) = forty_rows().await;
    world
        .place
        .run(
            "CREATE ROLE only_adds LOGIN; GRANT USAGE, CREATE ON SCHEMA target TO only_adds; \
             GRANT SELECT, INSERT ON target.rows TO only_adds",
        )
        .await;
    world.place.url = world.place.url.replace("user=postgres", "user=only_adds");
    assert_eq!(world.rebuild(&packages).await.rows, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_that_are_compressed_needlessly_are_named() {
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
