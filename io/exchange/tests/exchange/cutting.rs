//! Connections that are cut, in either direction and in every phase.

use std::fs;

use crate::cutting_proxy::{Cut, Direction, Proxy};
use crate::http::plain;
use crate::world::{World, assert_same_directory, upload_at_once};

/// Requests that an undisturbed upload makes: a list, six parts, three closing files.
const REQUESTS: u64 = 10;

/// The traffic of a connection when one part is uploaded at a time.
#[derive(Clone, Copy)]
enum Carries {
    List,
    Parts,
    ClosingFiles,
}

/// Uploads through a cut at each of these positions of one connection, until one is after its
/// last byte. Returns the number of cuts, and of requests that were served twice.
async fn upload_through(
    carries: Carries,
    direction: Direction,
    places: impl Iterator<Item = u64>,
) -> (usize, u64) {
    let (world, mut cuts, mut repeated) = (World::new(), 0, 0);
    for after_bytes in places {
        let receiver = world.receiver().await;
        let cut = Cut { connection: carries as usize, direction, after_bytes };
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

#[tokio::test(flavor = "multi_thread")]
async fn parts_survive_a_cut_on_their_way_to_the_receiver() {
    // In the handshake, in the headers, in the bodies of the first and of later parts.
    let places = [0, 1, 200, 700, 1500, 2500, 40_000, 96_000, 99_000, 140_000, 500_000];
    let (cuts, _) = upload_through(Carries::Parts, Direction::ToReceiver, places.into_iter()).await;
    assert_eq!(cuts, places.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_survive_a_cut_of_the_answer_after_they_are_durable() {
    // The handshake takes more than 1,000 bytes, each answer a hundred.
    let places = [0, 1, 500].into_iter().chain((1_000..).step_by(60));
    let (cuts, repeated) = upload_through(Carries::Parts, Direction::ToSender, places).await;
    assert!(cuts > 5, "{cuts}");
    assert!(repeated > 0, "no answer was lost after its part was durable");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_survives_a_cut_in_either_direction() {
    for direction in [Direction::ToReceiver, Direction::ToSender] {
        let (cuts, _) = upload_through(Carries::List, direction, (0..).step_by(300)).await;
        assert!(cuts > 5, "{cuts}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_closing_files_survive_a_cut_in_either_direction() {
    let places = (0..).step_by(300);
    let (cuts, _) = upload_through(Carries::ClosingFiles, Direction::ToReceiver, places).await;
    assert!(cuts > 10, "{cuts}");
    let places = (1_000..).step_by(60);
    let (cuts, repeated) = upload_through(Carries::ClosingFiles, Direction::ToSender, places).await;
    assert!(cuts > 5, "{cuts}");
    assert!(repeated >= 3, "no answer to a closing file was lost");
}
