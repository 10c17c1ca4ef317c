//! Packages that are closed, open, or made from something that cannot be packed.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use reshare_exchange::progress::Progress;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_format::session::SessionIds;
use reshare_format::share_file::Kind;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::export::export;
use reshare_pipeline::merge::merge;
use reshare_pipeline::pack::pack;
use reshare_pipeline::sealer::PackReport;
use reshare_pipeline::send::send;
use reshare_pipeline::verify::{verify_file, verify_tables};
use reshare_postgres::load_options::LoadOptions;

use crate::gate::Gate;
use crate::support::{
    REFERENCE, SENDERS, TARGET, World, assert_refusal, chain, file_names, workers,
};

impl World {
    async fn export(&self, side: usize, name: &str) -> PathBuf {
        let (path, source) = (self.cast.path(name), self.source(SENDERS[side]));
        let (party, workers) = (self.cast.senders[side], workers(2, 5));
        let exported =
            export(&self.session, &self.ids, party, &source, &path, workers, Arc::default()).await;
        exported.expect("exported");
        path
    }

    async fn pack(
        &self,
        side: usize,
        file: &str,
        directory: &str,
    ) -> Result<PackReport, PipelineError> {
        let sender = self.cast.sender(&self.session, side);
        let (file, directory) = (self.cast.path(file), self.cast.path(directory));
        pack(&self.session, sender, &file, &directory, workers(2, 6), Arc::default()).await
    }
}

async fn twenty_rows() -> World {
    World::new(&(1..=20).collect::<Vec<_>>()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_package_is_never_changed() {
    let world = twenty_rows().await;
    world.try_send(0, "package", 7).await.expect("sent");
    world.export(0, "plain").await;
    let directory = world.cast.path("package");
    let before = contents(&directory);
    let again = world.try_send(0, "package", 4).await.expect("is complete");
    assert!(again.closed_before && (again.parts, again.rows) == (3, 20), "{again:?}");
    let packed = world.pack(0, "plain", "package").await.expect("is complete");
    assert!(packed.closed_before);
    assert!(contents(&directory) == before, "the package was changed");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_package_keeps_its_cut_and_takes_no_part_of_no_one() {
    let world = twenty_rows().await;
    world.try_send(0, SENDERS[0], 2).await.expect("sent");
    let directory = world.cast.path(SENDERS[0]);
    fs::remove_file(directory.join("manifest.json")).expect("removed");
    let cut = file_names(&directory);
    let of_no_one = directory.join("part-000099.age");
    fs::write(&of_no_one, b"of no one").expect("written");
    let refused = world.try_send(0, SENDERS[0], 9).await.expect_err("of no one");
    assert_refusal(
        &refused,
        "part-000099.age is not a file that this sender's ledger has recorded",
    );
    fs::remove_file(&of_no_one).expect("nothing was removed");
    let report = world.try_send(0, SENDERS[0], 9).await.expect("sent");
    assert_eq!((report.parts, report.rows, report.parts_kept), (10, 20, 10));
    assert_eq!(file_names(&directory)[1..], cut);
    world.try_send(1, SENDERS[1], 7).await.expect("sent");
    world.rebuild(&world.packages().expect("both are good")).await;
    assert_eq!(world.equal_rows().await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_that_fails_leaves_no_package_and_can_be_repeated() {
    let mut world = twenty_rows().await;
    world.place.run("UPDATE lower.rows SET mask = '\\x00' WHERE id = 19").await;
    let error = world.try_send(0, SENDERS[0], 3).await.expect_err("the row is no share");
    assert_refusal(&error, "19");
    assert!(chain(&error).contains("mask"), "{}", chain(&error));
    assert!(!world.cast.path(SENDERS[0]).join("manifest.json").exists());
    let [lower, ..] = world.cast.shares(&world.layout, &(1..=20).collect::<Vec<_>>());
    world.place.run("TRUNCATE lower.rows").await;
    world.place.insert("lower", &lower.rows()).await;
    let packages = world.send_both([4, 5]).await;
    world.rebuild(&packages).await;
    assert_eq!(world.equal_rows().await, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_fails_leaves_no_file() {
    let mut world = twenty_rows().await;
    world.place.run("UPDATE lower.rows SET code = NULL WHERE id = 11").await;
    let (path, source) = (world.cast.path("plain"), world.source("lower"));
    let (party, workers) = (world.cast.senders[0], workers(2, 5));
    let exported =
        export(&world.session, &world.ids, party, &source, &path, workers, Arc::default()).await;
    assert_refusal(&exported.expect_err("the row has no share"), "11");
    assert!(file_names(world.cast.scratch.path()).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_file_that_was_changed_is_not_packed() {
    let world = twenty_rows().await;
    let path = world.export(0, "plain").await;
    let mut bytes = fs::read(&path).expect("read");
    let share = bytes.iter().rposition(|byte| *byte != 0).expect("shares are not zero");
    bytes[share] ^= 0x40;
    fs::write(&path, bytes).expect("written");
    let refused = world.pack(0, "plain", "package").await.expect_err("was changed");
    assert_refusal(&refused, "plain");
    assert!(!world.cast.path("package").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_share_file_of_another_party_session_or_kind_is_not_packed() {
    let mut world = twenty_rows().await;
    world.export(1, "of-higher").await;
    let refused = world.pack(0, "of-higher", "package").await.expect_err("another party's");
    assert_refusal(&refused, "party");
    let packages = world.send_both([7, 11]).await;
    let file = world.cast.path("rebuilt");
    let merged = merge(&world.session, packages, &file, workers(2, 7), Arc::default()).await;
    merged.expect("merged");
    let refused = world.pack(0, "rebuilt", "package").await.expect_err("another kind");
    assert_refusal(&refused, "rebuilt");
    world.export(0, "of-lower").await;
    world.session = world.cast.session(&world.layout, SessionIds::Range(IdRange::ALL));
    let refused = world.pack(0, "of-lower", "package").await.expect_err("another session's");
    assert_refusal(&refused, "session");
    assert!(!world.cast.path("package").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_larger_than_the_session_allows_are_not_made() {
    let world = twenty_rows().await;
    let too_many = world.session.part_rows_limit() + 1;
    let error = world.try_send(0, "package", too_many).await.expect_err("too many rows");
    assert!(matches!(error, PipelineError::PartRows { rows, .. } if rows == too_many));
    assert!(!error.is_refusal() && !world.cast.path("package").exists());
}

/// However many rows at once are asked for, memory for all of them is never taken.
#[tokio::test(flavor = "multi_thread")]
async fn more_rows_at_once_than_any_memory_holds_are_just_a_part_at_once() {
    let world = twenty_rows().await;
    let packages = world.send_both([7, 11]).await;
    let jobs = workers(2, usize::MAX / 64);
    let file = world.cast.path("file");
    let (session, source) = (&world.session, world.source(SENDERS[0]));
    let party = world.cast.senders[0];
    let exported = export(session, &world.ids, party, &source, &file, jobs, Arc::default()).await;
    assert_eq!(exported.expect("exported").rows, 20);
    let rebuilt = world.cast.path("rebuilt");
    let merged = merge(session, Arc::clone(&packages), &rebuilt, jobs, Arc::default()).await;
    assert_eq!(merged.expect("merged").rows, 20);
    let report = world.rebuild_with(&packages, LoadOptions::default(), jobs).await;
    assert_eq!(report.expect("rebuilt").rows, 20);
    let (reference, target) = (world.source(REFERENCE), world.source(TARGET));
    let progress = Progress::default();
    let found = verify_tables(&reference, &target, &world.ids, jobs, &progress).await;
    assert!(found.expect("compared").is_equal());
    let kind = Kind::Rebuilt;
    let found = verify_file(session, &rebuilt, kind, &reference, jobs, &progress).await;
    assert!(found.expect("compared").is_equal());
}

#[tokio::test(flavor = "multi_thread")]
async fn two_runs_never_make_one_package_together() {
    let world = twenty_rows().await;
    let gate = Gate::new(&world.place.url, world.cast.scratch.path());
    let (keys, directory) = (world.cast.sender(&world.session, 0), world.cast.path("package"));
    let (session, ids) = (world.session.clone(), world.ids.clone());
    let table = gate.source(&world, SENDERS[0]);
    let first = tokio::spawn(async move {
        send(&session, &ids, keys, &table, &directory, workers(1, 7), Arc::default()).await
    });
    let open = gate.knocked().await;
    // The other sender, by mistake. A second run of this one is refused by its ledger.
    let second = world.try_send(1, "package", 4).await.expect_err("the first one is at it");
    assert!(matches!(second, PipelineError::InUse { .. }) && !second.is_refusal(), "{second}");
    open.send(()).expect("the gate waits");
    assert_eq!(first.await.expect("no panic").expect("sent").parts, 3);
    assert!(world.try_send(0, "package", 4).await.expect("is complete").closed_before);
}

/// Names and bytes of everything in a directory.
fn contents(directory: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let read = |name: String| {
        let bytes = fs::read(directory.join(&name)).expect("read");
        (name, bytes)
    };
    file_names(directory).into_iter().map(read).collect()
}
