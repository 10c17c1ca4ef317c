//! Rows that are in the target already, and triggers on it.

use std::sync::Arc;

use reshare_pipeline::error::PipelineError;
use reshare_pipeline::load::load;
use reshare_pipeline::merge::merge;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::load_options::{LoadOptions, OnConflict};

use crate::support::{TARGET, World, assert_refusal, workers};

const REPLACE: OnConflict = OnConflict::Replace { allow_older: false };
const REPLACE_ANY: OnConflict = OnConflict::Replace { allow_older: true };

/// As a production table has them: one sets a time, one raises the version on UPDATE.
const TRIGGERS: &str = "\
    CREATE FUNCTION target.touch() RETURNS trigger AS $$ BEGIN \
        NEW.last_modified_at = 1234; RETURN NEW; END $$ LANGUAGE plpgsql; \
    CREATE FUNCTION target.raise_version() RETURNS trigger AS $$ BEGIN \
        NEW.version_id = COALESCE(OLD.version_id, 0) + 1; RETURN NEW; END $$ LANGUAGE plpgsql; \
    CREATE TRIGGER touch BEFORE INSERT OR UPDATE ON target.rows \
        FOR EACH ROW EXECUTE FUNCTION target.touch(); \
    CREATE TRIGGER raise_version BEFORE UPDATE ON target.rows \
        FOR EACH ROW EXECUTE FUNCTION target.raise_version()";

fn options(on_conflict: OnConflict) -> LoadOptions {
    LoadOptions { on_conflict, ..LoadOptions::default() }
}

/// A hundred rows of version 3 at both senders.
async fn hundred_rows() -> World {
    let mut world = World::new(&(1..=100).collect::<Vec<_>>()).await;
    world
        .place
        .run(
            "UPDATE lower.rows SET version_id = 3; UPDATE higher.rows SET version_id = 3; \
             UPDATE reference.rows SET version_id = 3",
        )
        .await;
    world
}

/// A row of another content in the target.
async fn put(world: &mut World, id: i64, version: i64) {
    let sql = format!(
        "INSERT INTO target.rows (id, version_id, code, mask) \
         VALUES ({id}, {version}, decode(repeat('ab', 16), 'hex'), decode(repeat('cd', 8), 'hex'))"
    );
    world.place.run(&sql).await;
}

async fn assert_nothing_recorded(world: &mut World) {
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'reshare_progress'";
    assert_eq!(world.place.number(tables).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_conflict_in_the_last_of_many_parts_refuses_before_anything_is_written() {
    let mut world = hundred_rows().await;
    put(&mut world, 100, 3).await;
    let packages = world.send_both([7, 3]).await;
    let refused = world.try_rebuild(&packages).await.expect_err("row 100 is there");
    assert_refusal(&refused, "[100]");
    assert!(matches!(refused, PipelineError::Conflict { count: 1, .. }));
    assert_eq!(world.place.rows_in(TARGET).await, 1);
    assert_nothing_recorded(&mut world).await;
    let (file, jobs) = (world.cast.path("rebuilt"), workers(2, 9));
    merge(&world.session, packages, &file, jobs, Arc::default()).await.expect("merged");
    let target = world.target(LoadOptions::default());
    let refused = load(&world.session, &file, &target, jobs, Arc::default()).await;
    assert_refusal(&refused.expect_err("row 100 is there"), "[100]");
    assert_eq!(world.place.rows_in(TARGET).await, 1);
    assert_nothing_recorded(&mut world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_not_delivered_are_no_conflict() {
    let mut world = hundred_rows().await;
    put(&mut world, 1000, 3).await;
    put(&mut world, -7, 3).await;
    // Only one side has it: it is left over, and the target's own row stays as it is.
    put(&mut world, 50, 9).await;
    world.place.run("DELETE FROM higher.rows WHERE id = 50").await;
    let packages = world.send_both([7, 30]).await;
    let report = world.rebuild(&packages).await;
    assert_eq!((report.rows, report.leftovers.only_lower_sender), (99, vec![50]));
    let untouched = "SELECT count(*) FROM target.rows \
        WHERE id IN (-7, 50, 1000) AND code = decode(repeat('ab', 16), 'hex')";
    assert_eq!(world.place.number(untouched).await, 3);
    world.place.run("DELETE FROM target.rows WHERE id IN (-7, 50, 1000)").await;
    world.place.run("DELETE FROM reference.rows WHERE id = 50").await;
    assert_eq!(world.equal_rows().await, 99);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_conflicts_are_listed_up_to_a_limit() {
    let mut world = hundred_rows().await;
    for id in 41..=80 {
        put(&mut world, id, 3).await;
    }
    let packages = world.send_both([100, 100]).await;
    let refused = world.try_rebuild(&packages).await.expect_err("rows are there");
    let PipelineError::Conflict { ids, .. } = &refused else { panic!("{refused}") };
    assert_eq!(*ids, (41..=60).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_takes_the_place_of_rows_that_are_not_newer() {
    let mut world = hundred_rows().await;
    for (id, version) in [(1, 0), (55, 3), (100, 2)] {
        put(&mut world, id, version).await;
    }
    let packages = world.send_both([9, 20]).await;
    let report = world.rebuild_with(&packages, options(REPLACE), workers(2, 7)).await;
    assert_eq!(report.expect("rebuilt").rows, 100);
    assert_eq!(world.equal_rows().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_row_stays_unless_older_ones_are_allowed() {
    let mut world = hundred_rows().await;
    put(&mut world, 64, 4).await;
    let packages = world.send_both([9, 20]).await;
    let refused = world.rebuild_with(&packages, options(REPLACE), workers(1, 100)).await;
    let refused = refused.expect_err("row 64 is newer");
    assert_refusal(&refused, "newer versions than delivered of 1 rows: 64");
    assert_eq!(world.place.rows_in(TARGET).await, 1);
    let kept = "SELECT version_id FROM target.rows WHERE id = 64";
    assert_eq!(world.place.number(kept).await, 4);
    let report = world.rebuild_with(&packages, options(REPLACE_ANY), workers(2, 7)).await;
    assert_eq!(report.expect("rebuilt").rows, 100);
    assert_eq!(world.equal_rows().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn triggers_that_raise_versions_and_set_times_do_not_touch_what_is_delivered() {
    let mut world = hundred_rows().await;
    world.place.run(TRIGGERS).await;
    let packages = world.send_both([9, 20]).await;
    assert_eq!(world.rebuild(&packages).await.rows, 100);
    assert_eq!(world.equal_rows().await, 100);
    let touched = "SELECT count(*) FROM target.rows WHERE last_modified_at = 1234";
    assert_eq!(world.place.number(touched).await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn replace_fires_no_trigger_that_raises_versions() {
    let mut world = hundred_rows().await;
    world.place.run(TRIGGERS).await;
    put(&mut world, 30, 3).await;
    put(&mut world, 31, 1).await;
    let packages = world.send_both([9, 20]).await;
    let report = world.rebuild_with(&packages, options(REPLACE), workers(2, 7)).await;
    assert_eq!(report.expect("rebuilt").rows, 100);
    assert_eq!(world.equal_rows().await, 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_that_changes_a_version_on_insert_is_refused_and_rolled_back() {
    let mut world = hundred_rows().await;
    world.place.run(TRIGGERS).await;
    world
        .place
        .run(
            "CREATE TRIGGER meddle BEFORE INSERT ON target.rows FOR EACH ROW \
             WHEN (NEW.id = 1) EXECUTE FUNCTION target.raise_version()",
        )
        .await;
    let packages = world.send_both([9, 20]).await;
    let refused = world.rebuild_with(&packages, LoadOptions::default(), workers(1, 100)).await;
    let refused = refused.expect_err("the version was changed");
    assert_refusal(&refused, "1 is stored, 3 was delivered");
    assert!(matches!(refused, PipelineError::Load(LoadError::AgreeColumnChanged { id: 1, .. })));
    world.place.assert_target_untouched().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_session_over_the_same_rows_is_a_conflict() {
    let mut world = hundred_rows().await;
    let packages = world.send_both([9, 20]).await;
    world.rebuild(&packages).await;
    world.session = world.cast.session(&world.layout, world.session.ids().clone());
    for (side, name) in ["other-lower", "other-higher"].into_iter().enumerate() {
        world.try_send(side, name, 40).await.expect("sent");
    }
    let paths = ["other-lower", "other-higher"].map(|name| world.cast.path(name));
    let packages = world.cast.packages(&world.session, [&paths[0], &paths[1]]).expect("good");
    let refused = world.try_rebuild(&packages).await.expect_err("all rows are there");
    assert_refusal(&refused, "loaded by something else");
    let report = world.rebuild_with(&packages, options(REPLACE), workers(2, 13)).await;
    assert_eq!(report.expect("rebuilt").rows, 100);
    assert_eq!(world.equal_rows().await, 100);
}
