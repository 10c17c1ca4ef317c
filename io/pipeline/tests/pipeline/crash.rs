//! A disk that fails at any single call of a whole run, or is full: the next run has the same
//! result as an undisturbed one.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use reshare_exchange::progress::Progress;
use reshare_files::durable::faults::{Call, Fault, Faults, Plan};
use reshare_files::durable::is_temporary;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_format::package::read_manifest;
use reshare_format::share_file::Kind;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::export::export;
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::merge::merge;
use reshare_pipeline::pack::pack;
use reshare_pipeline::sealer::PackReport;
use reshare_pipeline::send::send;
use reshare_pipeline::sender::LedgeredSender;
use reshare_pipeline::verify::verify_file;

use crate::support::{REFERENCE, SENDERS, World, agree, chain, file_names, workers};

const ROWS: u64 = 20;
/// They make seven parts.
const ROWS_PER_PART: usize = 3;
/// More calls than any of these runs makes: a walk ends by itself long before.
const MANY_CALLS: u64 = 1000;

/// The commands that make a package.
#[derive(Debug, Clone, Copy)]
enum Packing {
    FromFile,
    FromTable,
}

/// A disk that is gone from a call on, as after a crash.
fn gone(nth: u64) -> Plan {
    Plan { calls: vec![], nth, count: u64::MAX, fault: Fault::Error(ErrorKind::Other) }
}

/// A disk that is full from a call on: nothing can be created, written or reserved.
fn full(nth: u64) -> Plan {
    let calls = vec![Call::Create, Call::Allocate, Call::Write];
    Plan { calls, nth, count: u64::MAX, fault: Fault::Error(ErrorKind::StorageFull) }
}

/// A single call that fails, after which the program continues.
fn once(nth: u64) -> Plan {
    Plan { calls: vec![], nth, count: 1, fault: Fault::Error(ErrorKind::Other) }
}

async fn twenty_rows() -> World {
    let world = World::new(&(1..=20).collect::<Vec<_>>()).await;
    fs::create_dir(world.cast.path("files")).expect("made");
    world
}

impl World {
    async fn export_plain(&self) -> Result<(), PipelineError> {
        let (path, source) = (self.cast.path("files/plain"), self.source(SENDERS[0]));
        let (jobs, party) = (workers(1, 5), self.cast.senders[0]);
        let made = export(&self.session, &self.ids, party, &source, &path, jobs, Arc::default());
        made.await.map(drop)
    }

    /// Also does what an approval does: creates the ledger if there is none.
    fn sender(&self) -> Result<LedgeredSender, PipelineError> {
        let keys = agree(&self.session, &self.cast.keys[0]).expect("a sender");
        let (state, fingerprint) = (self.cast.state(), self.session.fingerprint());
        Ledger::create(state, &fingerprint, keys.sender())?;
        let ledger = Ledger::open(state, &fingerprint, keys.sender())?;
        Ok(LedgeredSender::new(&self.session, keys, ledger).expect("its own"))
    }

    /// One worker, so that the n-th call is the same one every time.
    async fn pack_by(&self, packing: Packing) -> Result<PackReport, PipelineError> {
        let sender = self.sender()?;
        let (session, to) = (&self.session, self.cast.path("package"));
        let (jobs, progress) = (workers(1, ROWS_PER_PART), Arc::default());
        match packing {
            Packing::FromFile => {
                let file = self.cast.path("files/plain");
                pack(session, sender, &file, &to, jobs, progress).await
            }
            Packing::FromTable => {
                let source = self.source(SENDERS[0]);
                send(session, &self.ids, sender, &source, &to, jobs, progress).await
            }
        }
    }

    /// Removes everything that was packed, including the ledger.
    fn start_over(&self) {
        for directory in [self.cast.path("package"), self.cast.state().to_owned()] {
            if directory.exists() {
                fs::remove_dir_all(&directory).expect("removed");
            }
        }
        fs::create_dir(self.cast.state()).expect("made");
    }
}

/// The ranges and content digests of a closed package, each of its parts being whole.
fn contents(directory: &Path) -> Vec<(IdRange, blake3::Hash)> {
    let manifest = read_manifest(directory).expect("closed");
    let parts = manifest.claims().parts.clone();
    for part in &parts {
        let sealed = fs::read(directory.join(part.name.to_string())).expect("a part");
        assert_eq!(blake3::hash(&sealed), part.sealed_digest, "{}", part.name);
    }
    parts.iter().map(|part| (part.ids, part.content_digest)).collect()
}

/// The parts under final names.
fn parts_in(directory: &Path) -> BTreeMap<String, Vec<u8>> {
    let names = if directory.exists() { file_names(directory) } else { vec![] };
    let parts = names.into_iter().filter(|name| name.starts_with("part-"));
    parts.map(|name| (name.clone(), fs::read(directory.join(name)).expect("read"))).collect()
}

fn assert_no_leftovers(directory: &Path) {
    let names = file_names(directory);
    assert!(!names.iter().any(|name| is_temporary(name.as_ref())), "{names:?}");
}

/// Whether a crashed run may have succeeded: only after its last call.
fn assert_fails_as_planned(crashed: &PipelineError, nth: u64) {
    let shown = chain(crashed);
    assert!(!crashed.is_refusal(), "{nth}: {shown}");
    assert!(shown.contains("as planned"), "{nth}: {shown}");
}

/// Fails a run at each of its calls below one directory, and runs again.
async fn walk_packing(packing: Packing, below: impl Fn(&World) -> &Path, plan: fn(u64) -> Plan) {
    let world = twenty_rows().await;
    world.export_plain().await.expect("exported");
    let mut kept = 0;
    for nth in 1..MANY_CALLS {
        world.start_over();
        let faults = Faults::plan(below(&world), plan(nth));
        let crashed = world.pack_by(packing).await;
        let was_met = faults.seen() >= nth;
        drop(faults);
        let package = world.cast.path("package");
        let parts = parts_in(&package);
        let again = world.pack_by(packing).await;
        let again = again.unwrap_or_else(|error| panic!("{nth}: {}", chain(&error)));
        assert_eq!((again.rows, again.parts), (ROWS, 7), "{nth}");
        assert!(again.changed_without_version.is_empty(), "{nth}: {again:?}");
        assert_no_leftovers(&package);
        let first = contents(&package);
        // No file that had its final name was written again.
        let now = parts_in(&package);
        assert!(parts.iter().all(|(name, bytes)| now[name] == *bytes), "{nth}");
        let skipped = if again.closed_before { 7 } else { again.parts_kept };
        assert_eq!(skipped, parts.len() as u64, "{nth}: {again:?}");
        kept += again.parts_kept;
        match crashed {
            Err(error) => assert_fails_as_planned(&error, nth),
            Ok(report) => assert!(again.closed_before && report.rows == ROWS, "{nth}"),
        }
        // The ledger has the same contents: another place gets the same digests.
        fs::rename(&package, world.cast.path("first")).expect("moved");
        world.pack_by(packing).await.expect("packed");
        assert_eq!(contents(&package), first, "{nth}");
        fs::remove_dir_all(world.cast.path("first")).expect("removed");
        if !was_met {
            assert!(nth > 10, "only {nth} calls");
            assert!(kept > 10, "only {kept} parts were kept in all");
            return;
        }
    }
    panic!("the walk does not end");
}

fn scratch(world: &World) -> &Path {
    world.cast.scratch.path()
}

fn state(world: &World) -> &Path {
    world.cast.state()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_whose_disk_dies_at_any_call_continues_where_it_was() {
    walk_packing(Packing::FromFile, scratch, gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pack_whose_ledger_dies_at_any_call_continues_where_it_was() {
    walk_packing(Packing::FromFile, state, gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_whose_disk_or_ledger_dies_at_any_call_continues_where_it_was() {
    walk_packing(Packing::FromTable, scratch, gone).await;
    walk_packing(Packing::FromTable, state, gone).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_fails_once_is_no_less_harmless() {
    walk_packing(Packing::FromFile, scratch, once).await;
    walk_packing(Packing::FromFile, state, once).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_send_without_room_continues_where_it_was_when_room_is_made() {
    walk_packing(Packing::FromTable, scratch, full).await;
    walk_packing(Packing::FromTable, state, full).await;
}

/// Makes one file with a failure at each of its calls, and then again without.
async fn walk_file<T>(
    world: &World,
    plan: fn(u64) -> Plan,
    make: impl AsyncFn() -> Result<T, PipelineError>,
) {
    let files = world.cast.path("files");
    for nth in 1..MANY_CALLS {
        let faults = Faults::plan(&files, plan(nth));
        let crashed = make().await;
        let was_met = faults.seen() >= nth;
        drop(faults);
        let Err(error) = crashed else {
            assert!(!was_met, "{nth}: a failed call was not noticed");
            assert_eq!(file_names(&files).len(), 1);
            assert!(nth > 5, "only {nth} calls");
            return;
        };
        assert_fails_as_planned(&error, nth);
        // The name may be there only if nothing but its durability is uncertain.
        let names = file_names(&files);
        assert!(names.is_empty() || chain(&error).contains("SyncDirectory"), "{nth}: {names:?}");
        make().await.unwrap_or_else(|error| panic!("{nth}: {}", chain(&error)));
        let [name] = &file_names(&files)[..] else { panic!("{nth}: more than one file") };
        fs::remove_file(files.join(name)).expect("removed");
    }
    panic!("the walk does not end");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_dies_at_any_call_leaves_a_whole_file_or_none() {
    let world = twenty_rows().await;
    for plan in [gone, full, once] {
        walk_file(&world, plan, async || world.export_plain().await).await;
        let table = world.source(SENDERS[0]);
        world.assert_plain_file_equals(&world.cast.path("files/plain"), &table, ROWS).await;
        fs::remove_file(world.cast.path("files/plain")).expect("removed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_dies_at_any_call_leaves_a_whole_file_or_none() {
    let world = twenty_rows().await;
    let packages = world.send_both([7, 3]).await;
    let file = world.cast.path("files/rebuilt");
    for plan in [gone, full, once] {
        let make = async || {
            let packages = Arc::clone(&packages);
            merge(&world.session, packages, &file, workers(1, 4), Arc::default()).await
        };
        walk_file(&world, plan, make).await;
        let (table, progress) = (world.source(REFERENCE), Progress::default());
        let found =
            verify_file(&world.session, &file, Kind::Rebuilt, &table, workers(1, 6), &progress);
        let found = found.await.expect("compared");
        assert!(found.is_equal() && found.rows_equal == ROWS, "{found:?}");
        fs::remove_file(&file).expect("removed");
    }
}
