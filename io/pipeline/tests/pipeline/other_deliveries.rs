//! What was loaded stays what was delivered: a load that goes on with other parts of the same ids
//! is refused.

use std::path::Path;
use std::sync::Arc;

use reshare_files::fault::Refusable;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::load::{LoadReport, load};
use reshare_pipeline::merge::merge;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::verify::verify_packages;
use reshare_postgres::load_options::LoadOptions;

use crate::support::{REFERENCE, SENDERS, TARGET, World, chain, workers};

/// A row that is loaded.
const LOADED: i64 = 5;

/// Twenty rows of which half are loaded: the others' records are gone.
async fn half_loaded() -> (World, Arc<Packages>) {
    let mut world = World::new(&(1..=20).collect::<Vec<_>>()).await;
    let packages = world.send_both([6, 8]).await;
    world.rebuild(&packages).await;
    let gone = "DELETE FROM target.reshare_progress WHERE first_id >= 8; \
                DELETE FROM target.rows WHERE id > (SELECT max(last_id) FROM target.reshare_progress)";
    world.place.run(gone).await;
    assert_eq!(world.place.rows_in("target").await, 7);
    (world, packages)
}

/// Lets the lower sender send a newer version of a row.
async fn another_package(world: &mut World, id: i64) -> Arc<Packages> {
    let newer = "UPDATE lower.rows SET version_id = version_id + 1 WHERE id = ";
    world.place.run(&format!("{newer}{id}")).await;
    world.try_send(0, "newer", 6).await.expect("sent");
    world.packages_of(["newer", SENDERS[1]]).expect("both are good")
}

async fn load_file(world: &World, name: &str) -> Result<LoadReport, PipelineError> {
    let (path, target) = (world.cast.path(name), world.target(LoadOptions::default()));
    load(&world.session, &path, &target, workers(2, 6), Arc::default()).await
}

async fn merge_to(world: &World, packages: &Arc<Packages>, name: &str, jobs: usize) {
    let (packages, path) = (Arc::clone(packages), world.cast.path(name));
    let path: &Path = &path;
    let merged = merge(&world.session, packages, path, workers(jobs, 5), Arc::default()).await;
    merged.expect("merged");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_does_not_go_on_with_another_package() {
    let (mut world, first) = half_loaded().await;
    let other = another_package(&mut world, LOADED).await;
    let error = world.try_rebuild(&other).await.expect_err("another package");
    assert!(error.is_refusal());
    let said = chain(&error);
    assert!(said.contains("since this session loaded ids "), "{said}");
    assert!(said.contains("the package of sender 0 has become another"), "{said}");
    assert_eq!(world.place.rows_in("target").await, 7);
    let report = world.rebuild(&first).await;
    assert_eq!((report.rows, report.rows_skipped), (13, 7));
    assert_eq!(world.equal_rows().await, 20);
    // Complete, and still not the other one.
    world.try_rebuild(&other).await.expect_err("another package");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_was_sealed_again_is_the_same() {
    let (world, _) = half_loaded().await;
    world.try_send(0, "again", 4).await.expect("sent");
    let again = world.packages_of(["again", SENDERS[1]]).expect("both are good");
    let report = world.rebuild(&again).await;
    assert_eq!((report.rows, report.rows_skipped), (13, 7));
    assert_eq!(world.equal_rows().await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_package_is_loaded_when_what_was_loaded_is_deleted() {
    let (mut world, _) = half_loaded().await;
    let other = another_package(&mut world, LOADED).await;
    world.try_rebuild(&other).await.expect_err("another package");
    world.place.run("DELETE FROM target.rows; DELETE FROM target.reshare_progress").await;
    let report = world.rebuild(&other).await;
    assert_eq!((report.rows, report.rows_skipped), (19, 0));
    assert_eq!(report.leftovers.disagreeing, [LOADED]);
    world.place.run(&format!("DELETE FROM {REFERENCE}.rows WHERE id = {LOADED}")).await;
    assert_eq!(world.equal_rows().await, 19);
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_ids_that_are_not_loaded_yet_may_become_others() {
    let (mut world, _) = half_loaded().await;
    let other = another_package(&mut world, 15).await;
    let report = world.rebuild(&other).await;
    assert_eq!((report.rows, report.rows_skipped), (12, 7));
    assert_eq!(report.leftovers.disagreeing, [15]);
}

/// A share file does not say which packages it is of: `verify` shows what no load can know.
#[tokio::test(flavor = "multi_thread")]
async fn a_share_file_of_other_packages_is_found_by_comparing_with_the_first() {
    let (mut world, first) = half_loaded().await;
    let other = another_package(&mut world, 15).await;
    merge_to(&world, &other, "other", 2).await;
    let report = load_file(&world, "other").await.expect("loaded");
    // Row 15 is of two versions there.
    assert_eq!((report.rows, report.rows_skipped), (12, 7));
    let (table, jobs) = (world.source(TARGET), workers(2, 6));
    let compare = async |packages: &Arc<Packages>| {
        let packages = Arc::clone(packages);
        let compared = verify_packages(packages, &table, jobs, &Arc::default()).await;
        compared.expect("compared").comparison.rows_equal
    };
    assert_eq!((compare(&first).await, compare(&other).await), (19, 19));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_does_not_go_on_with_another_share_file() {
    let mut world = World::new(&(1..=20).collect::<Vec<_>>()).await;
    let packages = world.send_both([6, 8]).await;
    merge_to(&world, &packages, "file", 1).await;
    let report = load_file(&world, "file").await.expect("loaded");
    assert_eq!((report.rows, report.rows_skipped), (20, 0));
    // Merged again, it is the same file.
    merge_to(&world, &packages, "again", 3).await;
    let report = load_file(&world, "again").await.expect("complete");
    assert_eq!((report.rows, report.rows_skipped), (0, 20));
    let other = another_package(&mut world, 15).await;
    merge_to(&world, &other, "other", 2).await;
    let error = load_file(&world, "other").await.expect_err("another file");
    assert!(error.is_refusal());
    assert!(chain(&error).contains("the share file has become another"), "{}", chain(&error));
}
