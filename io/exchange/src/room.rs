//! Room for one part that is being received: a file, or a buffer in memory.

use std::io::{self, Write};
use std::sync::Arc;

use axum::body::Bytes;
use reshare_files::durable::DurableFile;

use super::announced::Announced;
use super::refusal::Refusal;
use super::sealed_buffer::SealedBuffer;
use super::slot::{Accepted, Slot};
use super::stored::{Place, Stored};

/// Reserved space for one part. It is released when this is dropped.
pub(super) struct Room {
    slot: Arc<Slot>,
    part: Arc<Announced>,
    space: Option<Space>,
    place: Place,
}

/// Where the bytes of a part go.
pub(super) enum Space {
    File(DurableFile),
    Memory(SealedBuffer),
}

impl Space {
    pub(super) fn place(&self) -> Place {
        match self {
            Self::File(_) => Place::File,
            Self::Memory(_) => Place::Memory,
        }
    }
}

impl Room {
    /// Takes space that the slot counts as reserved.
    pub(super) fn new(slot: Arc<Slot>, part: Arc<Announced>, space: Space) -> Self {
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
