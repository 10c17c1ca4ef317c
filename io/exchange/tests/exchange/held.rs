//! Parts that a receiver has in memory only, until their rows are loaded.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reshare_exchange::Limits;
use reshare_exchange::progress::Progress;

use crate::arriving::{parts, rebuilding, rows_in_target, sixty_rows};
use crate::http::plain;
use crate::sending::Senders;
use crate::world::Running;

/// A receiver without room on its disk: what it takes, it takes into memory.
fn memory_only(held_bytes: u64) -> Limits {
    Limits { held_bytes, keep_free_bytes: 1 << 60, ..Limits::default() }
}

/// A receiver that would take every part into memory, and has room on its disk.
fn memory_first() -> Limits {
    let held_wait = Duration::from_millis(100);
    Limits { held_bytes: 1 << 30, keep_free_bytes: 0, held_wait, ..Limits::default() }
}

/// Room for two parts of five rows, for each sender.
const TWO_PARTS: u64 = 4 * 16_000;

/// Waits until a sender has covered the ids up to `id`.
async fn until_covered(receiver: &Running, sender: usize, id: i64) {
    for _ in 0..1200 {
        if receiver.inbox.covered()[sender].1 >= Some(id) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("covered so far: {:?}", receiver.inbox.covered());
}

/// Delivers a sender's rows in parts of five, one after the other.
async fn deliver_fives(senders: &Senders, index: u8, address: SocketAddr) -> u64 {
    let target = senders.world.target(index, address);
    let delivered = senders.deliver_to(index, target, [5, 1], &Arc::default()).await;
    delivered.unwrap().rows_delivered
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_senders_that_keep_pace_are_never_written() {
    let (senders, receiver) = sixty_rows(memory_only(TWO_PARTS)).await;
    let rebuilding = rebuilding(&senders, &receiver, false, &Arc::default());
    let (lower, higher) = tokio::join!(
        deliver_fives(&senders, 0, receiver.address),
        deliver_fives(&senders, 1, receiver.address)
    );
    assert_eq!((lower, higher), (60, 60));
    assert_eq!(rebuilding.await.unwrap().unwrap().rows, 60);
    let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
    for figure in ["reshare_held_bytes{sender=\"0\"} 0", "reshare_loaded_up_to{sender=\"1\"} 99999"]
    {
        assert!(metrics.lines().any(|line| line == figure), "{figure} is not in {metrics}");
    }
    assert_eq!(senders.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_receiver_loses_with_its_memory_is_sent_again() {
    let (mut senders, receiver) = sixty_rows(memory_only(TWO_PARTS)).await;
    let address = receiver.address;
    let restarting = async {
        until_covered(&receiver, 0, 10).await;
        receiver.stop().await;
        // With as little memory: the next part has room only when the lost ones are loaded.
        let receiver = senders.world.receiver_at(address, memory_only(TWO_PARTS)).await;
        assert_eq!(receiver.inbox.covered()[0].1, None);
        let rebuilding = rebuilding(&senders, &receiver, false, &Arc::default());
        assert_eq!(deliver_fives(&senders, 1, address).await, 60);
        (rebuilding.await.unwrap().unwrap(), receiver)
    };
    let (delivered, (report, receiver)) =
        tokio::join!(deliver_fives(&senders, 0, address), restarting);
    assert_eq!((delivered, report.rows), (60, 60));
    assert_eq!(senders.equal_rows().await, 60);
    assert_eq!(rows_in_target(&mut senders).await, 60);
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_closes_is_written_and_outlives_the_receiver() {
    let (senders, receiver) = sixty_rows(memory_first()).await;
    assert_eq!(deliver_fives(&senders, 0, receiver.address).await, 60);
    assert_eq!(parts(receiver.package(0)).len(), 12);
    receiver.stop().await;
    let receiver = senders.world.receiver_with(memory_first()).await;
    let rebuilding = rebuilding(&senders, &receiver, false, &Arc::default());
    assert_eq!(deliver_fives(&senders, 1, receiver.address).await, 60);
    assert_eq!(rebuilding.await.unwrap().unwrap().rows, 60);
    assert_eq!(senders.equal_rows().await, 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_closes_at_once_when_nobody_loads_it_any_more() {
    let limits = Limits { held_wait: Duration::from_secs(3600), ..memory_first() };
    let (senders, receiver) = sixty_rows(limits).await;
    let inbox = Arc::clone(&receiver.inbox);
    let giving_up = async {
        until_covered(&receiver, 0, 60).await;
        inbox.stop_holding();
    };
    let (delivered, ()) = tokio::join!(deliver_fives(&senders, 0, receiver.address), giving_up);
    assert_eq!((delivered, parts(receiver.package(0)).len()), (60, 12));
    assert_eq!(deliver_fives(&senders, 1, receiver.address).await, 60);
    assert_eq!(parts(receiver.package(1)).len(), 12);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_stops_writes_what_it_holds_and_goes_on_with_it() {
    let (mut senders, receiver) = sixty_rows(memory_first()).await;
    senders.toggle(0, 60).await;
    let target = senders.world.target(0, receiver.address);
    let broken = senders.deliver_to(0, target, [5, 1], &Arc::default()).await;
    senders.toggle(0, 60).await;
    assert!(broken.is_err());
    let covered = receiver.inbox.covered();
    assert!(covered[0].1 >= Some(5), "{covered:?}");
    assert_eq!(parts(receiver.package(0)).len(), 0);
    receiver.inbox.write_held().unwrap();
    let written = parts(receiver.package(0)).len();
    assert!(written > 0);
    receiver.stop().await;
    let receiver = senders.world.receiver_with(memory_first()).await;
    assert_eq!(receiver.inbox.covered(), covered);
    // What was written need not be sent again.
    let progress = Arc::new(Progress::default());
    let target = senders.world.target(0, receiver.address);
    let report = senders.deliver_to(0, target, [5, 1], &progress).await.unwrap();
    assert_eq!(report.parts_delivered, 12 - written as u64);
}
