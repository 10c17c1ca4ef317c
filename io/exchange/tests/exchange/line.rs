//! What a sender measures of its line before a run.

use std::num::NonZeroUsize;
use std::time::Duration;

use reshare_exchange::{ClientError, measure_line};

use crate::cutting_proxy::start_delaying;
use crate::http::{curl, place, sha256_of};
use crate::world::World;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();

#[tokio::test(flavor = "multi_thread")]
async fn a_long_line_is_seen_in_its_round_trip_and_nothing_reaches_the_inbox() {
    let world = World::new();
    let receiver = world.receiver().await;
    let before = receiver.files();
    let span = Duration::from_millis(200);
    let near = measure_line(&world.target(0, receiver.address), TWO, span).await.unwrap();
    let one_way = Duration::from_millis(150);
    let long_line = start_delaying(receiver.address, one_way).await;
    let far = measure_line(&world.target(0, long_line), TWO, span).await.unwrap();
    assert!(far.round_trip >= 2 * one_way, "{far:?}");
    assert!(near.round_trip < far.round_trip && near.bytes_per_second > 0.0, "{near:?} {far:?}");
    // 1 MiB of each connection at a time.
    let most = 2.0 * (1 << 20) as f64 / one_way.as_secs_f64();
    assert!(far.bytes_per_second < most, "{far:?}");
    assert_eq!(receiver.files(), before);
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_to_drop_is_bounded_and_only_a_senders() {
    let world = World::new();
    let receiver = world.receiver().await;
    let port = receiver.address.port();
    let large = world.path("large");
    std::fs::write(&large, vec![0; (16 << 20) + 1]).unwrap();
    let digest = sha256_of(&large);
    let body = format!("@{}", large.display());
    let arguments = ["-X", "POST", "-H", &digest, "--data-binary", &body];
    let path = format!("{}/line", place(&world, 0));
    let own = Some(world.sender_files(0));
    curl(&world, port, own, &path, &arguments).await.assert_refused(413, "too-large");
    let other = Some(world.sender_files(1));
    curl(&world, port, other, &path, &arguments).await.assert_refused(403, "other-party");
    let session = "/v1/sessions/another/parties/0/line";
    curl(&world, port, own, session, &arguments).await.assert_refused(404, "other-session");
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_ends_meanwhile_is_an_error() {
    let world = World::new();
    let receiver = world.receiver().await;
    let target = world.target(0, receiver.address).once(Duration::from_secs(2));
    receiver.stop().await;
    let error = measure_line(&target, TWO, Duration::from_secs(1)).await.unwrap_err();
    assert!(matches!(error, ClientError::GaveUp { .. }), "{error:?}");
}
