//! Repeated sends with one ledger: one blinding, one content.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_format::package::{PartEntry, read_manifest};

use crate::support::{SENDERS, World, chain, file_names};

const MANIFEST: &str = "manifest.json";

async fn twenty_rows() -> World {
    World::new(&(1..=20).collect::<Vec<_>>()).await
}

fn parts(world: &World, name: &str) -> Vec<PartEntry> {
    let manifest = read_manifest(&world.cast.path(name)).expect("closed");
    manifest.claims().parts.clone()
}

fn contents(parts: &[PartEntry]) -> Vec<(IdRange, blake3::Hash)> {
    parts.iter().map(|part| (part.ids, part.content_digest)).collect()
}

fn files(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| (name.clone(), fs::read(directory.join(name)).expect("read"));
    file_names(directory).into_iter().map(read).collect()
}

/// Reopens a package, as if the run had died before its manifest.
fn reopen(world: &World, name: &str) {
    fs::remove_file(world.cast.path(name).join(MANIFEST)).expect("removed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_to_another_place_has_the_same_parts_with_the_same_content() {
    let world = twenty_rows().await;
    world.try_send(0, "first", 3).await.expect("sent");
    let report = world.try_send(0, "second", 8).await.expect("sent");
    assert_eq!((report.parts, report.rows, report.parts_kept), (7, 20, 0));
    let [first, second] = ["first", "second"].map(|name| parts(&world, name));
    assert_eq!(contents(&first), contents(&second));
    assert!(first.iter().zip(&second).all(|(a, b)| a.sealed_digest != b.sealed_digest));
    assert!(report.changed_without_version.is_empty() && !report.closed_before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_changed_without_its_version_is_left_out_and_listed() {
    let mut world = twenty_rows().await;
    world.try_send(0, "first", 6).await.expect("sent");
    world.place.run("UPDATE lower.rows SET code = set_byte(code, 3, 255 - get_byte(code, 3)) WHERE id IN (7, 20)").await;
    for rows_per_part in [6, 4] {
        let report = world.try_send(0, "second", rows_per_part).await.expect("sent");
        assert_eq!(report.changed_without_version, [7, 20]);
        assert_eq!((report.parts, report.rows), (4, 18));
        reopen(&world, "second");
    }
    let kept = world.try_send(0, "second", 6).await.expect("sent");
    assert_eq!((kept.changed_without_version, kept.parts_kept), (vec![7, 20], 4));
    let closed = world.try_send(0, "second", 6).await.expect("complete");
    assert!(closed.closed_before && closed.changed_without_version == [7, 20]);
    world.place.run("UPDATE lower.rows SET version_id = version_id + 1 WHERE id = 7").await;
    let report = world.try_send(0, SENDERS[0], 6).await.expect("sent");
    assert_eq!((report.changed_without_version, report.rows), (vec![20], 19));
    world.try_send(1, SENDERS[1], 5).await.expect("sent");
    let rebuilt = world.rebuild(&world.packages().expect("both are good")).await;
    assert_eq!(rebuilt.leftovers.disagreeing, [7]);
    assert_eq!((rebuilt.leftovers.only_higher_sender, rebuilt.rows), (vec![20], 18));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_without_any_row_left_is_no_part_and_its_rows_are_listed() {
    let mut world = twenty_rows().await;
    world.try_send(0, "first", 1).await.expect("sent");
    world
        .place
        .run("UPDATE lower.rows SET mask = set_byte(mask, 0, 255 - get_byte(mask, 0)) WHERE id = 5")
        .await;
    let report = world.try_send(0, "second", 1).await.expect("sent");
    assert_eq!((report.parts, report.rows), (19, 19));
    assert_eq!(report.changed_without_version, [5]);
    let closed = world.try_send(0, "second", 1).await.expect("complete");
    assert!(closed.closed_before && closed.changed_without_version == [5]);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_parts_that_are_missing_are_sealed_again_and_a_changed_one_is_refused() {
    let world = twenty_rows().await;
    world.try_send(0, SENDERS[0], 3).await.expect("sent");
    let directory = world.cast.path(SENDERS[0]);
    let (before, listed) = (files(&directory), parts(&world, SENDERS[0]));
    reopen(&world, SENDERS[0]);
    fs::remove_file(directory.join("part-000001.age")).expect("removed");
    // As far as anyone can see it may have been sealed with another ledger.
    let mut changed = before["part-000004.age"].clone();
    changed[700] ^= 1;
    for (name, bytes) in [("part-000004.age", &changed[..]), ("part-000005.age", b"cut off")] {
        let path = directory.join(name);
        fs::write(&path, bytes).expect("written");
        let left = files(&directory);
        let refused = world.try_send(0, SENDERS[0], 11).await.expect_err("not as recorded");
        assert!(refused.is_refusal() && chain(&refused).contains(name), "{refused:?}");
        assert!(files(&directory) == left, "something was changed");
        fs::remove_file(path).expect("removed");
    }
    let report = world.try_send(0, SENDERS[0], 11).await.expect("sent");
    assert_eq!((report.parts, report.rows, report.parts_kept), (7, 20, 4));
    assert_eq!(contents(&parts(&world, SENDERS[0])), contents(&listed));
    let after = files(&directory);
    for (name, bytes) in before.iter().filter(|(name, _)| *name != MANIFEST) {
        let again = ["part-000001.age", "part-000004.age", "part-000005.age"].contains(&&**name);
        assert_eq!(after[name] != *bytes, again, "{name}");
    }
    world.try_send(1, SENDERS[1], 7).await.expect("sent");
    world.rebuild(&world.packages().expect("both are good")).await;
    assert_eq!(world.equal_rows().await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_came_and_went_get_parts_of_their_own_or_none() {
    let mut world = World::new(&(1..=40).collect::<Vec<_>>()).await;
    world
        .place
        .run(
            "CREATE TABLE lower.later AS SELECT * FROM lower.rows WHERE id IN (6, 8, 30, 39, 40); \
        DELETE FROM lower.rows WHERE id IN (6, 8, 30, 39, 40)",
        )
        .await;
    world.try_send(0, SENDERS[0], 5).await.expect("sent");
    let cut: Vec<IdRange> = parts(&world, SENDERS[0]).iter().map(|part| part.ids).collect();
    reopen(&world, SENDERS[0]);
    // Row 6 is between two parts, 8 and 30 are within parts, and the last two after all parts.
    world
        .place
        .run(
            "INSERT INTO lower.rows SELECT * FROM lower.later; \
        DELETE FROM lower.rows WHERE id BETWEEN 11 AND 15",
        )
        .await;
    let third = world.cast.path(SENDERS[0]).join("part-000001.age");
    fs::remove_file(third).expect("removed");
    let report = world.try_send(0, SENDERS[0], 3).await.expect("sent");
    let now = parts(&world, SENDERS[0]);
    assert!(cut.iter().all(|ids| now.iter().any(|part| part.ids == *ids)), "{now:?}");
    assert_eq!(report.rows, now.iter().map(|part| part.rows).sum::<u64>());
    world.try_send(1, SENDERS[1], 7).await.expect("sent");
    let rebuilt = world.rebuild(&world.packages().expect("both are good")).await;
    // A part that is kept is as it was: row 30 is not in its part, 8 is in the one sealed again.
    assert!(rebuilt.leftovers.only_higher_sender.contains(&30));
    assert!(!rebuilt.leftovers.only_higher_sender.contains(&8));
    world
        .place
        .run("DELETE FROM reference.rows WHERE id NOT IN (SELECT id FROM target.rows)")
        .await;
    assert_eq!(world.equal_rows().await, rebuilt.rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_closed_over_another_content_is_refused() {
    let mut world = twenty_rows().await;
    world.try_send(0, "first", 6).await.expect("sent");
    world.place.run("UPDATE lower.rows SET version_id = version_id + 1 WHERE id = 7").await;
    world.try_send(0, "second", 6).await.expect("sent");
    let refused = world.try_send(0, "first", 6).await.expect_err("another content");
    assert!(refused.is_refusal() && chain(&refused).contains("closed"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_breaks_continues_with_the_parts_it_had() {
    let mut world = twenty_rows().await;
    world
        .place
        .run(
            "CREATE TABLE lower.kept AS SELECT * FROM lower.rows WHERE id = 19; \
        UPDATE lower.rows SET mask = '\\x00' WHERE id = 19",
        )
        .await;
    world.try_send(0, SENDERS[0], 3).await.expect_err("the row is no share");
    let sealed = files(&world.cast.path(SENDERS[0]));
    world
        .place
        .run(
            "DELETE FROM lower.rows WHERE id = 19; INSERT INTO lower.rows SELECT * FROM lower.kept",
        )
        .await;
    let report = world.try_send(0, SENDERS[0], 4).await.expect("sent");
    assert_eq!((report.rows, report.parts_kept), (20, sealed.len() as u64));
    let after = files(&world.cast.path(SENDERS[0]));
    assert!(sealed.iter().all(|(name, bytes)| after[name] == *bytes));
}

/// Derives the keys once more from docs/format.md, with another library, and looks for them.
#[tokio::test(flavor = "multi_thread")]
async fn no_key_is_in_the_state_directory() {
    let world = twenty_rows().await;
    world.try_send(0, "package", 3).await.expect("sent");
    let manifest = read_manifest(&world.cast.path("package")).expect("closed");
    let secrets = world.cast.secrets(&world.session, &manifest.claims().key_check);
    let mut directories = vec![world.cast.state().to_owned()];
    let mut files = vec![];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).expect("listed") {
            let path = entry.expect("an entry").path();
            let list = if path.is_dir() { &mut directories } else { &mut files };
            list.push(path);
        }
    }
    assert!(files.iter().any(|file| file.ends_with("ledger-0")));
    for file in files {
        let bytes = fs::read(&file).expect("read");
        for secret in &secrets {
            for wanted in [secret[..16].to_vec(), hex::encode(&secret[..8]).into_bytes()] {
                let found = bytes.windows(wanted.len()).any(|window| window == wanted);
                assert!(!found, "{} holds a key", file.display());
            }
        }
    }
}
