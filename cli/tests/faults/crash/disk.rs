//! Disks that are full: a sender's, the inbox's, the database's.

use std::sync::Arc;

use super::tmpfs::SmallDisk;
use super::world::{PARTS, ROWS, World, contents, names, parts, start_cluster};

/// Room for a few parts and not for all.
const ROOM: u64 = 1_400_000;

#[test]
fn a_send_without_room_says_so_and_continues_when_room_is_made() {
    let world = World::new();
    let mut disk = SmallDisk::with_room(ROOM, None);
    let package = disk.path().join("p0");
    let to = package.to_str().expect("UTF-8").to_owned();
    let url = &world.databases[0];
    let export = ["export", "--party-id", "0", "--db-url", url, "--out"];
    let file = disk.path().join("e.rsh");
    let full = world.run_as("0", &[&export[..], &[file.to_str().expect("UTF-8")]].concat());
    full.ends_with(1).says(&["No space left on device"]).says(&["make room on the disk"]);
    assert!(names(&disk.path()).is_empty());
    let full = world.run_as("0", &World::send(url, "0", &to)).ends_with(1);
    full.says(&["No space left on device"]).says(&["make room on the disk"]).says(&["part-0000"]);
    let kept = parts(&package);
    // Whole parts, and their records.
    let there = names(&package);
    assert!(!kept.is_empty() && there.len() == kept.len() + 1, "{there:?}");
    disk.make_room();
    let run = world.run_as("0", &World::send(url, "0", &to)).ends_with(0);
    assert_eq!(run.number("parts_kept"), kept.len() as u64);
    let now = parts(&package);
    assert!(kept.iter().all(|part| now.contains(part)));
    world.run_as("0", &World::send(url, "0", "again")).ends_with(0);
    assert_eq!(contents(&package), contents(&world.path("again")));
}

#[test]
fn an_inbox_without_room_holds_the_sender_up_until_room_is_made() {
    let world = World::new();
    let mut disk = SmallDisk::with_room(ROOM, None);
    let inbox = disk.path().join("inbox");
    let mut receiver = world.receive(inbox.to_str().expect("UTF-8"));
    let server = receiver.url();
    let to = ["--db-url", &world.databases[0], "--server-url", &server, "--retry-for", "600"];
    let mut sending = world.start_as("0", &World::sender("send", "0", &to));
    receiver.says(&["disk-full"]);
    assert!(sending.is_running());
    assert!(!inbox.join("sender-0/manifest.json").exists());
    disk.make_room();
    let run = sending.finish().ends_with(0);
    assert_eq!((run.number("parts"), run.number("rows")), (PARTS, ROWS));
    assert_eq!(contents(&inbox.join("sender-0")).len() as u64, PARTS);
}

#[test]
fn a_sender_that_gives_up_on_a_full_inbox_says_whose_disk_it_is_and_continues_later() {
    let world = World::new();
    let mut disk = SmallDisk::with_room(ROOM, None);
    let inbox = disk.path().join("inbox");
    let mut receiver = world.receive(inbox.to_str().expect("UTF-8"));
    let server = receiver.url();
    let to = ["-j", "1", "--db-url", &world.databases[0], "--server-url", &server];
    let send = World::sender("send", "0", &[&to[..], &["--retry-for", "1"]].concat());
    let full = world.run_as("0", &send).ends_with(1);
    let full = full.says(&["did not succeed in"]).says(&["the receiver answers 507"]);
    full.says(&["the receiver's disk is nearly full"])
        .says(&["hint: have the receiver's operator make room on the disk of its --inbox"]);
    let kept = parts(&inbox.join("sender-0"));
    assert!((1..PARTS).contains(&(kept.len() as u64)), "{} parts", kept.len());
    disk.make_room();
    world.run_as("0", &send).ends_with(0);
    assert_eq!(contents(&inbox.join("sender-0")).len() as u64, PARTS);
    let now = parts(&inbox.join("sender-0"));
    assert!(kept.iter().all(|part| now.contains(part)), "parts were delivered again");
}

#[test]
fn a_database_without_room_says_so_and_the_load_continues_when_room_is_made() {
    let cluster = start_cluster();
    let mut disk = SmallDisk::with_room(ROOM, cluster.owner().expect("a user"));
    // The disk outlives the server that has files on it.
    let world = World::on(Arc::new(cluster));
    world.send_both();
    let space = disk.path();
    world.sql(&format!("CREATE TABLESPACE small LOCATION '{}'", space.display()));
    world.sql("ALTER TABLE \"SMPC_dev_2\".irises SET TABLESPACE small");
    for _ in 0..2 {
        let full = world.run_as("2", &World::rebuild(&world.databases[2])).ends_with(1);
        full.says(&["could not extend file"]).says(&["make room on the server's disk"]);
    }
    let loaded = world.loaded_rows();
    assert!((1..ROWS).contains(&loaded), "{loaded} rows");
    disk.make_room();
    let run = world.run_as("2", &World::rebuild(&world.databases[2])).ends_with(0);
    assert_eq!((run.number("rows"), run.number("rows_skipped")), (ROWS - loaded, loaded));
    world.assert_rebuilt();
}
