//! One sender's package in the inbox: what is durable, and how it grows and closes.

use std::collections::{BTreeSet, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::body::Bytes;
use reshare_files::durable::{self, DurableFile, free_bytes};
use reshare_files::file_error::OnFile;
use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{
    MANIFEST_NAME, Manifest, ManifestSignature, PackageExpectations, PartEntry, PartName, Totals,
    UnverifiedManifest,
};
use tokio::sync::watch;

use super::announced::Announced;
use super::digest::{BodyHasher, ReprDigest};
use super::inbox_error::{InboxError, USE};
use super::journal::Journal;
use super::limits::Limits;
use super::listing;
use super::part_records::{PartRecords, records_of};
use super::refusal::Refusal;
use super::stored::{self, Figures, Found, Stored, StoredParts};
use crate::progress::Progress;

/// A sender's package directory and its state.
pub(super) struct Slot {
    pub(super) directory: PathBuf,
    pub(super) session: PackageExpectations,
    limits: Limits,
    state: Mutex<State>,
    closed: watch::Sender<bool>,
    /// Raised whenever the package has grown or closed.
    grown: Arc<watch::Sender<()>>,
    /// Whether the sender has asked for the list after the package was closed.
    acknowledged: watch::Sender<bool>,
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
    /// Bytes of parts that are being received.
    pending_bytes: u64,
    pending_parts: usize,
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
    /// The same bytes were already there.
    Same,
}

impl Slot {
    /// Opens or creates a package directory. Removes the unfinished files of a crash, and digests
    /// parts that are not in the journal.
    pub(super) fn open(
        directory: PathBuf,
        session: PackageExpectations,
        limits: Limits,
        grown: Arc<watch::Sender<()>>,
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
            pending_parts: 0,
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
        Ok(Self { directory, session, limits, state, closed, grown, acknowledged })
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

    /// Takes a part in, before its body is read; `None` when nothing more is needed of it.
    ///
    /// # Errors
    /// A [`Refusal`]: the package is closed, the part was used with another content, or there is no
    /// room.
    pub(super) fn admit(self: &Arc<Self>, part: Arc<Announced>) -> Result<Option<Room>, Refusal> {
        let record = part.record.as_ref();
        let (stored, closed) = {
            let mut state = self.lock();
            state.check_certain()?;
            if state.is_settled(&part)? {
                return Ok(None);
            }
            if let Some(record) = record.filter(|record| record.part().rows == 0) {
                return self.cover(&mut state, record).map(|()| None);
            }
            (state.parts.stored(part.name), state.manifest.is_some())
        };
        let same = match (stored, part.digest) {
            (None, _) => false,
            (Some(stored), ReprDigest::Blake3(digest)) => stored.blake3.as_bytes() == &digest,
            (Some(_), digest @ ReprDigest::Sha256(_)) => self.stored_is(part.name, digest)?,
        };
        match (closed, same) {
            (true, false) => Err(Refusal::Closed),
            (true, true) => Ok(None),
            (false, true) => self.note_record(record).map(|()| None),
            (false, false) => self.reserve(part).map(Some),
        }
    }

    /// Makes room for a part: under the limits of the package, the inbox and the disk.
    fn reserve(self: &Arc<Self>, part: Arc<Announced>) -> Result<Room, Refusal> {
        let Announced { name, bytes, ref record, .. } = *part;
        let mut state = self.lock();
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
        }
        state.check_certain()?;
        let (others, held) = state.parts.without(name);
        if others + state.pending_parts + 1 > self.limits.parts {
            return Err(Refusal::TooManyParts { max: self.limits.parts });
        }
        let total = held.saturating_add(state.pending_bytes).saturating_add(bytes);
        if total > self.limits.package_bytes {
            return Err(Refusal::PackageTooLarge { max: self.limits.package_bytes });
        }
        if let (Some(max), Some(record)) = (self.limits.inbox_bytes, record) {
            state.check_inbox(max / 2, bytes, record.part())?;
        }
        let free = free_bytes(&self.directory).map_err(Refusal::disk)?;
        if free < self.limits.keep_free_bytes.saturating_add(bytes) {
            return Err(Refusal::DiskFull);
        }
        let path = self.directory.join(name.to_string());
        let file = DurableFile::create(path).map_err(Refusal::disk)?;
        // Under the lock: what is reserved here is not free for the next part.
        file.allocate(bytes).map_err(Refusal::disk)?;
        state.pending_parts += 1;
        state.pending_bytes += bytes;
        Ok(Room { slot: Arc::clone(self), part, file: Some(file) })
    }

    /// Gives a part whose bytes are durable its name, unless it was used or the package was closed
    /// meanwhile. Its record is durable before.
    fn keep(
        &self,
        part: &Announced,
        stored: Stored,
        file: durable::SyncedFile,
    ) -> Result<Accepted, Refusal> {
        let (name, record) = (part.name, part.record.as_ref());
        if record.is_some_and(|record| record.part().sealed_digest != stored.blake3) {
            return Err(Refusal::OtherRecord);
        }
        let mut state = self.lock();
        state.check_certain()?;
        let before = state.parts.stored(name).map(|part| part.blake3);
        if state.is_settled(part)? || before == Some(stored.blake3) && record.is_none() {
            return Ok(Accepted::Same);
        }
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
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
        drop(state);
        self.grow();
        Ok(if before.is_some() { Accepted::Replaced } else { Accepted::New })
    }

    /// Wakes who waits for the package to grow.
    pub(super) fn grow(&self) {
        self.grown.send_replace(());
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
    fn stored_is(&self, name: PartName, announced: ReprDigest) -> Result<bool, Refusal> {
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

    pub(super) fn pending_bytes(&self) -> u64 {
        self.pending_bytes
    }

    fn withdraw(&mut self, names: &[PartName]) -> Result<(), Refusal> {
        match &mut self.journal {
            Some(journal) => journal.withdraw(names).map_err(Refusal::disk),
            None => Ok(()),
        }
    }

    /// Records a durable part, and writes a new journal when most records of the old one are outdated.
    fn record(
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

/// Reserved space for one part, and its temporary file. Both are released when this is dropped.
pub(super) struct Room {
    slot: Arc<Slot>,
    part: Arc<Announced>,
    file: Option<DurableFile>,
}

impl Room {
    /// Writes the next piece.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.file {
            Some(file) => file.write_all(piece),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// Makes the part durable under its name, unless the package has been closed since.
    pub(super) fn commit(mut self, blake3: blake3::Hash) -> Result<Accepted, Refusal> {
        let Some(file) = self.file.take() else { return Err(Refusal::Lost) };
        // The slow step, before the slot is locked.
        let file = file.sync().map_err(Refusal::disk)?;
        let stored = Stored { bytes: self.part.bytes, blake3, is_there: true };
        self.slot.keep(&self.part, stored, file)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.pending_parts -= 1;
        state.pending_bytes -= self.part.bytes;
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
