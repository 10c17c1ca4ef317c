//! One sender's package in the inbox: what is durable, and how it grows and closes.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::answer::Refusal;
use super::digest::{BodyHasher, ReprDigest};
use super::inbox_error::InboxError;
use super::limits::Limits;
use super::listing::{ListedPart, Listing};
use crate::durable::{self, DurableFile};
use crate::package::{
    CHAIN_NAME, MANIFEST_NAME, Manifest, ManifestSignature, Package, PackageExpectations,
    PartEntry, PartName, SIGNATURE_NAME, Totals, UnverifiedManifest,
};

/// A sender's package directory and what is known of it.
pub(super) struct Slot {
    directory: PathBuf,
    session: PackageExpectations,
    limits: Limits,
    state: Mutex<State>,
    closed: watch::Sender<bool>,
}

#[derive(Default)]
struct State {
    parts: BTreeMap<PartName, Stored>,
    /// Bytes of parts that are on their way.
    pending_bytes: u64,
    pending_parts: usize,
    manifest: Option<Closed>,
}

#[derive(Debug, Clone, Copy)]
struct Stored {
    bytes: u64,
    blake3: blake3::Hash,
}

#[derive(Debug, Clone, Copy)]
struct Closed {
    blake3: blake3::Hash,
    totals: Totals,
}

/// What became of something that was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accepted {
    /// It is there now, and was not before.
    New,
    /// It is there now, in place of other bytes.
    Replaced,
    /// The same was there already.
    Same,
}

/// A file that shows who signed the manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proof {
    /// The signature.
    Signature,
    /// The signer's certificate and those up to the authority.
    Chain,
}

impl Proof {
    /// The file's name, in the package and in the URL.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Signature => SIGNATURE_NAME,
            Self::Chain => CHAIN_NAME,
        }
    }
}

impl Slot {
    /// Opens a package directory, or makes it; what a crash left unfinished is removed, and
    /// what is there is digested.
    pub(super) fn open(
        directory: PathBuf,
        session: PackageExpectations,
        limits: Limits,
    ) -> Result<Self, InboxError> {
        let failed = |source| InboxError::Io { path: directory.clone(), source };
        durable::create_directory(&directory).map_err(failed)?;
        durable::remove_leftovers(&directory).map_err(failed)?;
        let state = match directory.join(MANIFEST_NAME).symlink_metadata() {
            Ok(_) => closed_state(&directory, &session)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => open_state(&directory)?,
            Err(error) => return Err(failed(error)),
        };
        let closed = watch::Sender::new(state.manifest.is_some());
        Ok(Self { directory, session, limits, state: Mutex::new(state), closed })
    }

    /// The directory.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Becomes true when the package is closed.
    pub(super) fn closed(&self) -> watch::Receiver<bool> {
        self.closed.subscribe()
    }

    /// The parts that are there: how many, how many bytes, and rows once it is closed.
    pub(super) fn figures(&self) -> (u64, u64, Option<u64>) {
        let state = self.lock();
        let bytes = state.parts.values().map(|part| part.bytes).sum();
        (state.parts.len() as u64, bytes, state.manifest.map(|closed| closed.totals.rows))
    }

    /// What is there, for the sender.
    pub(super) fn listing(&self) -> Listing {
        let state = self.lock();
        let listed = |(name, part): (&PartName, &Stored)| ListedPart {
            name: *name,
            bytes: part.bytes,
            blake3: part.blake3.to_hex().to_string(),
        };
        Listing {
            closed: state.manifest.is_some(),
            parts: state.parts.iter().map(listed).collect(),
        }
    }

    /// Finds out whether the very same part is there, before its body is read.
    ///
    /// # Errors
    /// [`Refusal::Closed`] when the package is closed and the part is another one.
    pub(super) fn has(&self, name: PartName, announced: ReprDigest) -> Result<bool, Refusal> {
        let (stored, closed) = {
            let state = self.lock();
            (state.parts.get(&name).copied(), state.manifest.is_some())
        };
        let same = match (stored, announced) {
            (None, _) => false,
            (Some(stored), ReprDigest::Blake3(digest)) => stored.blake3.as_bytes() == &digest,
            (Some(_), ReprDigest::Sha256(_)) => self.stored_is(name, announced)?,
        };
        if closed && !same { Err(Refusal::Closed) } else { Ok(same) }
    }

    /// Makes room for a part: under the limits of the package and of the disk.
    pub(super) fn reserve(self: &Arc<Self>, name: PartName, bytes: u64) -> Result<Room, Refusal> {
        let mut state = self.lock();
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
        }
        let others = state.parts.iter().filter(|(other, _)| **other != name);
        let (count, held) =
            others.fold((0, 0), |(count, held), (_, part)| (count + 1, held + part.bytes));
        if count + state.pending_parts + 1 > self.limits.parts {
            return Err(Refusal::TooManyParts { max: self.limits.parts });
        }
        let total = held + state.pending_bytes + bytes;
        if total > self.limits.package_bytes {
            return Err(Refusal::PackageTooLarge { max: self.limits.package_bytes });
        }
        let free = free_bytes(&self.directory).map_err(Refusal::disk)?;
        if free < self.limits.keep_free_bytes.saturating_add(bytes) {
            return Err(Refusal::DiskFull);
        }
        let path = self.directory.join(name.to_string());
        let file = DurableFile::create(path).map_err(Refusal::disk)?;
        // Under the lock: what is reserved here is no longer free for the next one.
        file.allocate(bytes).map_err(Refusal::disk)?;
        state.pending_parts += 1;
        state.pending_bytes += bytes;
        Ok(Room { slot: Arc::clone(self), name, bytes, file: Some(file) })
    }

    /// Keeps a file of the manifest's signature, which comes before the manifest and is verified
    /// with it; it may be replaced until then.
    pub(super) fn keep_proof(&self, proof: Proof, bytes: &[u8]) -> Result<Accepted, Refusal> {
        let state = self.lock();
        let path = self.directory.join(proof.name());
        let before = match fs::read(&path) {
            Ok(before) => Some(before),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Refusal::disk(error)),
        };
        if before.as_deref() == Some(bytes) {
            return Ok(Accepted::Same);
        }
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
        }
        durable::write_whole(path, bytes).map_err(Refusal::disk)?;
        Ok(if before.is_some() { Accepted::Replaced } else { Accepted::New })
    }

    /// Closes the package: the manifest must fit the session, be signed where the session uses
    /// certificates, and list exactly what is there.
    ///
    /// Parts of the sender's earlier attempts that the manifest does not list are removed.
    pub(super) fn close(&self, bytes: Vec<u8>) -> Result<Accepted, Refusal> {
        let digest = blake3::hash(&bytes);
        let mut state = self.lock();
        if let Some(closed) = &state.manifest {
            return if closed.blake3 == digest { Ok(Accepted::Same) } else { Err(Refusal::Closed) };
        }
        let unverified = UnverifiedManifest::read(bytes).map_err(Refusal::Manifest)?;
        let signature = ManifestSignature::load(&self.directory).map_err(Refusal::Signature)?;
        let manifest =
            unverified.verify(&self.session, signature.as_ref()).map_err(Refusal::Manifest)?;
        for part in manifest.parts() {
            match state.parts.get(&part.name) {
                None => return Err(Refusal::Missing { name: part.name }),
                Some(stored) if !is_listed(part, stored) => {
                    return Err(Refusal::OtherPart { name: part.name });
                }
                Some(_) => {}
            }
        }
        // What a sender that died has begun lies in the directory until its connection ends.
        if state.pending_parts > 0 {
            return Err(Refusal::Underway { parts: state.pending_parts });
        }
        self.remove_unlisted(&mut state, &manifest)?;
        let mut file =
            DurableFile::create(self.directory.join(MANIFEST_NAME)).map_err(Refusal::disk)?;
        file.write_all(manifest.bytes()).map_err(Refusal::disk)?;
        file.commit_new().map_err(Refusal::disk)?;
        state.manifest = Some(Closed { blake3: digest, totals: manifest.totals() });
        self.closed.send_replace(true);
        Ok(Accepted::New)
    }

    fn remove_unlisted(&self, state: &mut State, manifest: &Manifest) -> Result<(), Refusal> {
        let listed: HashSet<PartName> = manifest.parts().iter().map(|part| part.name).collect();
        let extra: Vec<PartName> =
            state.parts.keys().filter(|name| !listed.contains(name)).copied().collect();
        for name in extra {
            let path = self.directory.join(name.to_string());
            durable::remove_file(&path).map_err(Refusal::disk)?;
            state.parts.remove(&name);
        }
        Ok(())
    }

    /// Digests a stored part in the way that was announced, and compares.
    fn stored_is(&self, name: PartName, announced: ReprDigest) -> Result<bool, Refusal> {
        let path = self.directory.join(name.to_string());
        let Some(mut file) = durable::open_regular(&path).map_err(Refusal::disk)? else {
            return Ok(false);
        };
        let mut hasher = HashingWriter(BodyHasher::new(announced));
        io::copy(&mut file, &mut hasher).map_err(Refusal::disk)?;
        Ok(hasher.0.finish().is_some())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics under the lock; a state is changed only after the disk was.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Room that is kept for one part, and the temporary file it is written to.
pub(super) struct Room {
    slot: Arc<Slot>,
    name: PartName,
    bytes: u64,
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

    /// Makes the part durable under its name, unless the package was closed meanwhile.
    pub(super) fn commit(mut self, blake3: blake3::Hash) -> Result<Accepted, Refusal> {
        let Some(file) = self.file.take() else { return Err(Refusal::Lost) };
        // The long part of it, before the lock.
        file.file().sync_all().map_err(Refusal::disk)?;
        let mut state = self.slot.lock();
        let stored = Stored { bytes: self.bytes, blake3 };
        let before = state.parts.get(&self.name).map(|part| part.blake3);
        if before == Some(blake3) {
            return Ok(Accepted::Same);
        }
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
        }
        file.commit().map_err(Refusal::disk)?;
        state.parts.insert(self.name, stored);
        Ok(if before.is_some() { Accepted::Replaced } else { Accepted::New })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.pending_parts -= 1;
        state.pending_bytes -= self.bytes;
    }
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

/// What a closed package holds: its manifest says it.
fn closed_state(directory: &Path, session: &PackageExpectations) -> Result<State, InboxError> {
    let failed =
        |source| InboxError::Package { path: directory.to_owned(), source: Box::new(source) };
    let package = Package::open(directory, session.clone()).map_err(failed)?;
    let manifest = package.manifest();
    let stored = |part: &PartEntry| {
        (part.name, Stored { bytes: part.sealed_bytes, blake3: part.sealed_digest })
    };
    let parts = manifest.parts().iter().map(stored).collect();
    let blake3 = blake3::hash(manifest.bytes());
    let closed = Closed { blake3, totals: manifest.totals() };
    Ok(State { parts, manifest: Some(closed), ..State::default() })
}

/// What lies in a package that is still open.
fn open_state(directory: &Path) -> Result<State, InboxError> {
    let failed = |source| InboxError::Io { path: directory.to_owned(), source };
    let mut parts = BTreeMap::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.parse().ok());
        let file = durable::open_regular(&path).map_err(failed)?;
        if file.is_some()
            && [SIGNATURE_NAME, CHAIN_NAME].map(|name| directory.join(name)).contains(&path)
        {
            continue;
        }
        let (Some(name), Some(mut file)) = (name, file) else {
            return Err(InboxError::Extra { path });
        };
        let mut hasher = blake3::Hasher::new();
        let bytes = io::copy(&mut file, &mut hasher).map_err(failed)?;
        parts.insert(name, Stored { bytes, blake3: hasher.finalize() });
    }
    Ok(State { parts, ..State::default() })
}

/// Bytes that this user may still write to the disk a directory lies on.
fn free_bytes(directory: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(directory)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}
