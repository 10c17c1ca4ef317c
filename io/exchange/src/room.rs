//! Room for one part that is being received, in memory or in a file, and whether there is any.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use reshare_files::durable::{DurableFile, free_bytes};

use super::announced::Announced;
use super::digest::ReprDigest;
use super::refusal::Refusal;
use super::sealed_buffer::SealedBuffer;
use super::slot::{Accepted, Slot, State};
use super::stored::{Place, Stored};

/// Reserved space for one part. It is released when this is dropped.
pub(super) struct Room {
    slot: Arc<Slot>,
    part: Arc<Announced>,
    space: Option<Space>,
    place: Place,
}

/// Where the bytes of a part go.
enum Space {
    File(DurableFile),
    Memory(SealedBuffer),
}

impl Space {
    fn place(&self) -> Place {
        match self {
            Self::File(_) => Place::File,
            Self::Memory(_) => Place::Memory,
        }
    }
}

impl Room {
    /// Takes space that the slot counts as reserved.
    fn new(slot: Arc<Slot>, part: Arc<Announced>, space: Space) -> Self {
        let place = space.place();
        Self { slot, part, space: Some(space), place }
    }

    /// Whether writing is only a copy, and [`Self::commit`] waits for no disk.
    pub(super) fn is_in_memory(&self) -> bool {
        self.place == Place::Memory
    }

    /// Writes the next piece.
    pub(super) fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        match &mut self.space {
            Some(Space::File(file)) => file.write_all(piece),
            Some(Space::Memory(buffer)) => buffer.write_all(piece),
            None => Err(io::ErrorKind::InvalidInput.into()),
        }
    }

    /// What has been written, where it is in memory.
    pub(super) fn in_memory(&self) -> &[u8] {
        match &self.space {
            Some(Space::Memory(buffer)) => buffer.as_ref(),
            Some(Space::File(_)) | None => &[],
        }
    }

    /// Makes the part durable under its name, or holds it, unless the package has been closed since.
    pub(super) fn commit(mut self, blake3: blake3::Hash) -> Result<Accepted, Refusal> {
        match self.space.take().ok_or(Refusal::Lost)? {
            Space::File(file) => {
                // The slow step, before the slot is locked.
                let file = file.sync().map_err(Refusal::disk)?;
                let stored = Stored { bytes: self.part.bytes, blake3, place: Place::File };
                self.slot.keep(&self.part, stored, file)
            }
            Space::Memory(buffer) => self.slot.hold(&self.part, blake3, Bytes::from_owner(buffer)),
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.slot.release(self.part.bytes, self.place);
    }
}

/// What becomes of a part that a request announces.
pub(super) enum Admitted {
    /// It is there or was used, which is the answer.
    Settled(Accepted),
    /// It is to be received.
    Room(Room),
    /// It is to be received when memory is free.
    MemoryFull,
}

/// What to do with a part for which no memory is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OnFull {
    Wait,
    UseFile,
}

/// Whether a part is received in memory.
enum Memory {
    Free(SealedBuffer),
    /// Not now: it is full.
    Full,
    /// Never: it has no record, is too large, or replaces a file.
    Unfit,
}

impl Slot {
    /// Decides what becomes of a part before its body is read, and makes room for it.
    ///
    /// # Errors
    /// A [`Refusal`]: the package is closed, the part was used with another content, or there is no
    /// room.
    pub(super) fn admit(
        self: &Arc<Self>,
        part: Arc<Announced>,
        full: OnFull,
    ) -> Result<Admitted, Refusal> {
        let record = part.record.as_ref();
        let (stored, closed) = {
            let mut state = self.lock();
            state.check_certain()?;
            if state.is_settled(&part)? {
                return Ok(Admitted::Settled(state.answer_to_known(part.name)));
            }
            if let Some(record) = record.filter(|record| record.part().rows == 0) {
                self.cover(&mut state, record)?;
                return Ok(Admitted::Settled(Accepted::Same));
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
            (true, true) => Ok(Admitted::Settled(Accepted::Same)),
            (false, true) => {
                self.note_record(record)?;
                Ok(Admitted::Settled(self.lock().answer_to_known(part.name)))
            }
            (false, false) => self.reserve(part, full),
        }
    }

    /// Makes room for a part: under the limits of the package, the memory, the inbox and the disk.
    fn reserve(self: &Arc<Self>, part: Arc<Announced>, full: OnFull) -> Result<Admitted, Refusal> {
        let Announced { name, bytes, .. } = *part;
        let mut state = self.lock();
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
        }
        state.check_certain()?;
        let (others, held) = state.parts.without(name);
        if others + state.pending_parts + 1 > self.common.limits.parts {
            return Err(Refusal::TooManyParts { max: self.common.limits.parts });
        }
        let total = held.saturating_add(state.pending_bytes).saturating_add(bytes);
        if total > self.common.limits.package_bytes {
            return Err(Refusal::PackageTooLarge { max: self.common.limits.package_bytes });
        }
        let space = match self.memory_for(&state, &part) {
            Memory::Free(buffer) => Space::Memory(buffer),
            Memory::Full if full == OnFull::Wait && state.last_use.elapsed() < STALL => {
                return Ok(Admitted::MemoryFull);
            }
            Memory::Full | Memory::Unfit => Space::File(self.file_for(&state, &part)?),
        };
        state.pending_parts += 1;
        state.pending_bytes += bytes;
        state.pending_held += if space.place() == Place::Memory { bytes } else { 0 };
        Ok(Admitted::Room(Room::new(Arc::clone(self), part, space)))
    }

    /// Memory for a part that is merged as soon as the other sender's rows are there.
    fn memory_for(&self, state: &State, part: &Announced) -> Memory {
        let (half, bytes) = (self.common.limits.held_bytes / 2, part.bytes);
        let may_hold = bytes <= half && self.may_hold();
        let Some(record) = part.record.as_ref().filter(|_| may_hold) else {
            return Memory::Unfit;
        };
        if state.parts.stored(part.name).is_some_and(|stored| stored.place == Place::File) {
            return Memory::Unfit;
        }
        let with_this = state.parts.held_bytes().saturating_add(state.pending_held) + bytes;
        let (records, part) = (&state.records, record.part());
        // Parts behind a gap leave room for the one that fills it, and what all others wait for
        // never waits for them.
        let most = if records.continues(part) { half } else { half / 2 };
        let fits = with_this <= most || records.is_next(part);
        let capacity = usize::try_from(bytes).ok().filter(|_| fits);
        match capacity.and_then(|capacity| self.common.buffers.try_take(capacity)) {
            Some(buffer) => Memory::Free(buffer),
            None => Memory::Full,
        }
    }

    /// A file for a part. Called under the lock: what is reserved here is not free for the next part.
    fn file_for(&self, state: &State, part: &Announced) -> Result<DurableFile, Refusal> {
        let Announced { name, bytes, ref record, .. } = *part;
        if let (Some(max), Some(record)) = (self.common.limits.inbox_bytes, record) {
            state.check_inbox(max / 2, bytes, record.part())?;
        }
        let free = free_bytes(&self.directory).map_err(Refusal::disk)?;
        if free < self.common.limits.keep_free_bytes.saturating_add(bytes) {
            return Err(Refusal::DiskFull);
        }
        let file = DurableFile::create(self.directory.join(name.to_string()));
        let file = file.map_err(Refusal::disk)?;
        file.allocate(bytes).map_err(Refusal::disk)?;
        Ok(file)
    }

    /// Releases what was reserved for a part.
    fn release(&self, bytes: u64, place: Place) {
        let mut state = self.lock();
        state.pending_parts -= 1;
        state.pending_bytes -= bytes;
        state.pending_held -= if place == Place::Memory { bytes } else { 0 };
    }
}

/// How long no part in memory was used when more parts go to files: the other sender is behind.
const STALL: Duration = Duration::from_secs(3);
