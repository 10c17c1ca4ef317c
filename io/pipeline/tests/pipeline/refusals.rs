//! Packages that a receiver refuses: nothing is written then.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_files::fault::Refusable;
use reshare_format::keys::{AgreementKey, Identity, SealKind, SharedKey};
use reshare_format::package::{
    ManifestContent, Package, PackageExpectations, PackageWriter, PartName, read_manifest,
};
use reshare_format::session::{Session, SessionIds};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::merge::merge;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::sender::{Agreed, SenderKeys, SenderKeysError};

use crate::support::{
    SENDERS, TARGET, World, agree, assert_refusal, file_names, shared_key, workers,
};

const MANIFEST: &str = "manifest.json";

/// Forty rows, sent in parts of seven and eleven.
async fn sent() -> World {
    let world = World::new(&(1..=40).collect::<Vec<_>>()).await;
    world.send_both([7, 11]).await;
    world
}

fn part_path(directory: &Path, index: u64) -> PathBuf {
    directory.join(PartName::new(index).to_string())
}

/// Flips one bit, so many bytes from the end of a file.
fn flip_from_end(path: &Path, distance: usize) {
    let mut bytes = fs::read(path).expect("read");
    let position = bytes.len() - distance;
    bytes[position] ^= 0x10;
    fs::write(path, bytes).expect("written");
}

fn expectations(world: &World, side: usize) -> PackageExpectations {
    let session = &world.session;
    PackageExpectations {
        session_id: session.id().to_string(),
        fingerprint: session.fingerprint(),
        sender: world.cast.senders[side],
        receiver: session.receiver().party,
        layout: Arc::clone(session.layout()),
        ids: session.ids().range(),
        max_part_bytes: session.max_part_bytes(),
        trust: None,
    }
}

/// Seals one sender's package again in its place, with blinded rows that were changed.
fn reseal(world: &World, side: usize, mut change: impl FnMut(u64, &mut RowBatch)) {
    let directory = world.cast.path(SENDERS[side]);
    let package = Package::open(&directory, expectations(world, side)).expect("good");
    let resealed = world.cast.path("resealed");
    let recipient = world.session.receiver().recipient.clone();
    let writer = PackageWriter::create(&resealed, expectations(world, side), recipient);
    let writer = writer.expect("made");
    let mut content = package.manifest().content().clone();
    for entry in &mut content.parts {
        let rows = usize::try_from(entry.rows).expect("few");
        let mut batch = RowBatch::with_capacity(Arc::clone(&world.layout), rows);
        package.files().open_part(entry, &world.cast.identity, &mut batch).expect("opened");
        change(entry.name.index(), &mut batch);
        let part = writer.seal(entry.name.index(), entry.ids, &batch.rows()).expect("sealed");
        (entry.sealed_bytes, entry.sealed_digest) = (part.sealed_bytes, part.sealed_digest);
    }
    writer.close(&content).expect("closed");
    fs::remove_dir_all(&directory).expect("removed");
    fs::rename(&resealed, &directory).expect("renamed");
}

/// Writes another manifest that is valid in itself.
fn rewrite_manifest(directory: &Path, change: impl FnOnce(&mut ManifestContent)) {
    let mut content = read_manifest(directory).expect("a manifest").claims().clone();
    change(&mut content);
    fs::write(directory.join(MANIFEST), content.to_bytes().expect("sound")).expect("written");
}

/// Neither a merge nor a rebuild takes the packages, and neither leaves anything behind.
async fn assert_both_refuse(world: &mut World, text: &str) {
    let before = file_names(world.cast.scratch.path());
    let packages = match world.packages() {
        Ok(packages) => packages,
        Err(error) => return assert_refusal(&error, text),
    };
    let file = world.cast.path("rebuilt");
    let merged = merge_to(&world.session, &packages, &file).await;
    assert_refusal(&merged.expect_err("must be refused"), text);
    assert_eq!(file_names(world.cast.scratch.path()), before, "no file is left behind");
    let rebuilt = world.try_rebuild(&packages).await;
    assert_refusal(&rebuilt.expect_err("must be refused"), text);
    world.place.assert_target_untouched().await;
}

async fn merge_to(
    session: &Session,
    packages: &Arc<Packages>,
    file: &Path,
) -> Result<u64, PipelineError> {
    let packages = Arc::clone(packages);
    merge(session, packages, file, workers(2, 7), Arc::default()).await.map(|report| report.rows)
}

#[tokio::test(flavor = "multi_thread")]
async fn two_packages_of_one_sender_are_refused() {
    let world = sent().await;
    world.try_send(0, "again", 5).await.expect("sent");
    let (lower, again) = (world.cast.path(SENDERS[0]), world.cast.path("again"));
    for directories in [[&lower, &lower], [&lower, &again]] {
        let directories = directories.map(PathBuf::as_path);
        let refused = world.cast.packages(&world.session, directories).err();
        assert_refusal(&refused.expect("must be refused"), "both packages are of sender 0");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_made_with_different_keys_are_refused() {
    let mut world = sent().await;
    rewrite_manifest(&world.cast.path(SENDERS[1]), |content| content.key_check[3] ^= 1);
    assert_both_refuse(&mut world, "senders 0 and 2 blinded with different keys").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_no_senders_sends_nothing() {
    let world = World::empty().await;
    let stranger = AgreementKey::generate().expect("made");
    let refused = agree(&world.session, &stranger).expect_err("must be refused");
    assert!(matches!(refused, SenderKeysError::NotASender { .. }));
    let (own, other) = (&world.cast.keys[0], SharedKey::new([1; 32]));
    let public = AgreementKey::generate().expect("made");
    let public = public.encapsulation_key().expect("one of ML-KEM");
    let encapsulated = public.encapsulate().expect("made");
    let shared_key = shared_key();
    for (agreed, says) in [
        (Agreed::default(), "is missing"),
        (Agreed { shared_key: Some(&other), encapsulated: None }, "the shared key has id"),
        (
            Agreed { shared_key: Some(&shared_key), encapsulated: Some(&encapsulated) },
            "the session has no key for it",
        ),
    ] {
        let refused = SenderKeys::agree(&world.session, own, agreed).expect_err("must be refused");
        assert!(refused.to_string().contains(says), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_of_another_session_is_refused() {
    let mut world = sent().await;
    let ids = SessionIds::Range(world.session.ids().range());
    let other = world.cast.session(&world.layout, ids);
    let first = std::mem::replace(&mut world.session, other);
    fs::remove_dir_all(world.cast.path(SENDERS[1])).expect("removed");
    world.try_send(1, SENDERS[1], 11).await.expect("sent");
    world.session = first;
    assert_both_refuse(&mut world, "session").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_of_a_party_that_does_not_send_is_refused() {
    let mut world = sent().await;
    let receiver = world.session.receiver().party;
    rewrite_manifest(&world.cast.path(SENDERS[1]), |content| content.sender = receiver);
    assert_both_refuse(&mut world, "party 1 is no sender of this session").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_and_an_extra_part_are_refused() {
    let mut world = sent().await;
    let directory = world.cast.path(SENDERS[0]);
    let (part, aside) = (part_path(&directory, 3), world.cast.path("aside"));
    fs::rename(&part, &aside).expect("moved");
    assert_both_refuse(&mut world, "part-000003.age").await;
    fs::rename(&aside, &part).expect("moved");
    fs::copy(&part, part_path(&directory, 99)).expect("copied");
    assert_both_refuse(&mut world, "part-000099.age").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_without_its_manifest_may_only_be_unfinished() {
    let world = sent().await;
    fs::remove_file(world.cast.path(SENDERS[0]).join(MANIFEST)).expect("removed");
    let error = world.packages().err().expect("there is no manifest");
    assert!(!error.is_refusal(), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_in_each_others_place_are_refused() {
    let mut world = sent().await;
    let directory = world.cast.path(SENDERS[0]);
    let (one, two) = (part_path(&directory, 1), part_path(&directory, 2));
    let aside = world.cast.path("aside");
    for (from, to) in [(&one, &aside), (&two, &one), (&aside, &two)] {
        fs::rename(from, to).expect("moved");
    }
    assert_both_refuse(&mut world, "part-00000").await;
    // Even where the manifest was changed with them: the part itself knows its place.
    rewrite_manifest(&directory, |content| {
        let [one, two] = [1, 2].map(|part| content.parts[part].clone());
        (content.parts[1].sealed_bytes, content.parts[1].sealed_digest) =
            (two.sealed_bytes, two.sealed_digest);
        (content.parts[2].sealed_bytes, content.parts[2].sealed_digest) =
            (one.sealed_bytes, one.sealed_digest);
    });
    assert_both_refuse(&mut world, "part-00000").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_part_of_the_other_sender_is_refused() {
    let mut world = World::new(&(1..=20).collect::<Vec<_>>()).await;
    world.send_both([5, 5]).await;
    let [lower, higher] = SENDERS.map(|name| world.cast.path(name));
    fs::copy(part_path(&higher, 3), part_path(&lower, 3)).expect("copied");
    let other = read_manifest(&higher).expect("a manifest").claims().parts[3].clone();
    rewrite_manifest(&lower, |content| {
        (content.parts[3].sealed_bytes, content.parts[3].sealed_digest) =
            (other.sealed_bytes, other.sealed_digest);
    });
    assert_both_refuse(&mut world, "party").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_identity_is_refused() {
    let world = sent().await;
    let directories = SENDERS.map(|name| world.cast.path(name));
    let stranger = Identity::generate(SealKind::Hybrid);
    let refused = Packages::open(&world.session, directories, stranger).err();
    assert_refusal(&refused.expect("must be refused"), "not that of the session's recipient");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_row_check_in_the_last_row_is_refused_before_anything_is_written() {
    let mut world = sent().await;
    reseal(&world, 1, |index, batch| {
        if index == 3 {
            let last = batch.len() - 1;
            batch.rows_mut().row_checks[last][7] ^= 1;
        }
    });
    assert_both_refuse(&mut world, "row 40: the row checks of the two senders differ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_whose_version_was_changed_on_the_way_is_left_over() {
    let mut world = sent().await;
    reseal(&world, 0, |index, batch| {
        if index == 0 {
            batch.rows_mut().agree[0].set(4, AgreeValue::Integer(77));
        }
    });
    let report = world.rebuild(&world.packages().expect("both are good")).await;
    assert_eq!((report.rows, report.leftovers.disagreeing), (39, vec![5]));
    world.place.run("DELETE FROM reference.rows WHERE id = 5").await;
    assert_eq!(world.equal_rows().await, 39);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_in_the_first_part_is_refused_before_anything_is_written() {
    let mut world = sent().await;
    flip_from_end(&part_path(&world.cast.path(SENDERS[0]), 0), 100);
    assert_both_refuse(&mut world, "part-000000.age").await;
}

/// A rebuild is one pass: rows before a part with changed shares are already loaded, are correct,
/// and stay.
#[tokio::test(flavor = "multi_thread")]
async fn a_changed_byte_in_the_last_part_keeps_just_its_rows_out() {
    let mut world = sent().await;
    let last = part_path(&world.cast.path(SENDERS[1]), 3);
    let good = fs::read(&last).expect("read");
    flip_from_end(&last, 1);
    let packages = world.packages().expect("sizes and names are good");
    let file = world.cast.path("rebuilt");
    let merged = merge_to(&world.session, &packages, &file).await;
    assert_refusal(&merged.expect_err("must be refused"), "part-000003.age");
    assert!(!file.exists());
    let rebuilt = world.try_rebuild(&packages).await;
    assert_refusal(&rebuilt.expect_err("must be refused"), "part-000003.age");
    let rows = world.place.rows_in(TARGET).await;
    let from_the_part = format!("SELECT count(*) FROM {TARGET}.rows WHERE id > 33");
    assert_eq!(world.place.number(&from_the_part).await, 0);
    fs::write(&last, good).expect("written");
    let report = world.rebuild(&packages).await;
    assert_eq!((report.rows, report.rows_skipped), (40 - rows as u64, rows as u64));
    assert_eq!(world.equal_rows().await, 40);
}
