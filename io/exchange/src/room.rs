//! Room that is kept for one part on its way.

use std::io::{self, Write};
use std::sync::Arc;

use reshare_files::durable::DurableFile;
use reshare_format::package::PartName;

use super::answer::Refusal;
use super::slot::{Accepted, Slot};
use super::stored::Stored;

/// Room for one part, and the temporary file it is written to; given back when dropped.
pub(super) struct Room {
    slot: Arc<Slot>,
    name: PartName,
    bytes: u64,
    file: Option<DurableFile>,
}

impl Room {
    /// Room that its slot has counted as pending.
    pub(super) fn new(slot: Arc<Slot>, name: PartName, bytes: u64, file: DurableFile) -> Self {
        Self { slot, name, bytes, file: Some(file) }
    }

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
        // The long part of it, before the slot is locked.
        let file = file.sync().map_err(Refusal::disk)?;
        let stored = Stored { bytes: self.bytes, blake3 };
        self.slot.keep(self.name, stored, file)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut state = self.slot.lock();
        state.pending_parts -= 1;
        state.pending_bytes -= self.bytes;
    }
}
