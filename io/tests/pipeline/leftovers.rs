//! Rows that one side lacks or has in another version, and how they come later.

use std::path::Path;
use std::sync::Arc;

use reshare_engine::rows::AgreeValue;
use reshare_io::pipeline::merge::merge;
use reshare_io::pipeline::rows_wanted::RowIds;
use reshare_io::postgres::load::LoadOptions;
use reshare_io::postgres::progress::Leftovers;
use reshare_io::session::IdList;

use crate::support::{REFERENCE, SENDERS, TARGET, World, pick, push, workers};

/// Sixty rows of which the lower sender lacks some, the higher one others, and of some of
/// which the higher one has another version.
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
    let (session, hands) = (&uneven.world.session, workers(2, 9));
    let merged = merge(session, packages, &file, hands, Arc::default()).await.expect("merged");
    assert_eq!((merged.rows, merged.leftovers), (49, uneven.leftovers));
    assert_eq!(uneven.world.place.rows_in(TARGET).await, 49);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_tells_of_the_same_left_overs_and_writes_nothing() {
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
    let list = id_list(&uneven.world.cast.path("ids"), &left);
    let world = &mut uneven.world;
    world.session = world.cast.session(&world.layout, list.session_ids());
    world.ids = RowIds::of(&world.session, Some(&list)).expect("there is a list");
    for (side, name) in ["list-lower", "list-higher"].into_iter().enumerate() {
        let report = world.try_send(side, name, 3 + side).await.expect("sent");
        assert_eq!(report.rows, left.len() as u64, "no other rows are sent");
    }
    let paths = ["list-lower", "list-higher"].map(|name| world.cast.path(name));
    let packages = world.cast.packages(&world.session, [&paths[0], &paths[1]]).expect("good");
    let report = world.rebuild(&packages).await;
    assert_eq!((report.rows, report.rows_skipped), (11, 0));
    assert!(report.leftovers.is_empty());
    assert_eq!(world.equal_rows().await, 60);
}

/// Listed ids of which neither side has a row are no left-overs: nobody tells the receiver.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_may_name_rows_that_one_side_or_both_lack() {
    let mut world = World::new(&[1, 2, 3, 8]).await;
    world.place.run("DELETE FROM higher.rows WHERE id = 2").await;
    world.place.run("DELETE FROM reference.rows WHERE id IN (1, 2)").await;
    let list = id_list(&world.cast.path("ids"), &[2, 3, 5, 8]);
    world.session = world.cast.session(&world.layout, list.session_ids());
    world.ids = RowIds::of(&world.session, Some(&list)).expect("there is a list");
    let packages = world.send_both([2, 1]).await;
    let report = world.rebuild(&packages).await;
    assert_eq!(report.rows, 2);
    assert_eq!(report.leftovers.only_lower_sender, [2]);
    assert_eq!(report.leftovers.len(), 1);
    assert_eq!(world.equal_rows().await, 2);
}

/// A range's record stays small, however many rows in a row one side lacks.
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

fn id_list(path: &Path, ids: &[i64]) -> IdList {
    let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
    std::fs::write(path, lines).expect("written");
    IdList::load(path).expect("a list")
}
