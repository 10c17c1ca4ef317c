//! Foreign keys that refer to the target, where rows are to be replaced.

use std::sync::Arc;

use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::rebuild::RebuildReport;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::load_options::{LoadOptions, OnConflict};
use reshare_postgres::references::{DeleteAction, Reference};

use crate::support::{TARGET, World, assert_refusal, workers};

/// Twenty rows at both senders, five of which are in the target with another content.
async fn twenty_rows() -> (World, Arc<Packages>) {
    let mut world = World::new(&(1..=20).collect::<Vec<_>>()).await;
    let old = "INSERT INTO target.rows (id, version_id) SELECT id, 0 FROM generate_series(1, 5) id; \
        UPDATE lower.rows SET version_id = 3; UPDATE higher.rows SET version_id = 3; \
        UPDATE reference.rows SET version_id = 3";
    world.place.run(old).await;
    let packages = world.send_both([6, 7]).await;
    (world, packages)
}

async fn replace(world: &World, packages: &Arc<Packages>) -> Result<RebuildReport, PipelineError> {
    let on_conflict = OnConflict::Replace { allow_older: false };
    let options = LoadOptions { on_conflict, ..LoadOptions::default() };
    world.rebuild_with(packages, options, workers(2, 6)).await
}

fn references(error: PipelineError) -> Vec<Reference> {
    match error {
        PipelineError::Load(LoadError::Referenced { references, .. }) => references,
        error => panic!("another error: {error:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_action_of_a_foreign_key_is_reported_and_nothing_is_written() {
    let (mut world, packages) = twenty_rows().await;
    let cases = [
        ("", DeleteAction::Refuse, "NO ACTION or RESTRICT"),
        ("ON DELETE RESTRICT", DeleteAction::Refuse, "NO ACTION or RESTRICT"),
        ("ON DELETE CASCADE", DeleteAction::Cascade, "ON DELETE CASCADE"),
        ("ON DELETE SET NULL", DeleteAction::SetNull, "ON DELETE SET NULL"),
        ("ON DELETE SET DEFAULT", DeleteAction::SetDefault, "ON DELETE SET DEFAULT"),
        // Those that wait for the end of the transaction act all the same.
        ("ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED", DeleteAction::Cascade, "CASCADE"),
        ("DEFERRABLE INITIALLY IMMEDIATE", DeleteAction::Refuse, "NO ACTION"),
    ];
    for (how, action, says) in cases {
        let sql = format!(
            "CREATE TABLE target.other (hit bigint CONSTRAINT of REFERENCES target.rows {how}); \
             INSERT INTO target.other VALUES (2), (3)"
        );
        world.place.run(&sql).await;
        let error = replace(&world, &packages).await.expect_err(how);
        assert_refusal(&error, says);
        let found = references(error);
        assert_eq!((found.len(), found[0].action), (1, action), "{how}");
        let old = "SELECT count(*) FROM target.rows WHERE version_id = 0";
        assert_eq!((world.place.number(old).await, world.place.rows_in(TARGET).await), (5, 5));
        assert_eq!(world.place.number("SELECT sum(hit)::bigint FROM target.other").await, 5);
        world.place.run("DROP TABLE target.other").await;
    }
    assert_eq!(replace(&world, &packages).await.expect("rebuilt").rows, 20);
    assert_eq!(world.equal_rows().await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_that_waits_until_the_row_is_back_is_no_obstacle() {
    let (mut world, packages) = twenty_rows().await;
    world
        .place
        .run(
            "CREATE TABLE target.other (hit bigint REFERENCES target.rows \
             DEFERRABLE INITIALLY DEFERRED); INSERT INTO target.other VALUES (2), (3)",
        )
        .await;
    assert_eq!(replace(&world, &packages).await.expect("rebuilt").rows, 20);
    assert_eq!(world.equal_rows().await, 20);
    assert_eq!(world.place.number("SELECT sum(hit)::bigint FROM target.other").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_to_what_a_row_may_not_have_again_does_not_wait_for_it() {
    let (mut world, packages) = twenty_rows().await;
    world
        .place
        .run(
            "ALTER TABLE target.rows ADD mark bigint UNIQUE; UPDATE target.rows SET mark = -id; \
             CREATE TABLE target.other (mark bigint REFERENCES target.rows (mark) \
             DEFERRABLE INITIALLY DEFERRED); INSERT INTO target.other VALUES (-2)",
        )
        .await;
    let found = references(replace(&world, &packages).await.expect_err("-2 would be gone"));
    assert_eq!(found[0].constraint, "other_mark_fkey");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_whose_triggers_are_disabled_is_no_obstacle() {
    let (mut world, packages) = twenty_rows().await;
    world
        .place
        .run(
            "CREATE TABLE target.other (hit bigint REFERENCES target.rows ON DELETE CASCADE); \
             INSERT INTO target.other VALUES (2), (3); \
             ALTER TABLE target.rows DISABLE TRIGGER ALL",
        )
        .await;
    assert_eq!(replace(&world, &packages).await.expect("rebuilt").rows, 20);
    assert_eq!(world.place.number("SELECT sum(hit)::bigint FROM target.other").await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_key_is_named_once_by_what_drops_and_adds_it() {
    let (mut world, packages) = twenty_rows().await;
    // Both sides are partitioned: the server has a copy of the constraint for each partition.
    world
        .place
        .run(
            "ALTER TABLE target.rows RENAME TO old; \
             CREATE TABLE target.rows (LIKE target.old INCLUDING ALL) PARTITION BY RANGE (id); \
             CREATE TABLE target.one PARTITION OF target.rows FOR VALUES FROM (0) TO (3); \
             CREATE TABLE target.two PARTITION OF target.rows DEFAULT; \
             INSERT INTO target.rows SELECT * FROM target.old; \
             CREATE TABLE target.\"Other\" (hit bigint CONSTRAINT \"Hits\" REFERENCES target.rows \
             ON DELETE CASCADE) PARTITION BY LIST (hit); \
             CREATE TABLE target.part PARTITION OF target.\"Other\" DEFAULT; \
             INSERT INTO target.\"Other\" VALUES (2), (3); \
             CREATE TABLE target.lone (hit bigint REFERENCES target.two ON DELETE SET NULL); \
             ALTER TABLE target.rows ADD up bigint CONSTRAINT self REFERENCES target.rows",
        )
        .await;
    let found = references(replace(&world, &packages).await.expect_err("referred to"));
    let names: Vec<_> =
        found.iter().map(|one| (one.constraint.as_str(), one.table_sql.as_str())).collect();
    let expected =
        [("Hits", "target.\"Other\""), ("lone_hit_fkey", "target.lone"), ("self", "target.rows")];
    assert_eq!(names, expected);
    for one in &found {
        world.place.run(&one.drop_sql()).await;
    }
    assert_eq!(replace(&world, &packages).await.expect("rebuilt").rows, 20);
    assert_eq!(world.equal_rows().await, 20);
    for one in &found {
        world.place.run(&one.add_sql()).await;
    }
    let again = references(replace(&world, &packages).await.expect_err("referred to"));
    assert_eq!(again, found);
    assert_eq!(world.place.number("SELECT sum(hit)::bigint FROM target.\"Other\"").await, 5);
}
