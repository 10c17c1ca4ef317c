//! Parts that come with a record: what the receiver checks of them, and when they are used.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use axum::body::Bytes;
use reshare_files::durable;
use reshare_files::ids::IdRange;
use reshare_format::package::{PartEntry, PartFiles, PartName};

use super::announced::{Announced, VerifiedRecord};
use super::digest::ReprDigest;
use super::part_records::{Known, PartStage};
use super::refusal::Refusal;
use super::slot::{Slot, State};
use super::stored::Place;

/// What has arrived of one sender, as far as nothing is missing.
#[derive(Debug, Clone)]
pub struct ArrivedParts {
    /// Where the parts are.
    pub files: PartFiles,
    /// What both senders must have in common; `None` before the first part.
    pub key_check: Option<[u8; 16]>,
    /// The parts by ascending ids.
    pub parts: Vec<PartEntry>,
    /// The last id that was covered.
    pub covered_up_to: Option<i64>,
    /// Parts whose files are gone, since their rows were used.
    pub gone: Vec<(PartName, IdRange)>,
    /// The sealed bytes of parts that are in memory, which are what the entry says.
    pub held: HashMap<PartName, Bytes>,
}

impl Slot {
    /// Verifies what a request says of its part.
    ///
    /// # Errors
    /// A [`Refusal`] when the record is none, not the sender's, or of another part.
    pub(super) fn verify_record(
        &self,
        text: &str,
        name: PartName,
        bytes: u64,
    ) -> Result<VerifiedRecord, Refusal> {
        let verified = VerifiedRecord::verify(text, &self.session, self.chain()?)?;
        let record = verified.record();
        if record.part.name != name || record.part.sealed_bytes != bytes {
            return Err(Refusal::OtherRecord);
        }
        if self.lock().records.key_check().is_some_and(|first| first != record.key_check) {
            return Err(Refusal::OtherKeys);
        }
        Ok(verified)
    }

    /// Notes a record that covers ids without a row.
    pub(super) fn cover(&self, state: &mut State, record: &VerifiedRecord) -> Result<(), Refusal> {
        if state.manifest.is_some() {
            return Err(Refusal::Closed);
        }
        record.log(&mut state.records, &self.session)?;
        state.records.insert(record.record().clone());
        state.listing = None;
        self.grow();
        Ok(())
    }

    /// Notes the record of a part that is there already.
    pub(super) fn note_record(&self, record: Option<&VerifiedRecord>) -> Result<(), Refusal> {
        let Some(record) = record else { return Ok(()) };
        let mut state = self.lock();
        let known = state.records.get(record.part().name);
        if known.is_some_and(|known| known.record.part == *record.part()) {
            return Ok(());
        }
        self.cover(&mut state, record)
    }

    /// The last id up to which nothing is missing.
    pub(super) fn covered_up_to(&self) -> Option<i64> {
        self.lock().covered_up_to(self.session.ids.last())
    }

    /// Takes the parts that cover ids after `after` and up to `up_to`, as far as nothing is missing.
    /// They are not replaced any more.
    pub(super) fn take(&self, after: Option<i64>, up_to: Option<i64>) -> ArrivedParts {
        let files = PartFiles::new(self.directory(), self.session.clone());
        let mut state = self.lock();
        let covered_up_to = state.covered_up_to(self.session.ids.last()).min(up_to);
        let key_check = match &state.manifest {
            Some(closed) => Some(closed.key_check),
            None => state.records.key_check(),
        };
        let parts = match (covered_up_to, state.manifest.clone()) {
            (None, _) => vec![],
            (Some(last), Some(closed)) => {
                let is_new = |part: &&PartEntry| after.is_none_or(|after| part.ids.last() > after);
                let ahead = closed.parts.iter().take_while(|part| part.ids.first() <= last);
                ahead.filter(is_new).cloned().collect()
            }
            (Some(last), None) => state.records.take(after, last),
        };
        let place = |part: &PartEntry| state.parts.stored(part.name).map(|stored| stored.place);
        let is_gone = |part: &&PartEntry| place(part).is_none_or(|place| place == Place::Gone);
        let gone = parts.iter().filter(is_gone).map(|part| (part.name, part.ids)).collect();
        let held = |part: &PartEntry| Some((part.name, state.parts.held(part.name)?.clone()));
        let held = parts.iter().filter_map(held).collect();
        ArrivedParts { files, key_check, parts, covered_up_to, gone, held }
    }

    /// Notes that all rows up to an id are in the table, and removes the files of such parts
    /// unless they are kept.
    ///
    /// # Errors
    /// What the file system says.
    pub(super) fn use_up(&self, up_to: i64, keep_files: bool) -> std::io::Result<()> {
        let mut state = self.lock();
        let used = state.records.use_up(&self.session, up_to)?;
        if used.is_empty() {
            return Ok(());
        }
        state.listing = None;
        let (held, files): (Vec<_>, Vec<_>) =
            used.into_iter().partition(|name| state.parts.held(*name).is_some());
        for name in held {
            state.parts.place(name, Place::Gone);
            state.last_use = Instant::now();
        }
        self.note_moved(&state);
        if keep_files {
            return Ok(());
        }
        for name in &files {
            state.parts.place(*name, Place::Gone);
        }
        durable::remove_files(&self.directory, files.iter().map(PartName::to_string))
    }
}

impl State {
    /// The last id up to which nothing is missing; a closed package covers all ids up to `end`.
    fn covered_up_to(&self, end: i64) -> Option<i64> {
        match &self.manifest {
            Some(_) => Some(end),
            None => self.records.covered_up_to(),
        }
    }

    /// Whether nothing more is needed of a part that a request announces, by its record or by what
    /// was used of it.
    ///
    /// # Errors
    /// [`Refusal::Used`] and [`Refusal::BeingMerged`].
    pub(super) fn is_settled(&self, part: &Announced) -> Result<bool, Refusal> {
        if let Some(record) = &part.record {
            return self.is_used(record.part());
        }
        let known = self.records.get(part.name).filter(|known| known.stage > PartStage::Arrived);
        let Some(known) = known else { return Ok(false) };
        let digest = ReprDigest::Blake3(*known.record.part.sealed_digest.as_bytes());
        if digest == part.digest { Ok(true) } else { Err(used(known)) }
    }

    /// Whether a part was used, with the very same content.
    ///
    /// # Errors
    /// [`Refusal::Used`] when it overlaps one that was used with another content, and
    /// [`Refusal::BeingMerged`] when it was sealed again while the same content is being merged.
    pub(super) fn is_used(&self, part: &PartEntry) -> Result<bool, Refusal> {
        let named = self.records.get(part.name);
        let mut same = false;
        for known in self.records.overlapping(part.ids).chain(named) {
            let is_file = known.record.part.sealed_digest == part.sealed_digest;
            match (known.stage, known.has_content_of(part)) {
                (PartStage::Arrived, _) => {}
                (PartStage::Used, true) => same = true,
                (PartStage::Taken, true) if is_file => same = true,
                (PartStage::Taken, true) => return Err(Refusal::BeingMerged { name: part.name }),
                (PartStage::Taken | PartStage::Used, false) => return Err(used(known)),
            }
        }
        Ok(same)
    }

    /// Refuses a part while the inbox is full, unless nothing goes on without it.
    pub(super) fn check_inbox(
        &self,
        max: u64,
        bytes: u64,
        part: &PartEntry,
    ) -> Result<(), Refusal> {
        let there = self.parts.file_bytes().saturating_add(self.pending_file_bytes());
        if self.records.is_next(part) || there.saturating_add(bytes) <= max {
            return Ok(());
        }
        Err(Refusal::InboxFull { max })
    }

    /// Refuses a manifest that leaves out a part whose rows were used.
    pub(super) fn check_used_are_listed(&self, listed: &HashSet<PartName>) -> Result<(), Refusal> {
        let is_left_out = |known: &&Known| {
            let part = &known.record.part;
            known.stage > PartStage::Arrived && part.rows > 0 && !listed.contains(&part.name)
        };
        self.records.iter().find(is_left_out).map_or(Ok(()), |known| Err(used(known)))
    }
}

fn used(known: &Known) -> Refusal {
    let PartEntry { name, ids, .. } = known.record.part;
    Refusal::Used { name, ids }
}
