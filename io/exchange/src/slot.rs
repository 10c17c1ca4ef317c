//! One sender's package in the inbox: what is durable, and how it grows and closes.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use axum::body::Bytes;
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{
    MANIFEST_NAME, Manifest, ManifestSignature, PackageExpectations, PartEntry, PartName, Totals,
    UnverifiedManifest,
};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::announced::Announced;
use super::digest::{BodyHasher, ReprDigest};
use super::inbox_error::{InboxError, USE};
use super::journal::Journal;
use super::limits::Limits;
use super::listing;
use super::part_records::{PartRecords, records_of};
use super::refusal::Refusal;
use super::sealed_buffer::SealedBuffers;
use super::standing::Standing;
use super::stored::{self, Figures, Found, Place, Stored, StoredParts};
use crate::progress::Progress;

/// A sender's package directory and its state.
pub(super) struct Slot {
    pub(super) directory: PathBuf,
    pub(super) session: PackageExpectations,
    pub(super) common: Common,
    state: Mutex<State>,
    closed: watch::Sender<bool>,
    /// Whether the sender has asked for the list after the package was closed.
    acknowledged: watch::Sender<bool>,
    /// Bytes of parts that are only in memory, and how far rows are loaded.
    moved: watch::Sender<Moved>,
    /// Seconds since 1970; 0 before a part has arrived.
    last_part_at: AtomicI64,
}

/// What changes as parts in memory come and are used.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Moved {
    pub(super) held_bytes: u64,
    pub(super) used_up_to: Option<i64>,
}

/// What both packages of an inbox share.
#[derive(Clone)]
pub(super) struct Common {
    pub(super) limits: Limits,
    /// Another one after each start.
    pub(super) instance: Arc<str>,
    /// Raised whenever a package has grown or closed.
    pub(super) grown: Arc<watch::Sender<()>>,
    /// Memory for parts that are not written to a file.
    pub(super) buffers: Arc<SealedBuffers>,
    /// Whether parts may be in memory only: somebody loads them soon.
    pub(super) may_hold: Arc<AtomicBool>,
}

/// What is known of a package. Locked while the disk is changed: never on a thread that
/// drives connections.
pub(super) struct State {
    pub(super) parts: StoredParts,
    /// What the sender has signed of them.
    pub(super) records: PartRecords,
    /// The certificates that verify records, once they were needed.
    pub(super) chain: Option<CertificateChain>,
    /// Names that may show bytes that may not be durable: the disk
    /// failed at the last moment. Not listed, and gone when the package closes.
    strays: BTreeSet<PartName>,
    /// Bytes of parts that are being received, and of those among them that go to memory.
    pub(super) pending_bytes: u64,
    pub(super) pending_held: u64,
    pub(super) pending_parts: usize,
    /// When a part in memory was last used, or the first one came.
    pub(super) last_use: Instant,
    pub(super) manifest: Option<Closed>,
    /// The disk failed so that only a restart finds out whether the package is closed.
    uncertain: bool,
    journal: Option<Journal>,
    /// The answer to `GET`, as long as nothing changes.
    pub(super) listing: Option<Bytes>,
}

#[derive(Debug, Clone)]
pub(super) struct Closed {
    blake3: blake3::Hash,
    totals: Totals,
    pub(super) key_check: [u8; 16],
    pub(super) parts: Arc<[PartEntry]>,
}

impl Closed {
    fn of(manifest: &Manifest) -> Self {
        Self {
            blake3: blake3::hash(manifest.bytes()),
            totals: manifest.totals(),
            key_check: manifest.content().key_check,
            parts: manifest.parts().into(),
        }
    }
}

/// The result of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    /// It was not there before.
    New,
    /// It replaced other bytes.
    Replaced,
    /// It is new or another than before, and only in memory until its rows are loaded.
    Held,
    /// The same bytes were already there.
    Same,
}

impl Slot {
    /// Opens or creates a package directory. Removes the unfinished files of a crash, and digests
    /// parts that are not in the journal.
    pub(super) fn open(
        directory: PathBuf,
        session: PackageExpectations,
        common: Common,
        progress: &Progress,
    ) -> Result<Self, InboxError> {
        let journal = journal_of(&directory);
        let path = records_of(&directory);
        let mut records = PartRecords::open(path.clone(), &session).on(USE, &path)?;
        let found = stored::find(&directory, &journal, &session, &records, progress)?;
        let (Found::Open { parts } | Found::Closed { parts, .. }) = &found;
        records.retain(|part| {
            parts.stored(part.name).is_some_and(|stored| stored.blake3 == part.sealed_digest)
        });
        let mut state = State {
            parts: StoredParts::default(),
            records,
            chain: None,
            strays: BTreeSet::new(),
            pending_bytes: 0,
            pending_held: 0,
            pending_parts: 0,
            last_use: Instant::now(),
            manifest: None,
            uncertain: false,
            journal: None,
            listing: None,
        };
        match found {
            Found::Closed { parts, manifest } => {
                Journal::remove(&journal);
                state.parts = parts;
                state.manifest = Some(Closed::of(&manifest));
            }
            Found::Open { parts } => {
                state.parts = parts;
                state.begin_journal(&directory, &session);
            }
        }
        let closed = watch::Sender::new(state.manifest.is_some());
        let (state, acknowledged) = (Mutex::new(state), watch::Sender::new(false));
        let moved = watch::Sender::new(Moved::default());
        let last_part_at = AtomicI64::new(0);
        let slot =
            Self { directory, session, common, state, closed, acknowledged, moved, last_part_at };
        slot.note_moved(&slot.lock());
        Ok(slot)
    }

    /// Notes that a part has arrived just now.
    pub(super) fn note_arrival(&self) {
        self.last_part_at.store(OffsetDateTime::now_utc().unix_timestamp(), Ordering::Relaxed);
    }

    /// When a part has arrived last, in seconds since 1970; `None` before the first of this run.
    pub(super) fn last_part_at(&self) -> Option<i64> {
        Some(self.last_part_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Becomes true when the sender has asked once more after the package was closed: it knows.
    pub(super) fn acknowledged(&self) -> watch::Receiver<bool> {
        self.acknowledged.subscribe()
    }

    /// Becomes true when the package is closed.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// How much of the package is there.
    pub(super) fn figures(&self) -> Figures {
        let state = self.lock();
        let rows = state.manifest.as_ref().map(|closed| closed.totals.rows);
        Figures { parts: state.parts.len() as u64, bytes: state.parts.bytes(), rows }
    }

    /// The listing for the sender, as JSON that is cached until something changes.
    pub(super) fn listing(&self) -> Bytes {
        let mut state = self.lock();
        if state.manifest.is_some() {
            self.acknowledged.send_replace(true);
        }
        if let Some(listing) = &state.listing {
            return listing.clone();
        }
        let made = listing::json(state.manifest.is_some(), &state.parts, &state.records);
        state.listing = Some(made.clone());
        made
    }

    /// Gives a part whose bytes are durable its name, unless it was used or the package was closed
    /// meanwhile. Its record is durable before.
    pub(super) fn keep(
        &self,
        part: &Announced,
        stored: Stored,
        file: durable::SyncedFile,
    ) -> Result<Accepted, Refusal> {
        let (name, record) = (part.name, part.record.as_ref());
        let mut state = self.lock();
        let before = state.parts.stored(name).map(|part| part.blake3);
        if state.is_the_same(part, stored.blake3)? {
            return Ok(state.answer_to_known(part.name));
        }
        if let Some(record) = record {
            record.log(&mut state.records, &self.session)?;
        }
        if before.is_some() {
            state.withdraw(&[name])?;
        }
        // From here until the name is durable, it is unknown which bytes it shows.
        state.parts.remove(name);
        state.strays.insert(name);
        state.listing = None;
        file.rename().map_err(Refusal::disk)?;
        state.strays.remove(&name);
        state.parts.insert(name, stored);
        match record {
            Some(record) => state.records.insert(record.record().clone()),
            None => state.records.forget(name),
        }
        state.record(&self.directory, &self.session, name, stored);
        self.note_moved(&state);
        drop(state);
        self.grow();
        Ok(if before.is_some() { Accepted::Replaced } else { Accepted::New })
    }

    /// Holds a part in memory, unless it was used or the package was closed meanwhile. A crash loses
    /// it, and its sender finds that out when it closes the package.
    pub(super) fn hold(
        &self,
        part: &Announced,
        blake3: blake3::Hash,
        content: Bytes,
    ) -> Result<Accepted, Refusal> {
        let name = part.name;
        let mut state = self.lock();
        if state.is_the_same(part, blake3)? {
            return Ok(state.answer_to_known(part.name));
        }
        let record = part.record.as_ref().ok_or(Refusal::Lost)?;
        if state.parts.stored(name).is_some_and(|stored| stored.place == Place::File) {
            // Another request has just brought it, into a file.
            return Err(Refusal::Busy);
        }
        if state.records.is_empty() {
            state.last_use = Instant::now();
        }
        state.parts.hold(name, blake3, content);
        state.records.insert_unlogged(record.record().clone(), record.proof().clone());
        state.listing = None;
        self.note_moved(&state);
        drop(state);
        self.grow();
        Ok(Accepted::Held)
    }

    /// Wakes who waits for memory.
    pub(super) fn note_moved(&self, state: &State) {
        let used_up_to = state.records.used_up_to();
        self.moved.send_replace(Moved { held_bytes: state.parts.held_bytes(), used_up_to });
    }

    /// Whether parts may be in memory only.
    pub(super) fn may_hold(&self) -> bool {
        self.common.may_hold.load(Ordering::Relaxed)
    }

    /// Sees parts in memory come and go.
    pub(super) fn moved(&self) -> watch::Receiver<Moved> {
        self.moved.subscribe()
    }

    /// What every answer tells the sender.
    pub(super) fn standing(&self) -> Standing {
        let used_up_to = self.moved.borrow().used_up_to;
        Standing { instance: self.common.instance.to_string(), used_up_to }
    }

    /// Wakes who waits for the package to grow.
    pub(super) fn grow(&self) {
        self.common.grown.send_replace(());
    }

    /// Closes the package. The manifest must fit the session, be signed if the session uses
    /// certificates, and list only parts that are there.
    ///
    /// Parts of the sender's earlier attempts that the manifest does not list are removed.
    pub(super) fn close(&self, bytes: Vec<u8>) -> Result<Accepted, Refusal> {
        let digest = blake3::hash(&bytes);
        let mut state = self.lock();
        state.check_certain()?;
        if let Some(closed) = &state.manifest {
            return if closed.blake3 == digest { Ok(Accepted::Same) } else { Err(Refusal::Closed) };
        }
        let unverified = UnverifiedManifest::read(bytes).map_err(Refusal::Manifest)?;
        let signature = ManifestSignature::load(&self.directory).map_err(Refusal::signature)?;
        let manifest =
            unverified.verify(&self.session, signature.as_ref()).map_err(Refusal::Manifest)?;
        for part in manifest.parts() {
            match state.parts.stored(part.name) {
                None => return Err(Refusal::Missing { name: part.name }),
                Some(stored) if is_listed(part, &stored) => {}
                Some(_) if matches!(state.is_used(part), Ok(true)) => {}
                Some(_) => return Err(Refusal::OtherPart { name: part.name }),
            }
        }
        let listed = manifest.parts().iter().map(|part| part.name).collect();
        state.check_used_are_listed(&listed)?;
        // A part that a dead sender began stays in the directory until its connection ends.
        if state.pending_parts > 0 {
            return Err(Refusal::Underway { parts: state.pending_parts });
        }
        self.remove_unlisted(&mut state, &listed)?;
        // A closed package must outlive this process.
        self.write_held(&mut state).map_err(Refusal::disk)?;
        self.write_manifest(&mut state, &manifest)?;
        state.manifest = Some(Closed::of(&manifest));
        state.listing = None;
        // A closed package needs no journal: its manifest has the digests.
        state.journal = None;
        Journal::remove(&journal_of(&self.directory));
        self.closed.send_replace(true);
        self.grow();
        Ok(Accepted::New)
    }

    fn remove_unlisted(
        &self,
        state: &mut State,
        listed: &HashSet<PartName>,
    ) -> Result<(), Refusal> {
        let there = state.parts.names().chain(state.strays.iter().copied());
        let extra: Vec<PartName> = there.filter(|name| !listed.contains(name)).collect();
        if extra.is_empty() {
            return Ok(());
        }
        state.withdraw(&extra)?;
        // No longer listed, even if the disk fails to remove them now.
        for name in &extra {
            state.parts.remove(*name);
            state.records.forget(*name);
            state.strays.insert(*name);
        }
        state.listing = None;
        let names = extra.iter().map(PartName::to_string);
        durable::remove_files(&self.directory, names).map_err(Refusal::disk)?;
        state.strays.clear();
        Ok(())
    }

    /// Writes the manifest durably, or leaves none: a package that a restart would find closed
    /// must not change.
    fn write_manifest(&self, state: &mut State, manifest: &Manifest) -> Result<(), Refusal> {
        let path = self.directory.join(MANIFEST_NAME);
        let Err(error) = durable::write_whole(&path, manifest.bytes()) else { return Ok(()) };
        let gone = match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            // Its name may already be on the disk: only an fsync makes its removal certain.
            Ok(()) => durable::sync_directory(&self.directory),
        };
        state.uncertain = gone.is_err();
        Err(Refusal::disk(error))
    }

    /// Digests a stored part with the announced algorithm, and compares.
    pub(super) fn stored_is(&self, name: PartName, announced: ReprDigest) -> Result<bool, Refusal> {
        let held = self.lock().parts.held(name).cloned();
        if let Some(held) = held {
            let mut hasher = BodyHasher::new(announced);
            hasher.update(&held);
            return Ok(hasher.finish().is_some());
        }
        let path = self.directory.join(name.to_string());
        let Some(mut file) = durable::open_regular(&path).map_err(Refusal::disk)? else {
            return Ok(false);
        };
        let mut hasher = HashingWriter(BodyHasher::new(announced));
        io::copy(&mut file, &mut hasher).map_err(Refusal::disk)?;
        Ok(hasher.0.finish().is_some())
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; a state is changed only after the disk was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    pub(super) fn check_certain(&self) -> Result<(), Refusal> {
        if self.uncertain { Err(Refusal::Uncertain) } else { Ok(()) }
    }

    pub(super) fn pending_file_bytes(&self) -> u64 {
        self.pending_bytes - self.pending_held
    }

    /// The answer to a part that was there before.
    pub(super) fn answer_to_known(&self, name: PartName) -> Accepted {
        let is_held = self.parts.held(name).is_some();
        if is_held { Accepted::Held } else { Accepted::Same }
    }

    /// Whether a part whose bytes have arrived is no news. It must be what its record says, and
    /// news is refused once the package is closed.
    fn is_the_same(&self, part: &Announced, blake3: blake3::Hash) -> Result<bool, Refusal> {
        let record = part.record.as_ref();
        if record.is_some_and(|record| record.part().sealed_digest != blake3) {
            return Err(Refusal::OtherRecord);
        }
        self.check_certain()?;
        let before = self.parts.stored(part.name).map(|part| part.blake3);
        if self.is_settled(part)? || before == Some(blake3) && record.is_none() {
            return Ok(true);
        }
        if self.manifest.is_some() { Err(Refusal::Closed) } else { Ok(false) }
    }

    fn withdraw(&mut self, names: &[PartName]) -> Result<(), Refusal> {
        match &mut self.journal {
            Some(journal) => journal.withdraw(names).map_err(Refusal::disk),
            None => Ok(()),
        }
    }

    /// Records a durable part, and writes a new journal when most records of the old one are outdated.
    pub(super) fn record(
        &mut self,
        directory: &Path,
        session: &PackageExpectations,
        name: PartName,
        stored: Stored,
    ) {
        let Some(journal) = &mut self.journal else { return };
        if let Some(record) = stored.record(&directory.join(name.to_string())) {
            journal.record(name, &record);
        }
        if journal.records() > 2 * self.parts.len() as u64 + SPARE_RECORDS {
            self.begin_journal(directory, session);
        }
    }

    /// Writes a journal of all parts. The package is valid without one, but a restart then reads its
    /// parts.
    fn begin_journal(&mut self, directory: &Path, session: &PackageExpectations) {
        let path = journal_of(directory);
        let records = self.parts.records(directory);
        let begun = Journal::begin(path.clone(), session.fingerprint, records);
        self.journal = begun
            .inspect_err(|error| {
                tracing::warn!(
                    "no journal at {}, a restart will read all parts: {error}",
                    path.display()
                );
                Journal::remove(&path);
            })
            .ok();
    }
}

/// How many outdated records a journal may have before a new one is written.
const SPARE_RECORDS: u64 = 1024;

/// The journal is next to the package's directory, which holds only the package.
fn journal_of(directory: &Path) -> PathBuf {
    directory.with_extension("journal")
}

struct HashingWriter(BodyHasher);

impl Write for HashingWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn is_listed(part: &PartEntry, stored: &Stored) -> bool {
    part.sealed_bytes == stored.bytes && part.sealed_digest == stored.blake3
}
