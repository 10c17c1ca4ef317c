//! A disk that fails at a single call, or permanently: only durable data is acknowledged.

use std::fs;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use reshare_exchange::{ClientError, ClientOptions};
use reshare_files::durable::faults::{Call, Fault, Faults, Plan};
use serde_json::Value;

use crate::http::{Answer, curl, place, plain, sha256_of};
use crate::world::{Running, World, assert_same_directory, upload_to};

const CALLS: [Call; 6] =
    [Call::Create, Call::Allocate, Call::Write, Call::Sync, Call::Rename, Call::SyncDirectory];

fn once(call: Call, nth: u64) -> Plan {
    Plan { calls: vec![call], nth, count: 1, fault: Fault::Error(ErrorKind::Other) }
}

/// Delivers a file of sender 0's package.
async fn put(world: &World, receiver: &Running, at: &str, name: &str) -> Answer {
    let file = world.package(0).directory().join(name);
    let path = format!("{}/{at}", place(world, 0));
    let arguments = ["-H", &sha256_of(&file), "-T", file.to_str().unwrap()];
    let files = Some(world.sender_files(0));
    curl(world, receiver.address.port(), files, &path, &arguments).await
}

/// The parts that the receiver lists, each of which must be there as it is listed.
async fn listed(world: &World, receiver: &Running) -> Vec<String> {
    let files = Some(world.sender_files(0));
    let answer = curl(world, receiver.address.port(), files, &place(world, 0), &[]).await;
    let list: Value = serde_json::from_str(&answer.body).unwrap();
    let parts = list["parts"].as_array().unwrap().iter().map(|part| {
        let name = part["name"].as_str().unwrap();
        let bytes = fs::read(receiver.package(0).join(name)).unwrap();
        assert_eq!(part["blake3"], blake3::hash(&bytes).to_hex().as_str());
        name.to_owned()
    });
    parts.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_that_may_not_be_durable_is_neither_acknowledged_nor_listed() {
    let world = World::new();
    let receiver = world.receiver().await;
    let (at, name) = ("parts/part-000000.age", "part-000000.age");
    for call in CALLS {
        let faults = Faults::plan(receiver.package(0), once(call, 1));
        put(&world, &receiver, at, name).await.assert_refused(500, "disk");
        assert_eq!(faults.seen(), 1, "{call:?}");
        assert!(listed(&world, &receiver).await.is_empty(), "{call:?}");
    }
    let full = Plan { fault: Fault::Error(ErrorKind::StorageFull), ..once(Call::Allocate, 1) };
    let faults = Faults::plan(receiver.package(0), full);
    put(&world, &receiver, at, name).await.assert_refused(507, "disk-full");
    drop(faults);
    // Disk space was reserved.
    assert_eq!(put(&world, &receiver, at, name).await.status, 201);
    assert_eq!(listed(&world, &receiver).await, [name]);
    // Replacing it fails at the last step: it is unknown which bytes the name will show.
    let faults = Faults::plan(receiver.package(0), once(Call::SyncDirectory, 1));
    put(&world, &receiver, at, "part-000001.age").await.assert_refused(500, "disk");
    drop(faults);
    assert!(listed(&world, &receiver).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_for_one_sender_holds_up_nothing_else() {
    let world = World::new();
    let receiver = world.receiver().await;
    let frozen = Plan { fault: Fault::Freeze, ..once(Call::Sync, 1) };
    let faults = Arc::new(Faults::plan(receiver.package(0), frozen));
    let delivery = put(&world, &receiver, "parts/part-000000.age", "part-000000.age");
    let others = async {
        let frozen = Arc::clone(&faults);
        let freezes = move || frozen.freezes_within(Duration::from_secs(120));
        assert!(tokio::task::spawn_blocking(freezes).await.unwrap());
        assert_eq!(plain(format!("http://{}/health", receiver.health)).await, "ok receiving\n");
        assert!(listed(&world, &receiver).await.is_empty());
        world.upload(1, receiver.address).await.unwrap();
        assert_same_directory(world.package(1).directory(), &receiver.package(1));
        drop(faults);
    };
    let (answer, ()) = tokio::join!(delivery, others);
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(listed(&world, &receiver).await, ["part-000000.age"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_continues_after_any_call_has_failed_once() {
    let world = World::new();
    for call in CALLS {
        for nth in [1, 3, 6, 7, 8, 9] {
            let receiver = world.receiver().await;
            let faults = Faults::plan(world.path("inbox"), once(call, nth));
            let uploaded = world.upload(0, receiver.address).await;
            uploaded.unwrap_or_else(|error| panic!("{call:?} {nth}: {error:?}"));
            // Only parts are given room: one after the other, six in all.
            assert!(faults.seen() >= nth || call == Call::Allocate, "{call:?} {nth}");
            assert_same_directory(world.package(0).directory(), &receiver.package(0));
            receiver.stop().await;
            fs::remove_dir_all(world.path("inbox")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_crash_at_any_call_only_whole_parts_are_listed_and_the_upload_continues() {
    let world = World::new();
    let mut listed_parts = 0;
    for nth in 1.. {
        let receiver = world.receiver().await;
        let gone =
            Plan { calls: Vec::new(), nth, count: u64::MAX, fault: Fault::Error(ErrorKind::Other) };
        let faults = Faults::plan(world.path("inbox"), gone);
        let give_up_after = Duration::ZERO;
        let options = ClientOptions { give_up_after, ..ClientOptions::default() };
        let target = world.target_with(0, receiver.address, options);
        let crashed = upload_to(&world.package(0), &target).await;
        // If only the removal of the journal failed, the package is complete.
        assert!(matches!(crashed, Ok(_) | Err(ClientError::GaveUp { .. })), "{nth}: {crashed:?}");
        receiver.stop().await;
        let is_over = faults.seen() < nth;
        drop(faults);
        let receiver = world.receiver().await;
        let parts = listed(&world, &receiver).await.len();
        assert!(parts == 6 || crashed.is_err(), "{nth}: {parts} parts of what was acknowledged");
        listed_parts += parts;
        world.upload(0, receiver.address).await.unwrap();
        assert_same_directory(world.package(0).directory(), &receiver.package(0));
        assert!(!world.path("inbox/sender-0.journal").exists());
        receiver.stop().await;
        fs::remove_dir_all(world.path("inbox")).unwrap();
        if is_over {
            assert!(crashed.is_ok() && nth > 50, "{nth}: {crashed:?}");
            break;
        }
    }
    assert!(listed_parts > 100, "{listed_parts}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_that_cannot_be_made_durable_does_not_close_the_package() {
    let world = World::new();
    let receiver = world.receiver().await;
    for part in world.package(0).manifest().parts().to_vec() {
        let (at, name) = (format!("parts/{}", part.name), part.name.to_string());
        assert_eq!(put(&world, &receiver, &at, &name).await.status, 201);
    }
    for name in ["manifest-chain.pem", "manifest.sig"] {
        let faults = Faults::plan(receiver.package(0), once(Call::SyncDirectory, 1));
        put(&world, &receiver, name, name).await.assert_refused(500, "disk");
        drop(faults);
        // The same bytes are already there: they are made durable before that is reported.
        let faults = Faults::plan(receiver.package(0), once(Call::SyncDirectory, 0));
        assert_eq!(put(&world, &receiver, name, name).await.status, 204);
        assert_eq!(faults.seen(), 1);
    }
    for call in [Call::Create, Call::Write, Call::Sync, Call::Rename, Call::SyncDirectory] {
        let faults = Faults::plan(receiver.package(0), once(call, 1));
        put(&world, &receiver, "manifest", "manifest.json").await.assert_refused(500, "disk");
        drop(faults);
        assert!(!receiver.package(0).join("manifest.json").exists(), "{call:?}");
    }
    // The disk does not even remove the manifest: only a restart finds out.
    let gone = Plan { count: u64::MAX, ..once(Call::SyncDirectory, 1) };
    let faults = Faults::plan(receiver.package(0), gone);
    put(&world, &receiver, "manifest", "manifest.json").await.assert_refused(500, "disk");
    drop(faults);
    let part = "part-000000.age";
    let refused = put(&world, &receiver, &format!("parts/{part}"), part).await;
    refused.assert_refused(500, "disk");
    assert!(refused.body.contains("must be started again"), "{refused:?}");
    receiver.stop().await;
    let receiver = world.receiver().await;
    assert_eq!(put(&world, &receiver, "manifest", "manifest.json").await.status, 201);
    assert_same_directory(world.package(0).directory(), &receiver.package(0));
}
