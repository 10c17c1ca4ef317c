//! Everything arrives completely and once, in spite of every broken connection.

use std::fs;
use std::time::Duration;

use reshare_exchange::{ClientError, ClientOptions, Limits};
use reshare_files::fault::Refusable;
use reshare_format::package::{Package, PackageExpectations};

use crate::cutting_proxy;
use crate::http::{curl, place, plain, sha256_of};
use crate::world::{World, assert_same_directory, party, upload_again, upload_to};

#[tokio::test(flavor = "multi_thread")]
async fn both_packages_arrive_byte_by_byte_and_close() {
    let world = World::new();
    let receiver = world.receiver().await;
    for index in [0, 1] {
        let report = world.upload(index, receiver.address).await.unwrap();
        assert_eq!((report.parts, report.parts_skipped, report.rows), (6, 0, 240));
        assert_same_directory(world.package(index).directory(), &receiver.package(index));
        let trust = world.trust(&world.session);
        let expected = PackageExpectations::of(&world.session, party(index), Some(&trust));
        Package::open(receiver.package(index), expected.unwrap()).unwrap();
    }
    let closed = std::sync::Mutex::new(vec![]);
    receiver.inbox.both_closed(|package| closed.lock().unwrap().push(package)).await;
    let closed = closed.into_inner().unwrap();
    assert_eq!([0, 1].map(|index| closed[index].sender), [party(0), party(1)]);
    assert!(closed.iter().all(|package| (package.parts, package.rows) == (6, 240)), "{closed:?}");
    // Once more: the same is success, and nothing is sent.
    let again = world.upload(0, receiver.address).await.unwrap();
    assert_eq!((again.parts, again.parts_skipped), (0, 6));
    assert_eq!(plain(format!("http://{}/health", receiver.health)).await, "ok receiving\n");
    let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
    for line in [
        "reshare_parts{sender=\"0\"} 6\n",
        "reshare_rows{sender=\"1\"} 240\n",
        "reshare_package_closed{sender=\"1\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    receiver.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn curl_delivers_a_package_over_http_1_and_2() {
    let world = World::new();
    let receiver = world.receiver().await;
    for (index, version) in [(0, "--http1.1"), (1, "--http2")] {
        let package = world.package(index);
        let files = Some(world.sender_files(index));
        let port = receiver.address.port();
        let parts = package.manifest().parts().iter();
        let mut deliveries: Vec<_> = parts
            .map(|part| (format!("/parts/{}", part.name), package.files().part_path(part.name)))
            .collect();
        for name in ["manifest-chain.pem", "manifest.sig"] {
            deliveries.push((format!("/{name}"), package.directory().join(name)));
        }
        deliveries.push(("/manifest".to_owned(), package.directory().join("manifest.json")));
        for (path, file) in deliveries {
            let (digest, path) = (sha256_of(&file), format!("{}{path}", place(&world, index)));
            let arguments = [version, "-H", &digest, "-T", file.to_str().unwrap()];
            let first = curl(&world, port, files, &path, &arguments).await;
            assert_eq!(first.status, 201, "{first:?}");
            let again = curl(&world, port, files, &path, &arguments).await;
            assert_eq!(again.status, 204, "{again:?}");
        }
        let list = curl(&world, port, files, &place(&world, index), &[version]).await;
        assert!(list.body.starts_with("{\"closed\":true,\"parts\":[{\"name\":\"part-000000.age\""));
        assert_same_directory(package.directory(), &receiver.package(index));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_may_be_started_again_in_the_middle() {
    let world = World::new();
    let receiver = world.receiver().await;
    let (address, package) = (receiver.address, world.package(0));
    let place = place(&world, 0);
    for part in &package.manifest().parts()[..3] {
        let file = package.files().part_path(part.name);
        let path = format!("{place}/parts/{}", part.name);
        let digest = sha256_of(&file);
        let arguments = ["-H", &digest, "-T", file.to_str().unwrap()];
        let files = Some(world.sender_files(0));
        let answer = curl(&world, address.port(), files, &path, &arguments).await;
        assert_eq!(answer.status, 201, "{answer:?}");
    }
    let leftover = receiver.package(0).join(".part-000004.age.tmp-Abcd1234");
    fs::write(&leftover, b"half").unwrap();
    receiver.stop().await;
    // The sender starts while no receiver listens, and waits for the receiver.
    let target = world.target(0, address);
    let uploading = tokio::spawn(async move { upload_to(&package, &target).await });
    let limits = Limits { keep_free_bytes: 0, ..Default::default() };
    let receiver = world.receiver_at(address, limits).await;
    let report = uploading.await.unwrap().unwrap();
    assert_eq!((report.parts, report.parts_skipped), (3, 3));
    assert_same_directory(world.package(0).directory(), &receiver.package(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_is_not_closed_over_a_part_that_is_still_on_its_way() {
    let world = World::new();
    let body_timeout = Duration::from_secs(1);
    let limits = Limits { body_timeout, keep_free_bytes: 0, ..Limits::default() };
    let receiver = world.receiver_with(limits).await;
    let (way, stalling) = cutting_proxy::start_stalling(receiver.address, 100_000).await;
    // A sender that dies without closing: to the receiver its connection is open and silent.
    let (package, target) = (world.package(0), world.target(0, way));
    let dying = tokio::spawn(async move { upload_to(&package, &target).await });
    while receiver.files().is_empty() {
        tokio::task::yield_now().await;
    }
    dying.abort();
    world.upload(0, receiver.address).await.unwrap();
    assert_same_directory(world.package(0).directory(), &receiver.package(0));
    stalling.abort();
    let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
    assert!(metrics.contains("reason=\"underway\""), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_uploads_of_one_package_at_once_do_no_harm() {
    let world = World::new();
    let receiver = world.receiver().await;
    let (first, second) =
        tokio::join!(world.upload(1, receiver.address), world.upload(1, receiver.address));
    first.unwrap();
    second.unwrap();
    assert_same_directory(world.package(1).directory(), &receiver.package(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_may_be_replaced_until_the_manifest_comes_and_never_after() {
    let world = World::new();
    let receiver = world.receiver().await;
    let other = world.package_of(&world.session, 0, "sealed-again");
    let part = other.files().part_path(other.manifest().parts()[0].name);
    let (digest, path) = (sha256_of(&part), format!("{}/parts/part-000000.age", place(&world, 0)));
    let arguments = ["-H", &digest, "-T", part.to_str().unwrap()];
    let port = receiver.address.port();
    let files = Some(world.sender_files(0));
    assert_eq!(curl(&world, port, files, &path, &arguments).await.status, 201);
    // A part of an earlier attempt that the manifest does not list is removed when it arrives.
    let extra = format!("{}/parts/part-000099.age", place(&world, 0));
    assert_eq!(curl(&world, port, files, &extra, &arguments).await.status, 201);
    let target = world.target(0, receiver.address);
    // Another sender than one that knows all of these parts replaces nothing.
    let error = upload_to(&world.package(0), &target).await.unwrap_err();
    assert!(matches!(error, ClientError::UnknownPart { .. }), "{error:?}");
    upload_again(&world.package(0), &target).await.unwrap();
    assert_same_directory(world.package(0).directory(), &receiver.package(0));
    curl(&world, port, files, &path, &arguments).await.assert_refused(409, "closed");
    assert_same_directory(world.package(0).directory(), &receiver.package(0));
    let error = upload_again(&other, &target).await.unwrap_err();
    assert!(matches!(error, ClientError::ClosedOtherwise), "{error:?}");
    let metrics = plain(format!("http://{}/metrics", receiver.health)).await;
    assert!(metrics.contains("reshare_refused_total{reason=\"closed\"} 1\n"), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_down_is_given_up() {
    let world = World::new();
    let receiver = world.receiver().await;
    let address = receiver.address;
    receiver.stop().await;
    let give_up_after = Duration::from_millis(500);
    let options = ClientOptions { give_up_after, ..ClientOptions::default() };
    let target = world.target_with(0, address, options);
    let error = upload_to(&world.package(0), &target).await.unwrap_err();
    assert!(matches!(error, ClientError::GaveUp { attempts: 2.., .. }), "{error:?}");
    assert!(!error.is_refusal());
}
