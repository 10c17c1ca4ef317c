//! Writes to a sender's table while it is read.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reshare_format::package::{PartEntry, read_manifest};
use reshare_pipeline::export::export;
use reshare_pipeline::send::send;
use reshare_pipeline::sender::LedgeredSender;

use crate::gate::Gate;
use crate::support::{REFERENCE, SENDERS, World, range, source, workers};

/// Changes every row, removes some and adds others.
const CHANGES: &str = "\
    UPDATE lower.rows SET version_id = version_id + 1, code = decode(repeat('ee', 16), 'hex'); \
    DELETE FROM lower.rows WHERE id % 5 = 0; \
    INSERT INTO lower.rows SELECT id + 1000, 1, code, mask FROM lower.rows; \
    UPDATE lower.rows SET id = 15 WHERE id = 16";

/// Runs SQL between the snapshot and the first read.
async fn meanwhile(gate: Gate, world: &mut World, sql: &str) {
    let open = gate.knocked().await;
    world.place.run(sql).await;
    open.send(()).expect("the gate waits");
}

async fn forty_rows() -> (World, PathBuf) {
    let world = World::new(&(1..=40).collect::<Vec<_>>()).await;
    let directory = world.cast.path("gate");
    std::fs::create_dir(&directory).expect("a directory");
    (world, directory)
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_while_they_are_sent_do_not_tear_the_package() {
    let (mut world, directory) = forty_rows().await;
    let gate = Gate::new(&world.place.url, &directory);
    let sender = world.cast.sender(&world.session, 0);
    let (session, ids) = (world.session.clone(), world.ids.clone());
    let (table, package) = (gate.source(&world, SENDERS[0]), world.cast.path(SENDERS[0]));
    let sending = tokio::spawn(async move {
        send(&session, &ids, sender, &table, &package, workers(2, 3), Arc::default()).await
    });
    meanwhile(gate, &mut world, CHANGES).await;
    let report = sending.await.expect("no panic").expect("sent");
    assert_eq!((report.rows, report.parts), (40, 14));
    world.try_send(1, SENDERS[1], 9).await.expect("sent");
    let rebuilt = world.rebuild(&world.packages().expect("both are good")).await;
    assert!(rebuilt.leftovers.is_empty());
    assert_eq!(world.equal_rows().await, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_while_they_are_exported_do_not_tear_the_file() {
    let (mut world, directory) = forty_rows().await;
    world.place.run("CREATE TABLE reference.before AS TABLE lower.rows").await;
    world.place.run("ALTER TABLE reference.before ADD PRIMARY KEY (id)").await;
    let gate = Gate::new(&world.place.url, &directory);
    let (session, ids) = (world.session.clone(), world.ids.clone());
    let (table, file) = (gate.source(&world, SENDERS[0]), world.cast.path("plain"));
    let (party, path) = (world.cast.senders[0], file.clone());
    let exporting = tokio::spawn(async move {
        export(&session, &ids, party, &table, &path, workers(3, 7), Arc::default()).await
    });
    meanwhile(gate, &mut world, CHANGES).await;
    assert_eq!(exporting.await.expect("no panic").expect("exported").rows, 40);
    let before = source(world.place.database(), "reference", "before", &world.layout);
    world.assert_plain_file_equals(&file, &before, 40).await;
}

/// Shares of new rows in the tables of both senders and of the reference.
async fn add_rows(world: &mut World, ids: &[i64]) {
    let shares = world.cast.shares(&world.layout, ids);
    for (schema, rows) in [SENDERS[0], SENDERS[1], REFERENCE].into_iter().zip(&shares) {
        world.place.insert(schema, &rows.rows()).await;
    }
}

async fn everywhere(world: &mut World, sql: &str) {
    for schema in [SENDERS[0], SENDERS[1], REFERENCE] {
        world.place.run(&sql.replace("rows", &format!("{schema}.rows"))).await;
    }
}

fn renewing(world: &World) -> LedgeredSender {
    // So short that every snapshot reads one part a connection.
    world.cast.sender(&world.session, 0).renewing_snapshots(Duration::ZERO)
}

fn parts(world: &World, name: &str) -> Vec<PartEntry> {
    let manifest = read_manifest(&world.cast.path(name)).expect("closed");
    manifest.claims().parts.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_change_between_two_snapshots_are_cut_again_and_read_once() {
    let mut world = World::new(&(1..=40).map(|id| id * 10).collect::<Vec<_>>()).await;
    let directory = world.cast.path("gate");
    std::fs::create_dir(&directory).expect("a directory");
    let gate = Gate::new(&world.place.url, &directory);
    let (session, ids, sender) = (world.session.clone(), world.ids.clone(), renewing(&world));
    let (table, package) = (gate.source(&world, SENDERS[0]), world.cast.path(SENDERS[0]));
    let sending = tokio::spawn(async move {
        send(&session, &ids, sender, &table, &package, workers(1, 10), Arc::default()).await
    });
    let open = gate.knocked().await;
    // The first snapshot is taken and planned: 10 to 100, 110 to 200, and so on.
    add_rows(&mut world, &[&[15, 405][..], &(111..=119).collect::<Vec<_>>()].concat()).await;
    everywhere(&mut world, "UPDATE rows SET version_id = version_id + 1 WHERE id IN (50, 250)")
        .await;
    everywhere(&mut world, "DELETE FROM rows WHERE id = 300").await;
    // Times of export are in whole seconds.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    open.send(()).expect("the gate waits");
    let report = sending.await.expect("no panic").expect("sent");

    let sent = parts(&world, SENDERS[0]);
    assert_eq!(sent.iter().map(|part| part.rows).collect::<Vec<_>>(), [10, 10, 10, 10, 9]);
    assert_eq!((report.rows, report.parts), (49, 5));
    assert_eq!(sent[1].ids, range(101, 119));
    assert!(sent.is_sorted_by(|a, b| a.ids.last() < b.ids.first()), "{sent:?}");
    assert!(sent.is_sorted_by_key(|part| part.exported_at.moment()));
    assert!(sent[0].exported_at.moment() < sent[1].exported_at.moment());

    world.try_send(1, SENDERS[1], 9).await.expect("sent");
    let rebuilt = world.rebuild(&world.packages().expect("both are good")).await;
    // Row 15 was added where the table had already been read; 50 was read before it changed.
    assert_eq!(rebuilt.leftovers.only_higher_sender, [15]);
    assert_eq!(rebuilt.leftovers.disagreeing, [50]);
    world.place.run("DELETE FROM reference.rows WHERE id IN (15, 50)").await;
    assert_eq!((world.equal_rows().await, rebuilt.rows), (48, 48));
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_an_earlier_run_has_cut_keep_their_bounds_in_every_snapshot() {
    let (world, _) = forty_rows().await;
    world.try_send(0, SENDERS[0], 7).await.expect("sent");
    let before = parts(&world, SENDERS[0]);
    let package = world.cast.path(SENDERS[0]);
    for name in ["manifest.json", "part-000001.age", "part-000002.age", "part-000004.age"] {
        std::fs::remove_file(package.join(name)).expect("removed");
    }
    let (ids, source) = (&world.ids, world.source(SENDERS[0]));
    let sent = send(
        &world.session,
        ids,
        renewing(&world),
        &source,
        &package,
        workers(1, 3),
        Arc::default(),
    );
    let report = sent.await.expect("sent");
    assert_eq!((report.parts, report.parts_kept, report.rows), (6, 3, 40));
    let content = |part: &PartEntry| (part.name, part.ids, part.rows, part.content_digest);
    let after = parts(&world, SENDERS[0]);
    assert!(after.iter().map(content).eq(before.iter().map(content)), "{after:?}");
}
