//! What is written to a sender's table while it is read.

use std::path::PathBuf;
use std::sync::Arc;

use reshare_io::pipeline::export::export;
use reshare_io::pipeline::send::send;

use crate::gate::Gate;
use crate::support::{SENDERS, World, source, workers};

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
    let keys = world.cast.sender_keys(&world.session, 0);
    let (session, ids) = (world.session.clone(), world.ids.clone());
    let (table, package) = (gate.source(&world, SENDERS[0]), world.cast.path(SENDERS[0]));
    let sending = tokio::spawn(async move {
        send(&session, &ids, keys, &table, &package, workers(2, 3), Arc::default()).await
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
