//! Connections that are cut, in either direction and in every phase.

use std::fs;

use crate::cutting_proxy::{Cut, Direction, Proxy};
use crate::http::plain;
use crate::world::{World, assert_same_directory, upload_at_once};

/// Requests that an undisturbed upload makes: a list, six parts, three closing files.
const REQUESTS: u64 = 10;

/// Uploads through a cut at each of these positions of the first connection, which carries everything
/// as long as it lives, until one is after its last byte. Returns the number of cuts, and of requests
/// that were served twice.
async fn upload_through(direction: Direction, places: impl Iterator<Item = u64>) -> (usize, u64) {
    let (world, mut cuts, mut repeated) = (World::new(), 0, 0);
    for after_bytes in places {
        let receiver = world.receiver().await;
        let cut = Cut { connection: 0, direction, after_bytes };
        let proxy = Proxy::start(receiver.address, cut).await;
        let target = world.target(0, proxy.address);
        let uploaded = upload_at_once(1, &world.package(0), &target).await;
        uploaded.unwrap_or_else(|error| panic!("{cut:?}: {error:?}"));
        assert_same_directory(world.package(0).directory(), &receiver.package(0));
        let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
        let served = metrics.lines().find_map(|line| {
            line.strip_prefix("reshare_requests_accepted_total ")?.parse::<u64>().ok()
        });
        repeated += served.unwrap() - REQUESTS;
        receiver.stop().await;
        fs::remove_dir_all(world.path("inbox")).unwrap();
        if !proxy.has_cut() {
            break;
        }
        cuts += 1;
    }
    (cuts, repeated)
}

/// The bytes of an undisturbed upload, on their way to the receiver.
async fn bytes_of_an_upload() -> u64 {
    let world = World::new();
    let receiver = world.receiver().await;
    let cut = Cut { connection: 0, direction: Direction::ToReceiver, after_bytes: u64::MAX };
    let proxy = Proxy::start(receiver.address, cut).await;
    upload_at_once(1, &world.package(0), &world.target(0, proxy.address)).await.unwrap();
    receiver.stop().await;
    proxy.carried_to_receiver()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_survives_a_cut_anywhere_on_its_way_to_the_receiver() {
    let end = bytes_of_an_upload().await;
    // In the handshake and the list, in the headers and bodies of the first and of later parts, in
    // the closing files.
    let places = [0, 1, 200, 700, 1_500, 2_500, 3_500, 40_000, 96_000, 99_000, 140_000, 500_000];
    let closing = (1..=12).rev().map(|n| end - 300 * n);
    let places: Vec<_> = places.into_iter().chain(closing).collect();
    assert!(places.is_sorted(), "{places:?}");
    let (cuts, _) = upload_through(Direction::ToReceiver, places.iter().copied()).await;
    assert_eq!(cuts, places.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_survives_a_cut_of_any_answer() {
    // The handshake takes more than 1,000 bytes, the list some hundreds, each other answer a hundred.
    let places = [0, 1, 500].into_iter().chain((1_000..).step_by(60));
    let (cuts, repeated) = upload_through(Direction::ToSender, places).await;
    assert!(cuts > 15, "{cuts}");
    assert!(repeated >= 6, "answers of parts and of closing files were lost: {repeated}");
}
