//! Rows that one side lacks or has in another version, and how they are loaded later.

use std::sync::Arc;

use reshare_engine::rows::AgreeValue;
use reshare_exchange::progress::Progress;
use reshare_files::leftovers::Leftovers;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::merge::merge;
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::verify::{verify_packages, verify_tables};
use reshare_postgres::compare::Difference;
use reshare_postgres::load_options::LoadOptions;

use crate::support::{REFERENCE, SENDERS, TARGET, World, pick, push, range, workers};

/// Sixty rows. The lower sender lacks some, the higher one lacks others and has other versions of
/// some.
struct Uneven {
    world: World,
    leftovers: Leftovers,
}

impl Uneven {
    async fn new() -> Self {
        let leftovers = Leftovers {
            only_lower_sender: vec![33, 59, 60],
            only_higher_sender: vec![1, 5, 17, 18, 19, 20],
            disagreeing: vec![7, 40],
        };
        let ids: Vec<i64> = (1..=60).collect();
        let mut world = World::empty().await;
        let [lower, higher, receiver] = world.cast.shares(&world.layout, &ids);
        let lower = pick(&lower, |id| !leftovers.only_higher_sender.contains(&id));
        let mut newer = pick(&higher, |id| {
            !leftovers.only_lower_sender.contains(&id) && !leftovers.disagreeing.contains(&id)
        });
        for id in &leftovers.disagreeing {
            let row = higher.rows().ids.binary_search(id).expect("all are there");
            push(&mut newer, *id, &[AgreeValue::Integer(100)], &higher.rows(), row);
        }
        let is_left = |id| {
            let Leftovers { only_lower_sender, only_higher_sender, disagreeing } = &leftovers;
            [only_lower_sender, only_higher_sender, disagreeing].iter().any(|ids| ids.contains(&id))
        };
        let rebuilt = pick(&receiver, |id| !is_left(id));
        for (schema, rows) in
            [SENDERS[0], SENDERS[1], REFERENCE].into_iter().zip([&lower, &newer, &rebuilt])
        {
            world.place.insert(schema, &rows.rows()).await;
        }
        Self { world, leftovers }
    }

    /// Gives both senders, and the reference, all rows in one version.
    async fn even_out(&mut self) -> Vec<i64> {
        let world = &mut self.world;
        let ids: Vec<i64> = (1..=60).collect();
        let shares = world.cast.shares(&world.layout, &ids);
        for (schema, rows) in [SENDERS[0], SENDERS[1], REFERENCE].into_iter().zip(&shares) {
            world.place.run(&format!("TRUNCATE {schema}.rows")).await;
            world.place.insert(schema, &rows.rows()).await;
        }
        let Leftovers { only_lower_sender, only_higher_sender, disagreeing } = &self.leftovers;
        let mut left = [&only_lower_sender[..], only_higher_sender, disagreeing].concat();
        left.sort_unstable();
        left
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_fit_are_listed_and_never_written() {
    let mut uneven = Uneven::new().await;
    let packages = uneven.world.send_both([7, 11]).await;
    let report = uneven.world.rebuild(&packages).await;
    assert_eq!((report.rows, report.rows_skipped), (49, 0));
    assert_eq!(report.leftovers, uneven.leftovers);
    assert_eq!(uneven.world.equal_rows().await, 49);
    let file = uneven.world.cast.path("rebuilt");
    let (session, jobs) = (&uneven.world.session, workers(2, 9));
    let merged = merge(session, packages, &file, jobs, Arc::default()).await.expect("merged");
    assert_eq!((merged.rows, merged.leftovers), (49, uneven.leftovers));
    assert_eq!(uneven.world.place.rows_in(TARGET).await, 49);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_reports_the_same_left_overs_and_writes_nothing() {
    let uneven = Uneven::new().await;
    let packages = uneven.world.send_both([13, 4]).await;
    let first = uneven.world.rebuild(&packages).await;
    let again = uneven.world.rebuild(&packages).await;
    assert_eq!((again.rows, again.rows_skipped, again.share_bytes), (0, first.rows, 0));
    assert_eq!(again.leftovers, uneven.leftovers);
    assert_eq!(uneven.world.equal_rows().await, 49);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_session_with_a_list_brings_just_the_left_overs() {
    let mut uneven = Uneven::new().await;
    let packages = uneven.world.send_both([10, 10]).await;
    uneven.world.rebuild(&packages).await;
    let left = uneven.even_out().await;
    let world = &mut uneven.world;
    world.list(&left);
    for (side, name) in ["list-lower", "list-higher"].into_iter().enumerate() {
        let report = world.try_send(side, name, 3 + side).await.expect("sent");
        assert_eq!(report.rows, left.len() as u64, "no other rows are sent");
    }
    let packages = world.packages_of(["list-lower", "list-higher"]).expect("good");
    let report = world.rebuild(&packages).await;
    assert_eq!((report.rows, report.rows_skipped), (11, 0));
    assert!(report.leftovers.is_empty());
    assert_eq!(world.equal_rows().await, 60);
}

/// Listed ids of which neither side has a row are no left-overs: the receiver does not learn of
/// them.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_name_rows_that_one_side_or_both_lack() {
    let mut world = World::new(&[1, 2, 3, 8]).await;
    world.place.run("DELETE FROM higher.rows WHERE id = 2").await;
    world.place.run("DELETE FROM reference.rows WHERE id IN (1, 2)").await;
    world.list(&[2, 3, 5, 8]);
    let packages = world.send_both([2, 1]).await;
    let report = world.rebuild(&packages).await;
    assert_eq!(report.rows, 2);
    assert_eq!(report.leftovers.only_lower_sender, [2]);
    assert_eq!(report.leftovers.len(), 1);
    assert_eq!(world.equal_rows().await, 2);
}

/// A range's record stays small, however many consecutive rows one side lacks.
#[tokio::test(flavor = "multi_thread")]
async fn very_many_left_overs_are_recorded_in_several_ranges() {
    let mut world = World::new(&[1, 150_000]).await;
    world
        .place
        .run(
            "INSERT INTO higher.rows SELECT id, version_id, code, mask \
             FROM (SELECT generate_series(2, 149999) AS id) AS ids, \
                 (SELECT version_id, code, mask FROM higher.rows LIMIT 1) AS row",
        )
        .await;
    for (side, rows_per_part) in [1, 40_000].into_iter().enumerate() {
        world.try_send(side, SENDERS[side], rows_per_part).await.expect("sent");
    }
    let packages = world.packages().expect("both are good");
    for expected in [(2, 0), (0, 2)] {
        let report = world.rebuild_with(&packages, LoadOptions::default(), workers(2, 5_000)).await;
        let report = report.expect("rebuilt");
        assert_eq!((report.rows, report.rows_skipped), expected);
        let missing = &report.leftovers.only_higher_sender;
        assert!(missing.iter().copied().eq(2..150_000), "{} left-overs", missing.len());
    }
    let ranges = "SELECT count(*) FROM target.reshare_progress";
    assert_eq!(world.place.number(ranges).await, 3);
    assert_eq!(world.equal_rows().await, 2);
}

/// A sender of a session with a list can seal rows beyond it: the receiver writes none of them.
#[tokio::test(flavor = "multi_thread")]
async fn rows_beyond_the_list_are_refused_before_anything_is_written() {
    let mut world = World::new(&[1, 2, 3, 8]).await;
    let list = world.list(&[2, 3, 8]);
    // The senders export as if the range that holds the list were the session's.
    world.ids = RowIds::Range(range(2, 8));
    world.place.run("UPDATE lower.rows SET id = 5 WHERE id = 1").await;
    let packages = world.send_both([2, 1]).await;
    let refused = world.rebuild_with(&packages, LoadOptions::default(), workers(1, 5)).await;
    let refused = refused.expect_err("5 is not in the list");
    assert!(matches!(refused, PipelineError::NotListed { id: 5 }), "{refused:?}");
    let file = world.cast.path("merged");
    let merged = merge(&world.session, packages, &file, workers(1, 5), Arc::default()).await;
    assert!(matches!(merged, Err(PipelineError::NotListed { id: 5 })));
    assert!(!file.exists());
    // Without the list no row can be checked against it.
    world.list = None;
    let packages = world.packages().expect("good");
    let refused = world.rebuild_with(&packages, LoadOptions::default(), workers(1, 5)).await;
    assert!(matches!(refused, Err(PipelineError::NoIdList)));
    assert_eq!(world.place.rows_in(TARGET).await, 0);
    assert_eq!(list.ids(), [2, 3, 8]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_compared_with_the_packages_it_was_rebuilt_from() {
    let mut uneven = Uneven::new().await;
    let world = &mut uneven.world;
    let (packages, target) = (world.send_both([7, 11]).await, world.source(TARGET));
    let verify = async || {
        let packages = Arc::clone(&packages);
        let found = verify_packages(packages, &target, workers(1, 9), &Arc::default()).await;
        found.expect("compared")
    };
    let before = verify().await;
    assert_eq!((before.comparison.rows_equal, before.comparison.differing), (0, 49));
    world.rebuild(&packages).await;
    let found = verify().await;
    assert_eq!((found.comparison.rows_equal, found.comparison.differing), (49, 0));
    assert_eq!(found.leftovers, uneven.leftovers);
    // A row that was left over may be there, in any version; another row may not.
    let place = &mut world.place;
    place.run("INSERT INTO target.rows SELECT * FROM higher.rows WHERE id IN (5, 7)").await;
    assert!(verify().await.comparison.is_equal());
    place
        .run("INSERT INTO target.rows SELECT 77, version_id, code, mask FROM lower.rows LIMIT 1")
        .await;
    place.run("UPDATE target.rows SET mask = code_of_another.mask FROM target.rows AS code_of_another \
        WHERE rows.id = 2 AND code_of_another.id = 3").await;
    place.run("DELETE FROM target.rows WHERE id = 30").await;
    let found = verify().await.comparison;
    let expected = [
        (2, Difference::Column("mask".to_owned())),
        (30, Difference::MissingRight),
        (77, Difference::MissingLeft),
    ];
    assert_eq!((found.rows_equal, found.first_differences), (47, expected.to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_a_session_with_a_list_are_compared_by_the_list() {
    let mut world = World::new(&[1, 2, 3, 8, 500]).await;
    world.list(&[2, 3, 8, 500]);
    let packages = world.send_both([2, 1]).await;
    world.rebuild(&packages).await;
    // Rows that the session is not about differ, which does not matter.
    world.place.run("DELETE FROM reference.rows WHERE id = 1").await;
    world
        .place
        .run("INSERT INTO target.rows SELECT 7, version_id, code, mask FROM lower.rows LIMIT 1")
        .await;
    let (reference, target) = (world.source(REFERENCE), world.source(TARGET));
    let progress = Progress::default();
    let found = verify_tables(&reference, &target, &world.ids, workers(2, 4), &progress);
    let found = found.await.expect("compared");
    assert_eq!((found.rows_equal, found.differing), (4, 0));
    let found = verify_packages(packages, &target, workers(1, 4), &Arc::default()).await;
    let found = found.expect("compared").comparison;
    assert_eq!((found.rows_equal, found.differing), (4, 0));
    world.place.run("DELETE FROM target.rows WHERE id = 500").await;
    let found = verify_tables(&reference, &target, &world.ids, workers(2, 4), &progress);
    assert_eq!(found.await.expect("compared").first_differences, [(500, Difference::MissingRight)]);
}
