//! Rows are merged and loaded while parts arrive, and parts that were used are closed.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use reshare_exchange::progress::Progress;
use reshare_exchange::{ClientError, Limits};
use reshare_pipeline::arriving::Arriving;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::rebuild::{RebuildReport, rebuild_arriving};
use reshare_pipeline::verify_digests::{DigestComparison, verify_digests};
use reshare_pipeline::workers::Target;
use reshare_postgres::load_options::LoadOptions;
use reshare_postgres::verified::load_state;
use tokio::task::JoinHandle;

use crate::sending::{Senders, workers_of};
use crate::world::Running;

/// Starts to rebuild what arrives, with rows of `rows` at a time.
pub(crate) fn rebuilding(
    senders: &Senders,
    receiver: &Running,
    keep_files: bool,
    progress: &Arc<Progress>,
) -> JoinHandle<Result<RebuildReport, PipelineError>> {
    let (session, inbox) = (senders.world.session.clone(), Arc::clone(&receiver.inbox));
    let identity = senders.world.secrets.identity.clone();
    let arriving = Arriving::new(&session, inbox, identity, None, keep_files).unwrap();
    let target = Target { source: senders.source("target"), options: LoadOptions::default() };
    let progress = Arc::clone(progress);
    tokio::spawn(async move {
        rebuild_arriving(&session, arriving, &target, workers_of(9), progress).await
    })
}

pub(crate) async fn sixty_rows(limits: Limits) -> (Senders, Running) {
    let senders = Senders::new(&(1..=60).collect::<Vec<_>>()).await;
    let receiver = senders.world.receiver_with(limits).await;
    (senders, receiver)
}

fn limits() -> Limits {
    Limits { keep_free_bytes: 0, ..Limits::default() }
}

pub(crate) fn parts(directory: PathBuf) -> BTreeSet<String> {
    let names = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
    names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with("part-")).collect()
}

/// The lower sender delivers everything, in parts of so many rows; the other one's delivery breaks at
/// its last row.
async fn deliver_all_but_the_end(senders: &mut Senders, receiver: &Running, rows_per_part: usize) {
    senders.deliver(0, receiver.address, rows_per_part).await.unwrap();
    senders.toggle(1, 60).await;
    let target = senders.world.target(1, receiver.address);
    let broken = senders.deliver_to(1, target, [5, 1], &Arc::default()).await;
    assert!(matches!(broken, Err(PipelineError::Export(_))), "{broken:?}");
    senders.toggle(1, 60).await;
}

pub(crate) async fn rows_in_target(senders: &mut Senders) -> i64 {
    let count = sqlx::query_scalar("SELECT count(*) FROM target.irises");
    count.fetch_one(&mut senders.sql).await.unwrap()
}

/// Compares the target with the digests of its load.
async fn compared_with_digests(senders: &Senders) -> DigestComparison {
    let source = senders.source("target");
    let (name, fingerprint) = (source.table.name(), senders.world.session.fingerprint());
    let loaded = load_state(&source.database, name, fingerprint).await.unwrap().loaded;
    verify_digests(&source, loaded, workers_of(9), &Arc::default()).await.unwrap()
}

/// Waits until the target has so many rows.
async fn until_loaded(senders: &mut Senders, rows: i64) {
    for _ in 0..600 {
        if rows_in_target(senders).await == rows {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{} rows in a minute, expected {rows}", rows_in_target(senders).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_both_have_delivered_are_loaded_and_their_parts_leave_the_inbox() {
    let (senders, receiver) = sixty_rows(limits()).await;
    let rebuilding = rebuilding(&senders, &receiver, false, &Arc::default());
    let (lower, higher) = tokio::join!(
        senders.deliver(0, receiver.address, 7),
        senders.deliver(1, receiver.address, 11)
    );
    assert_eq!((lower.unwrap().rows_delivered, higher.unwrap().rows_delivered), (60, 60));
    let report = rebuilding.await.unwrap().unwrap();
    assert_eq!((report.rows, report.rows_skipped, report.leftovers.len()), (60, 0, 0));
    assert_eq!(senders.equal_rows().await, 60);
    assert_eq!([0, 1].map(|index| parts(receiver.package(index)).len()), [0, 0]);
    receiver.inbox.both_acknowledged().await;
    // Without a part the table is compared with what was recorded.
    let found = compared_with_digests(&senders).await;
    assert_eq!((found.rows_equal, found.differing), (60, vec![]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_after_its_load_differs_from_its_digest() {
    let (mut senders, receiver) = sixty_rows(limits()).await;
    let rebuilding = rebuilding(&senders, &receiver, true, &Arc::default());
    for index in [0, 1] {
        // The target is left alone as long as a sender has not been heard of.
        assert!(!receiver.inbox.have_both_begun());
        senders.deliver(index, receiver.address, 20).await.unwrap();
    }
    assert!(receiver.inbox.have_both_begun());
    rebuilding.await.unwrap().unwrap();
    assert_eq!([0, 1].map(|index| parts(receiver.package(index)).len()), [3, 3]);
    senders.run("UPDATE target.irises SET code = set_byte(code, 9, 255 - get_byte(code, 9)) WHERE id = 33").await;
    senders.run("DELETE FROM target.irises WHERE id = 60").await;
    let found = compared_with_digests(&senders).await;
    assert_eq!(found.differing.len(), 2);
    assert!(found.differing[0].contains(33) && found.differing[1].contains(60), "{found:?}");
    assert_eq!(found.rows_equal + found.rows_differing, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_sender_has_not_delivered_waits_and_a_new_process_goes_on() {
    let (mut senders, receiver) = sixty_rows(limits()).await;
    let progress = Arc::<Progress>::default();
    let first = rebuilding(&senders, &receiver, false, &progress);
    deliver_all_but_the_end(&mut senders, &receiver, 6).await;
    let arrived = parts(receiver.package(1)).len();
    for _ in 0..600 {
        let loaded = rows_in_target(&mut senders).await;
        if loaded > 0 && parts(receiver.package(1)).len() < arrived.max(1) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(rows_in_target(&mut senders).await > 0, "nothing was loaded early");
    progress.stop();
    assert!(matches!(first.await.unwrap(), Err(PipelineError::Stopped)));
    receiver.stop().await;
    // Another process: it knows what was used, and takes the rest.
    let receiver = senders.world.receiver().await;
    let second = rebuilding(&senders, &receiver, false, &Arc::default());
    let report = senders.deliver(1, receiver.address, 8).await.unwrap();
    assert_eq!(report.package.rows, 60);
    let rebuilt = second.await.unwrap().unwrap();
    assert_eq!(rebuilt.rows + rebuilt.rows_skipped, 60);
    assert!(rebuilt.rows_skipped > 0);
    assert_eq!(senders.equal_rows().await, 60);
    assert_eq!([0, 1].map(|index| parts(receiver.package(index)).len()), [0, 0]);
    // And one that is started on a finished inbox answers and has nothing to do.
    receiver.stop().await;
    let receiver = senders.world.receiver().await;
    let third = rebuilding(&senders, &receiver, false, &Arc::default());
    let rebuilt = third.await.unwrap().unwrap();
    assert_eq!((rebuilt.rows, rebuilt.rows_skipped), (0, 60));
    assert!(senders.deliver(1, receiver.address, 8).await.unwrap().package.closed_before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_was_used_is_closed_to_another_content_and_open_to_the_same() {
    let (mut senders, receiver) = sixty_rows(limits()).await;
    let progress = Arc::<Progress>::default();
    let rebuilding = rebuilding(&senders, &receiver, false, &progress);
    deliver_all_but_the_end(&mut senders, &receiver, 60).await;
    until_some_are_loaded(&mut senders).await;
    // Sealed again elsewhere: the ledger names other files of the same content.
    senders.pack(1, "elsewhere").await;
    senders.deliver(1, receiver.address, 5).await.unwrap();
    let report = rebuilding.await.unwrap().unwrap();
    assert_eq!(report.rows + report.rows_skipped, 60);
    assert_eq!(senders.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_changes_what_was_used_is_refused() {
    let (mut senders, receiver) = sixty_rows(limits()).await;
    let progress = Arc::<Progress>::default();
    let rebuilding = rebuilding(&senders, &receiver, false, &progress);
    deliver_all_but_the_end(&mut senders, &receiver, 60).await;
    until_some_are_loaded(&mut senders).await;
    // Newer versions of rows that are loaded, in a package whose parts have other content.
    senders.run("UPDATE one.irises SET version_id = version_id + 1 WHERE id <= 5").await;
    senders.pack(1, "elsewhere").await;
    let error = senders.deliver(1, receiver.address, 5).await.unwrap_err();
    let PipelineError::Delivery(ClientError::Refused { reason, .. }) = &error else {
        panic!("{error:?}");
    };
    assert_eq!(reason, "used");
    progress.stop();
    assert!(matches!(rebuilding.await.unwrap(), Err(PipelineError::Stopped)));
}

async fn until_some_are_loaded(senders: &mut Senders) {
    for _ in 0..600 {
        if rows_in_target(senders).await >= 5 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("nothing is loaded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_is_far_ahead_waits_until_the_other_one_follows() {
    // Room for two parts of each sender.
    let (mut senders, receiver) =
        sixty_rows(Limits { inbox_bytes: Some(4 * 16_000), ..limits() }).await;
    let rebuilding = rebuilding(&senders, &receiver, false, &Arc::default());
    let waiting = Arc::new(Progress::default());
    let target = senders.world.target(0, receiver.address);
    let ahead = async { senders.deliver_to(0, target, [5, 1], &waiting).await };
    let behind = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let there = parts(receiver.package(0)).len();
        assert!((1..=4).contains(&there), "{there} parts wait where two have room");
        senders.deliver(1, receiver.address, 5).await
    };
    let (ahead, behind) = tokio::join!(ahead, behind);
    assert_eq!((ahead.unwrap().rows_delivered, behind.unwrap().rows_delivered), (60, 60));
    assert_eq!(rebuilding.await.unwrap().unwrap().rows, 60);
    until_loaded(&mut senders, 60).await;
    assert_eq!(senders.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_without_a_row_covers_all_ids() {
    let (mut senders, receiver) = sixty_rows(limits()).await;
    senders.run("DELETE FROM zero.irises").await;
    let rebuilding = rebuilding(&senders, &receiver, false, &Arc::default());
    for index in [0, 1] {
        senders.deliver(index, receiver.address, 25).await.unwrap();
    }
    let report = rebuilding.await.unwrap().unwrap();
    assert_eq!((report.rows, report.leftovers.only_higher_sender.len()), (0, 60));
    assert_eq!(rows_in_target(&mut senders).await, 0);
}
