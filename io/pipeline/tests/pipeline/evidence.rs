//! Ledgers that are lost, copied or rolled back while what they have sealed is still there: no row
//! is blinded twice with two contents, however it comes about.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_files::durable::faults::{Fault, Faults, Plan};
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_fixtures::network::copy_directory;
use reshare_format::package::{PackageExpectations, PartEntry, PartFiles, PartName};
use reshare_format::session::{Session, SessionIds};
use reshare_format::share_file::{Kind, ShareFileSpec, ShareFileWriter};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::evidence::{Evidence, find_evidence};
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::pack::pack;
use reshare_pipeline::sealer::PackReport;
use reshare_pipeline::sender::LedgeredSender;
use tokio::runtime::Runtime;

use crate::support::{Cast, agree, file_names, range, small_layout, workers};

/// What may happen to a sender, its ledger and its packages.
#[derive(Debug, Clone, Copy)]
enum Event {
    /// The shares of a row change, and nothing else of it.
    Change(i64),
    /// A row gets another version, with other shares.
    Raise(i64),
    /// A run makes a package; its disk may fail at some call. Before, the manifest may be removed.
    Pack {
        directory: usize,
        fails_at: Option<u64>,
        reopen: bool,
    },
    /// The operator approves the session again, and names both directories.
    Approve,
    LoseLedger,
    LoseState,
    Backup,
    /// Files of the backup take the place of those that are there.
    Restore,
    /// The ledger is written back into the file that it was, the register is not.
    WriteLedgerBack,
    /// All files are as they were, as after the rollback of a disk's snapshot.
    RollBack,
    /// The state directory moves to another disk, and the ledger is adopted there.
    Move,
    RemovePart(usize),
    RemovePackages,
}

const IDS: [i64; 3] = [1, 2, 3];
const DIRECTORIES: [&str; 2] = ["first", "second"];

fn event() -> impl Strategy<Value = Event> {
    let id = || prop::sample::select(IDS.to_vec());
    let pack = (0..2_usize, prop::option::weighted(0.3, 1..30_u64), any::<bool>());
    let pack =
        pack.prop_map(|(directory, fails_at, reopen)| Event::Pack { directory, fails_at, reopen });
    prop_oneof![
        6 => pack,
        4 => id().prop_map(Event::Change),
        1 => id().prop_map(Event::Raise),
        3 => Just(Event::Approve),
        1 => Just(Event::LoseLedger),
        1 => Just(Event::LoseState),
        2 => Just(Event::Backup),
        1 => Just(Event::Restore),
        2 => Just(Event::WriteLedgerBack),
        1 => Just(Event::RollBack),
        1 => Just(Event::Move),
        1 => (0..3_usize).prop_map(Event::RemovePart),
        1 => Just(Event::RemovePackages),
    ]
}

/// A sender, and a receiver that keeps all that it has ever seen.
struct World<'a> {
    runtime: &'a Runtime,
    cast: Cast,
    layout: Arc<RowLayout>,
    session: Session,
    /// The version and the content of each row.
    rows: BTreeMap<i64, (i64, u8)>,
    /// How to open each part that was ever recorded.
    entries: BTreeMap<(PartName, [u8; 32]), PartEntry>,
    /// The blinded shares of each row and version.
    seen: BTreeMap<(i64, i64), BTreeSet<Vec<u16>>>,
    packed: u64,
    /// A package, or a part of one, is not where the sender sees it any more.
    is_package_lost: bool,
    /// Of a time after a row was blinded, nothing in the state directory knows.
    is_state_lost: bool,
    /// The state directory is as it was before, and nothing in it shows that.
    is_rolled_back: bool,
    /// All that could have shown the loss is gone: two contents may be readable.
    is_without_evidence: bool,
}

impl<'a> World<'a> {
    fn new(runtime: &'a Runtime) -> Self {
        let (cast, layout) = (Cast::new([0, 2], 1), small_layout());
        let session = cast.session(&layout, SessionIds::Range(range(1, 3)));
        let world = Self {
            runtime,
            cast,
            layout,
            session,
            rows: IDS.map(|id| (id, (1, 0))).into(),
            entries: BTreeMap::new(),
            seen: BTreeMap::new(),
            packed: 0,
            is_package_lost: false,
            is_state_lost: false,
            is_rolled_back: false,
            is_without_evidence: false,
        };
        assert!(Ledger::create(world.state(), &world.fingerprint(), world.sender()).expect("made"));
        world
    }

    fn fingerprint(&self) -> Fingerprint {
        self.session.fingerprint()
    }

    fn sender(&self) -> PartyId {
        self.cast.senders[0]
    }

    fn state(&self) -> &Path {
        self.cast.state()
    }

    fn backup(&self) -> PathBuf {
        self.cast.path("backup")
    }

    fn ledger(&self) -> PathBuf {
        Ledger::path_in(self.state(), &self.fingerprint(), self.sender())
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Change(id) => self.row(id).1 += 1,
            Event::Raise(id) => {
                let row = self.row(id);
                *row = (row.0 + 1, row.1 + 1);
            }
            Event::Pack { directory, fails_at, reopen } => {
                if reopen {
                    let manifest = self.cast.path(DIRECTORIES[directory]).join("manifest.json");
                    let _ = fs::remove_file(manifest);
                }
                // What was sealed since is in the other package, where this run does not look.
                self.is_without_evidence |=
                    self.is_rolled_back && !self.parts(1 - directory).is_empty();
                let _ = self.pack(directory, fails_at);
            }
            Event::Approve => self.approve(),
            Event::LoseLedger => drop(fs::remove_file(self.ledger())),
            Event::LoseState => {
                clear(self.state());
                self.is_state_lost = true;
            }
            Event::Backup => {
                clear(&self.backup());
                copy_directory(self.state(), &self.backup());
            }
            Event::Restore if self.backup().exists() => {
                clear(self.state());
                copy_directory(&self.backup(), self.state());
            }
            Event::WriteLedgerBack => self.write_back(&[self.ledger()]),
            Event::RollBack => {
                self.write_back(&[self.ledger(), self.state().join("register")]);
                self.is_rolled_back = true;
            }
            Event::Move => self.move_state(),
            Event::RemovePart(nth) => {
                for (directory, name) in DIRECTORIES.into_iter().enumerate() {
                    if let Some(part) = self.parts(directory).get(nth) {
                        let path = self.cast.path(name);
                        let _ = fs::remove_file(path.join("manifest.json"));
                        fs::remove_file(path.join(part)).expect("removed");
                        self.is_package_lost = true;
                    }
                }
            }
            Event::RemovePackages => {
                for name in DIRECTORIES {
                    self.is_package_lost |= fs::remove_dir_all(self.cast.path(name)).is_ok();
                }
            }
            Event::Restore => {}
        }
        self.is_without_evidence |=
            self.is_package_lost && (self.is_state_lost || self.is_rolled_back);
        self.receive();
    }

    fn row(&mut self, id: i64) -> &mut (i64, u8) {
        self.rows.get_mut(&id).expect("a row")
    }

    /// The names of the parts in a package.
    fn parts(&self, directory: usize) -> Vec<String> {
        let path = self.cast.path(DIRECTORIES[directory]);
        if !path.exists() {
            return vec![];
        }
        file_names(&path).into_iter().filter(|name| name.starts_with("part-")).collect()
    }

    fn approve(&self) {
        let (state, fingerprint) = (self.state(), self.fingerprint());
        if !self.ledger().exists() {
            let packages = DIRECTORIES.map(|name| self.cast.path(name));
            for package in packages.iter().filter(|package| package.exists()) {
                let found = find_evidence(&self.session, self.sender(), package);
                if found.expect("readable").is_some() {
                    return;
                }
            }
        }
        if let Err(error) = Ledger::create(state, &fingerprint, self.sender()) {
            assert!(error.is_refusal(), "{error:?}");
        }
    }

    fn pack(
        &mut self,
        directory: usize,
        fails_at: Option<u64>,
    ) -> Result<PackReport, PipelineError> {
        let keys = agree(&self.session, &self.cast.keys[0]).expect("a sender");
        let file = self.write_rows();
        let faults = fails_at.map(|nth| {
            let fault = Fault::Error(ErrorKind::Other);
            let plan = Plan { calls: vec![], nth, count: u64::MAX, fault };
            Faults::plan(self.cast.path(DIRECTORIES[directory]), plan)
        });
        let ledger = Ledger::open(self.state(), &self.fingerprint(), self.sender())?;
        let sender = LedgeredSender::new(&self.session, keys, ledger).expect("its own");
        let to = self.cast.path(DIRECTORIES[directory]);
        let packing = pack(&self.session, sender, &file, &to, workers(1, 1), Arc::default());
        let packed = self.runtime.block_on(packing);
        drop(faults);
        let figures = Ledger::glance(self.state(), &self.fingerprint(), self.sender());
        for part in figures.expect("sound").parts {
            self.entries.insert((part.name(), *part.sealed_digest.as_bytes()), part.entry());
        }
        packed
    }

    /// Writes the rows as they are now to a share file.
    fn write_rows(&mut self) -> PathBuf {
        let mut batch = RowBatch::with_capacity(Arc::clone(&self.layout), IDS.len());
        for (id, (version, content)) in &self.rows {
            let shares: [&[u8]; 2] = [&[*content; 16], &[*content; 8]];
            batch.push_bytes(*id, &[AgreeValue::Integer(*version)], &shares).expect("fits");
        }
        self.packed += 1;
        let path = self.cast.path(&format!("plain-{}", self.packed));
        let spec = ShareFileSpec {
            kind: Kind::Plain,
            fingerprint: self.fingerprint(),
            party: self.sender(),
            part_index: 0,
            ids: IdRange::new(1, 3).expect("in order"),
            rows: IDS.len() as u64,
            layout: Arc::clone(&self.layout),
        };
        let writer = ShareFileWriter::create(&path, spec).expect("created");
        writer.write_rows(0, &batch.rows()).expect("written");
        writer.finish().expect("finished");
        path
    }

    /// Writes files of the backup into the files that are there now.
    fn write_back(&self, files: &[PathBuf]) {
        for file in files {
            let within = file.strip_prefix(self.state()).expect("in the state directory");
            if let Ok(bytes) = fs::read(self.backup().join(within))
                && file.exists()
            {
                fs::write(file, bytes).expect("written");
            }
        }
    }

    fn move_state(&self) {
        let (fingerprint, sender) = (self.fingerprint(), self.sender());
        if Ledger::examine(self.state(), &fingerprint, sender).is_err() {
            return;
        }
        let moved = self.cast.path("moved");
        copy_directory(self.state(), &moved);
        clear(self.state());
        copy_directory(&moved, self.state());
        clear(&moved);
        drop(Ledger::adopt(self.state(), &fingerprint, sender).expect("adopted"));
    }

    /// Opens every part that is there, no matter who sealed it and when.
    fn receive(&mut self) {
        let expected = PackageExpectations::of(&self.session, self.sender(), None);
        let expected = expected.expect("no certificates");
        let mut batch = RowBatch::with_capacity(Arc::clone(&self.layout), IDS.len());
        for (directory, name) in DIRECTORIES.into_iter().enumerate() {
            let path = self.cast.path(name);
            let files = PartFiles::new(&path, expected.clone());
            for part in self.parts(directory) {
                let sealed = blake3::hash(&fs::read(path.join(&part)).expect("read"));
                let name: PartName = part.parse().expect("a part");
                let entry = self.entries.get(&(name, *sealed.as_bytes()));
                let entry = entry.expect("recorded before it was there");
                files.open_part(entry, &self.cast.identity, &mut batch).expect("opened");
                let rows = batch.rows();
                for (row, id) in rows.ids.iter().enumerate() {
                    let Some(AgreeValue::Integer(version)) = rows.agree_values(row).next() else {
                        panic!("a version");
                    };
                    let shares = rows.share_row(row).flatten().copied().collect();
                    self.seen.entry((*id, version)).or_default().insert(shares);
                }
            }
        }
    }

    /// Whether the receiver has two contents of one row and version.
    fn is_broken(&self) -> bool {
        self.seen.values().any(|contents| contents.len() > 1)
    }
}

fn clear(directory: &Path) {
    if directory.exists() {
        fs::remove_dir_all(directory).expect("removed");
    }
    fs::create_dir_all(directory).expect("made");
}

fn world_after<'a>(runtime: &'a Runtime, events: &[Event]) -> World<'a> {
    let mut world = World::new(runtime);
    for event in events {
        world.happen(*event);
    }
    world
}

const PACK: Event = Event::Pack { directory: 0, fails_at: None, reopen: true };

#[test]
fn no_row_is_readable_with_two_contents_unless_all_evidence_is_gone() {
    let runtime = Runtime::new().expect("a runtime");
    let config = Config { cases: 96, failure_persistence: None, ..Config::default() };
    let events = prop::collection::vec(event(), 4..20);
    let checked = TestRunner::new(config).run(&events, |events| {
        let world = world_after(&runtime, &events);
        prop_assert!(world.is_without_evidence || !world.is_broken(), "{:?}", world.seen);
        Ok(())
    });
    checked.unwrap_or_else(|error| panic!("{error}"));
}

/// With everything gone nothing can notice, and the receiver has what it must not: the check of the
/// test above sees it.
#[test]
fn without_any_evidence_two_contents_are_readable() {
    let runtime = Runtime::new().expect("a runtime");
    let (lose, change) = ([Event::RemovePackages, Event::LoseState], Event::Change(2));
    let events = [&[PACK][..], &lose, &[Event::Approve, change, PACK]].concat();
    let world = world_after(&runtime, &events);
    assert!(world.is_without_evidence && world.is_broken());
    // Each alone is noticed.
    for kept in lose {
        let events = [PACK, kept, Event::Approve, change, PACK];
        let world = world_after(&runtime, &events);
        assert!(!world.is_without_evidence && !world.is_broken(), "{kept:?}");
    }
}

#[test]
fn a_part_of_another_ledger_ends_the_run_before_anything_is_changed() {
    let runtime = Runtime::new().expect("a runtime");
    let mut world = world_after(&runtime, &[PACK]);
    let directory = world.cast.path(DIRECTORIES[0]);
    let before: Vec<Vec<u8>> = contents(&directory);
    clear(world.state());
    // As an operator does who names nothing.
    assert!(Ledger::create(world.state(), &world.fingerprint(), world.sender()).expect("made"));
    world.happen(Event::Change(2));
    for is_closed in [true, false] {
        if !is_closed {
            fs::remove_file(directory.join("manifest.json")).expect("removed");
        }
        let refused = world.pack(0, None).expect_err("it did not seal this");
        let PipelineError::UnknownPart { part, .. } = &refused else { panic!("{refused:?}") };
        assert_eq!((part.index(), refused.is_refusal()), (0, true));
    }
    assert_eq!(contents(&directory), before[1..]);
    // With a ledger that has parts of the same names, too.
    world.pack(1, None).expect("nothing is there");
    let refused = world.pack(0, None).expect_err("it did not seal this");
    assert!(matches!(refused, PipelineError::UnknownPart { .. }), "{refused:?}");
    assert_eq!(contents(&directory), before[1..]);
}

#[test]
fn a_part_that_was_sealed_again_is_known_in_either_form() {
    let runtime = Runtime::new().expect("a runtime");
    let mut world = world_after(&runtime, &[PACK]);
    let directory = world.cast.path(DIRECTORIES[0]);
    let (part, kept) = (directory.join("part-000001.age"), world.cast.path("kept"));
    fs::rename(&part, &kept).expect("moved");
    world.happen(PACK);
    let again = fs::read(&part).expect("sealed again");
    assert_ne!(again, fs::read(&kept).expect("kept"));
    fs::rename(&kept, &part).expect("moved back");
    fs::remove_file(directory.join("manifest.json")).expect("removed");
    let report = world.pack(0, None).expect("each was recorded");
    assert_eq!((report.parts, report.parts_kept), (3, 2));
    world.receive();
    assert!(!world.is_broken());
}

#[test]
fn packages_that_show_what_was_sealed_are_evidence() {
    let runtime = Runtime::new().expect("a runtime");
    let world = world_after(&runtime, &[PACK]);
    let find = |session: &Session, sender: PartyId, path: &Path| {
        find_evidence(session, sender, path).expect("readable")
    };
    let (session, sender) = (&world.session, world.sender());
    let directory = world.cast.path(DIRECTORIES[0]);
    assert_eq!(find(session, sender, &directory), Some(Evidence::Package));
    assert_eq!(find(session, world.cast.senders[1], &directory), None);
    let other = world.cast.session(&world.layout, SessionIds::Range(range(1, 3)));
    assert_eq!(find(&other, sender, &directory), None);
    fs::remove_file(directory.join("manifest.json")).expect("removed");
    assert_eq!(find(session, sender, &directory), Some(Evidence::Parts));
    let empty = world.cast.path("empty");
    fs::create_dir(&empty).expect("made");
    assert_eq!(find(session, sender, &empty), None);
    // An inbox counts for the sender that it has parts of, and for its session.
    fs::write(empty.join("session"), format!("{}\n", session.fingerprint())).expect("written");
    assert_eq!(find(session, sender, &empty), None);
    fs::rename(&directory, empty.join(format!("sender-{sender}"))).expect("moved");
    assert_eq!(find(session, sender, &empty), Some(Evidence::Inbox));
    assert_eq!(find(session, world.cast.senders[1], &empty), None);
    assert_eq!(find(&other, sender, &empty), None);
    let file = world.cast.path("a-file");
    fs::write(&file, b"no receipt").expect("written");
    assert!(find_evidence(session, sender, &file).expect_err("no receipt").is_refusal());
    find_evidence(session, sender, &world.cast.path("nowhere")).expect_err("nothing is there");
}

/// The bytes of all files, by their names.
fn contents(directory: &Path) -> Vec<Vec<u8>> {
    let read = |name: String| fs::read(directory.join(name)).expect("read");
    file_names(directory).into_iter().map(read).collect()
}
