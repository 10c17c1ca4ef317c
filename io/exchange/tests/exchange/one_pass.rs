//! From the database to the receiver without a package in between.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reshare_exchange::progress::Progress;
use reshare_exchange::{ClientError, ClientOptions, Limits, Retained, close_retaining};
use reshare_files::fault::Refusable;
use reshare_format::package::{
    MANIFEST_NAME, ManifestSignature, Package, PackageExpectations, SIGNATURE_NAME, read_manifest,
};
use reshare_pipeline::error::PipelineError;
use sqlx::postgres::PgConnection;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

use crate::cutting_proxy::{self, Cut, Direction, Proxy};
use crate::sending::{FOR_EVER, Senders};
use crate::world::{Running, party, upload_to};

async fn sixty_rows() -> (Senders, Running) {
    let senders = Senders::new(&(1..=60).collect::<Vec<_>>()).await;
    let receiver = senders.world.receiver().await;
    (senders, receiver)
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read(entry.path()).unwrap()))
        .collect()
}

/// Breaks a delivery at its last row, and returns the parts that had arrived by then.
async fn broken_delivery(senders: &mut Senders) -> (Running, BTreeMap<String, Vec<u8>>) {
    let receiver = senders.world.receiver().await;
    senders.toggle(0, 60).await;
    let target = senders.world.target(0, receiver.address);
    let broken = senders.deliver_to(0, target, [5, 1], &Arc::default()).await;
    assert!(matches!(broken, Err(PipelineError::Export(_))), "{broken:?}");
    senders.toggle(0, 60).await;
    // Another run: what was on its way may have arrived or not.
    receiver.stop().await;
    let receiver = senders.world.receiver().await;
    let mut arrived = files(&receiver.package(0));
    arrived.retain(|name, _| name.starts_with("part-"));
    // Missing are the parts that were read, sealed, in the queue and on their way just then.
    assert!((7..=11).contains(&arrived.len()), "{:?}", arrived.keys());
    (receiver, arrived)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_pass_from_both_senders_gives_the_reference_back() {
    let (senders, receiver) = sixty_rows().await;
    for (index, rows_per_part, parts) in [(0, 7, 9), (1, 11, 6)] {
        let report = senders.deliver(index, receiver.address, rows_per_part).await.unwrap();
        assert_eq!((report.parts_delivered, report.rows_delivered), (parts, 60));
        assert_eq!(report.bytes_delivered, report.package.sealed_bytes);
        assert_eq!((report.package.parts, report.package.parts_kept), (parts, 0));
        let manifest = read_manifest(&receiver.package(index)).unwrap();
        assert_eq!(manifest.claims().parts.len() as u64, parts);
    }
    receiver.inbox.both_closed(drop).await;
    assert_eq!(senders.rebuild(&receiver).await.rows, 60);
    assert_eq!(senders.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_delivery_continues_with_what_is_missing() {
    let mut senders = Senders::new(&(1..=60).collect::<Vec<_>>()).await;
    let (receiver, arrived) = broken_delivery(&mut senders).await;
    let report = senders.deliver(0, receiver.address, 8).await.unwrap();
    assert_eq!(report.package.rows_added_later, 0);
    let kept = arrived.len() as u64;
    let missing = 60 - 5 * kept;
    assert_eq!((report.package.parts_kept, report.rows_delivered), (kept, missing));
    // Parts that were sealed when it broke are of five rows, as before; others are cut again.
    let parts = missing.div_ceil(8)..=missing.div_ceil(5);
    assert!(parts.contains(&report.parts_delivered), "{report:?}");
    assert_eq!(report.package.rows, 60);
    let now = files(&receiver.package(0));
    assert!(arrived.iter().all(|(name, bytes)| now[name] == *bytes));
    senders.deliver(1, receiver.address, 60).await.unwrap();
    senders.rebuild(&receiver).await;
    assert_eq!(senders.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_come_late_are_counted_and_not_sent() {
    let ids: Vec<i64> = (1..=60).map(|id| 2 * id).collect();
    let mut senders = Senders::new(&ids).await;
    let receiver = senders.world.receiver().await;
    senders.toggle(0, 120).await;
    let target = senders.world.target(0, receiver.address);
    assert!(senders.deliver_to(0, target, [5, 1], &Arc::default()).await.is_err());
    senders.toggle(0, 120).await;
    // Two rows in ids that the first part has covered, and one that nothing has.
    senders.run("INSERT INTO zero.irises SELECT id - 1, version_id, code FROM zero.irises WHERE id IN (2, 4, 120)").await;
    let report = senders.deliver(0, receiver.address, 5).await.unwrap();
    assert_eq!((report.package.rows_added_later, report.package.rows), (2, 61));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_cut_is_made_again() {
    let (senders, receiver) = sixty_rows().await;
    for (index, after_bytes) in [(0, 10_000), (1, 40_000)] {
        // The first connection lists, the second brings the certificates, the third carries parts.
        let cut = Cut { connection: 2, direction: Direction::ToReceiver, after_bytes };
        let proxy = Proxy::start(receiver.address, cut).await;
        let report = senders.deliver(index, proxy.address, 20).await.unwrap();
        assert_eq!((report.parts_delivered, report.rows_delivered), (3, 60));
        assert!(proxy.has_cut());
    }
    senders.rebuild(&receiver).await;
    assert_eq!(senders.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_was_closed_before_is_left_alone() {
    let (mut senders, receiver) = sixty_rows().await;
    let first = senders.deliver(0, receiver.address, 25).await.unwrap();
    let before = files(&receiver.package(0));
    let again = senders.deliver(0, receiver.address, 4).await.unwrap();
    assert!(again.package.closed_before && !first.package.closed_before);
    assert_eq!((again.parts_delivered, again.package.parts_kept, again.package.rows), (0, 3, 60));
    // Other parts are sealed again elsewhere: what was delivered first is kept.
    senders.run("UPDATE zero.irises SET version_id = 77 WHERE id = 3").await;
    senders.pack(0, "elsewhere").await;
    let error = senders.deliver(0, receiver.address, 25).await.unwrap_err();
    let closed = matches!(error, PipelineError::Delivery(ClientError::ClosedOtherwise));
    assert!(closed && error.is_refusal(), "{error:?}");
    assert!(files(&receiver.package(0)) == before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_was_made_on_disk_and_uploaded_is_complete() {
    let (senders, receiver) = sixty_rows().await;
    let packed = senders.pack(0, "package-0").await;
    upload_to(&senders.world.package(0), &senders.world.target(0, receiver.address)).await.unwrap();
    let report = senders.deliver(0, receiver.address, 25).await.unwrap();
    assert!(report.package.closed_before);
    assert_eq!((report.package.parts, report.package.rows), (packed.parts, packed.rows));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_whose_rows_are_gone_is_no_part_of_the_package() {
    let mut senders = Senders::new(&(1..=60).collect::<Vec<_>>()).await;
    let (receiver, arrived) = broken_delivery(&mut senders).await;
    assert!(arrived.contains_key("part-000001.age"));
    // Sealed again elsewhere, so that the receiver's parts are not the recorded ones.
    senders.pack(0, "elsewhere").await;
    for table in ["zero", "one", "two"] {
        senders.run(&format!("DELETE FROM {table}.irises WHERE id BETWEEN 6 AND 10")).await;
    }
    let report = senders.deliver(0, receiver.address, 5).await.unwrap();
    assert_eq!((report.package.rows, report.package.parts_kept), (55, 0));
    assert!(!files(&receiver.package(0)).contains_key("part-000001.age"));
    senders.deliver(1, receiver.address, 60).await.unwrap();
    assert_eq!(senders.rebuild(&receiver).await.rows, 55);
    assert_eq!(senders.equal_rows().await, 55);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_refuses_a_part_ends_the_run_with_its_reason() {
    let senders = Senders::new(&(1..=60).collect::<Vec<_>>()).await;
    let limits = Limits { parts: 3, keep_free_bytes: 0, ..Limits::default() };
    let receiver = senders.world.receiver_with(limits).await;
    let error = senders.deliver(0, receiver.address, 5).await.unwrap_err();
    let PipelineError::Delivery(ClientError::Refused { reason, .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(reason, "too-many-parts");
    assert!(error.is_refusal());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_waits_for_the_receiver_can_be_stopped() {
    let senders = Senders::new(&[1, 2, 3]).await;
    // A server that accepts and does not answer makes a client wait.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let options = ClientOptions { timeout: 2 * FOR_EVER, ..ClientOptions::default() };
    let target = senders.world.target_with(0, silent.local_addr().unwrap(), options);
    let progress = Arc::new(Progress::default());
    let stopping = async {
        let (mut connection, _) = silent.accept().await.unwrap();
        connection.read_u8().await.unwrap();
        progress.stop();
        connection
    };
    let running = senders.deliver_to(0, target, [5, 2], &progress);
    let both = async { tokio::join!(running, stopping) };
    let (ended, _connection) = tokio::time::timeout(FOR_EVER, both).await.unwrap();
    assert!(matches!(ended, Err(PipelineError::Stopped)), "{ended:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_parts_are_stuck_can_be_stopped() {
    let (senders, receiver) = sixty_rows().await;
    let (way, stalling) = cutting_proxy::start_stalling(receiver.address, 30_000).await;
    let options = ClientOptions { timeout: 2 * FOR_EVER, ..ClientOptions::default() };
    let target = senders.world.target_with(0, way, options);
    let progress = Arc::new(Progress::default());
    let stopping = async {
        // Two parts are stuck, one is in the queue and one waits for it.
        while progress.snapshot().stage != "send" || receiver.files().len() < 2 {
            tokio::task::yield_now().await;
        }
        progress.stop();
    };
    let running = senders.deliver_to(0, target, [5, 2], &progress);
    let both = async { tokio::join!(running, stopping) };
    let (ended, ()) = tokio::time::timeout(FOR_EVER, both).await.unwrap();
    assert!(matches!(ended, Err(PipelineError::Stopped)), "{ended:?}");
    stalling.abort();
}

/// Waits until a delivery waits for a lock.
async fn until_one_waits(locking: &mut PgConnection) {
    for _ in 0..600 {
        let waits = "SELECT count(*) FROM pg_locks JOIN pg_database ON oid = database \
                     WHERE NOT granted AND datname = current_database()";
        let waiting: i64 = sqlx::query_scalar(waits).fetch_one(&mut *locking).await.unwrap();
        if waiting > 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nobody waits for the table");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_on_its_way_from_an_earlier_run_may_close_the_package_of_the_next_one() {
    let (senders, receiver) = sixty_rows().await;
    senders.deliver(0, receiver.address, 5).await.unwrap();
    let directory = receiver.package(0);
    receiver.stop().await;
    let trust = senders.world.trust(&senders.world.session);
    let expected = PackageExpectations::of(&senders.world.session, party(0), Some(&trust));
    let package = Package::open(directory.clone(), expected.unwrap()).unwrap();
    let signature = ManifestSignature::load(&directory).unwrap();
    let manifest = fs::read(directory.join(MANIFEST_NAME)).unwrap();
    // As if they had not arrived before their sender was killed.
    for name in [MANIFEST_NAME, SIGNATURE_NAME] {
        fs::remove_file(directory.join(name)).unwrap();
    }
    let receiver = senders.world.receiver().await;
    let mut locking = senders.source("zero").database.connect().await.unwrap();
    let lock = "BEGIN; LOCK TABLE zero.irises IN ACCESS EXCLUSIVE MODE";
    sqlx::raw_sql(lock).execute(&mut locking).await.unwrap();
    let retained = &Retained::default();
    let arriving = async {
        // The next run has seen that the package is open, and waits for the table.
        until_one_waits(&mut locking).await;
        let target = senders.world.target(0, receiver.address);
        let closing = close_retaining(&target, package.manifest(), signature.as_ref(), retained);
        closing.await.unwrap();
        sqlx::raw_sql("ROLLBACK").execute(&mut locking).await.unwrap();
    };
    let (report, ()) = tokio::join!(senders.deliver(0, receiver.address, 5), arriving);
    let report = report.unwrap();
    assert_eq!((report.rows_delivered, report.package.parts_kept), (0, 12));
    assert_eq!(fs::read(directory.join(MANIFEST_NAME)).unwrap(), manifest);
}
