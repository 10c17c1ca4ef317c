//! Parts that are only in memory: the rows of most are loaded before they would be on a disk.
//!
//! A receiver that merges what arrives answers 202 for them. When the package closes, or the receiver
//! stops, those that are left are written like any other.

use std::io::{self, Write};
use std::time::Duration;

use reshare_files::durable::DurableFile;
use tokio::time::timeout;

use super::slot::{Slot, State};
use super::stored::{Place, Stored};

impl Slot {
    /// Waits until the rows of all parts in memory are loaded, or nobody loads any, or for so long.
    pub(super) async fn until_none_is_held(&self, longest: Duration) {
        let mut moved = self.moved();
        // The slot holds the sender of this channel: it cannot end first.
        let none_is = moved.wait_for(|moved| moved.held_bytes == 0 || !self.may_hold());
        let _ = timeout(longest, none_is).await;
    }

    /// Writes the parts that are only in memory into durable files.
    ///
    /// # Errors
    /// What the file system says: those that were not written are still in memory.
    pub(super) fn write_all_held(&self) -> io::Result<()> {
        self.write_held(&mut self.lock())
    }

    pub(super) fn write_held(&self, state: &mut State) -> io::Result<()> {
        for name in state.parts.held_names() {
            let stored = state.parts.stored(name);
            let Some((stored, content)) = stored.zip(state.parts.held(name).cloned()) else {
                continue;
            };
            let mut file = DurableFile::create(self.directory.join(name.to_string()))?;
            file.write_all(&content)?;
            let file = file.sync()?;
            // Durable before the part has its name, as that of every other part.
            state.records.log_late(&self.session, name)?;
            file.rename()?;
            let stored = Stored { place: Place::File, ..stored };
            state.parts.place(name, Place::File);
            state.record(&self.directory, &self.session, name, stored);
        }
        self.note_moved(state);
        Ok(())
    }
}
