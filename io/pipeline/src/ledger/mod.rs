//! A sender's record of what it has blinded: one blinding, one content.
//!
//! Anyone who sees one row blinded twice with different contents learns the difference. So a sender
//! writes the content tag of every row into its ledger before the row's bytes leave. It refuses a
//! row if the ledger has another tag for the same id and agree values.
//!
//! It is a log and not a database: rows come in id order, a part at a time, so a part needs only
//! one append and one read of the entry with the same ids. A B-tree would write each page several
//! times, and could not distinguish a truncated file from a new one.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_engine::row_key::{ContentTag, RowIdentity, content_digest};
use reshare_engine::rows::Rows;
use reshare_files::durable::{self, DurableFile, DurableLog};
use reshare_files::ids::IdRange;

use format::{KIND_PART, KIND_TAGS, RawEntry, TagRecord};
use index::{Index, tag_records};
use log::{Log, Tail};

mod error;
mod format;
mod glance;
mod index;
mod log;
mod part;

pub use error::{LedgerDefect, LedgerError};
pub use glance::LedgerFigures;
pub use part::LedgerPart;

pub(crate) use part::RecordedParts;

/// The ledger of one sender in one session, held by this process until it is dropped.
///
/// # Secrecy
/// Holds no session key. Its tags reveal nothing without the blinding key.
pub struct Ledger {
    path: PathBuf,
    fingerprint: Fingerprint,
    sender: PartyId,
    version_label: Vec<u8>,
    log: Log,
    state: Mutex<State>,
}

/// What changes with every entry.
struct State {
    tail: Tail,
    index: Index,
}

impl Ledger {
    /// The path of the ledger of a session and sender in a state directory.
    #[must_use]
    pub fn path_in(state: &Path, fingerprint: &Fingerprint, sender: PartyId) -> PathBuf {
        state.join(fingerprint.to_string()).join(format!("ledger-{sender}"))
    }

    /// Creates an empty ledger, durable on return; `false` when there is already a valid one, which
    /// is not changed.
    ///
    /// Called only to approve a session: a ledger that is created a second time does not know what
    /// was blinded before.
    ///
    /// # Errors
    /// A [`LedgerError`] when it cannot be created, or when the existing one is refused.
    pub fn create(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<bool, LedgerError> {
        let path = Self::path_in(state, fingerprint, sender);
        let make = || {
            let mut digest_key = [0; 32];
            rand::fill(&mut digest_key).map_err(|_| io::Error::other("no random bytes"))?;
            durable::create_directory(&state.join(fingerprint.to_string()))?;
            let mut file = DurableFile::create(&path)?;
            file.write_all(&format::new_header(fingerprint, sender, digest_key))?;
            file.commit_new()
        };
        match make() {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Self::open(state, fingerprint, sender).map(|_| false)
            }
            Err(error) => Err(LedgerError { path, defect: error.into() }),
        }
    }

    /// Opens a ledger exclusively and checks all of it.
    ///
    /// # Errors
    /// A [`LedgerError`]: missing, in use, truncated, corrupted, or of another session or sender.
    pub fn open(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<Self, LedgerError> {
        let path = Self::path_in(state, fingerprint, sender);
        let mut index = Index::default();
        let opened = locked(&path, DurableLog::open).and_then(|file| {
            note_process(&path)?;
            Log::open(file, fingerprint, sender, |entry| index.add(entry))
        });
        let (log, tail) = opened.map_err(|defect| LedgerError { path: path.clone(), defect })?;
        let state = Mutex::new(State { tail, index });
        let version_label = fingerprint.label("ledger-version");
        Ok(Self { path, fingerprint: *fingerprint, sender, version_label, log, state })
    }

    /// Checks all of a ledger as [`Self::open`] does, and writes nothing; returns the most recently
    /// sealed parts.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn examine(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<Vec<LedgerPart>, LedgerError> {
        let path = Self::path_in(state, fingerprint, sender);
        let mut index = Index::default();
        let checked = locked(&path, DurableLog::open_read_only).and_then(|file| {
            Log::check(file, fingerprint, sender, |entry| index.add(entry)).map(drop)
        });
        checked.map_err(|defect| LedgerError { path, defect })?;
        Ok(index.parts())
    }

    /// Its session.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its sender.
    #[must_use]
    pub fn sender(&self) -> PartyId {
        self.sender
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Digests the content of a part for its manifest. Equal rows have equal digests.
    ///
    /// The key is only in this ledger: a manifest is not encrypted, and the other sender, who has
    /// every key of the session, could otherwise test guesses of a record.
    #[must_use]
    pub fn content_digest(&self, tags: &[ContentTag]) -> blake3::Hash {
        blake3::Hash::from_bytes(content_digest(self.log.digest_key(), tags))
    }

    /// The most recently sealed parts, ascending and without overlaps.
    #[must_use]
    pub fn parts(&self) -> Vec<LedgerPart> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).index.parts()
    }

    /// An index that no part has had yet.
    #[must_use]
    pub fn next_part_index(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).index.next_part_index()
    }

    /// Decides for each row whether it may be blinded with this content, and makes the tags of
    /// admitted rows durable before it returns.
    ///
    /// A row is not admitted if its id and agree values are recorded with another tag.
    ///
    /// # Shapes
    /// One tag a row, ids ascending; one verdict a row.
    ///
    /// # Errors
    /// A [`LedgerError`]: then no row may leave.
    pub fn admit(&self, rows: &Rows<'_>, tags: &[ContentTag]) -> Result<Vec<bool>, LedgerError> {
        self.try_admit(rows, tags).map_err(|defect| self.error(defect))
    }

    /// Records a part durably, before its file appears.
    ///
    /// # Errors
    /// A [`LedgerError`]: then the part may not leave.
    pub fn record_part(&self, part: LedgerPart) -> Result<(), LedgerError> {
        self.try_record_part(part).map_err(|defect| self.error(defect))
    }

    fn try_admit(&self, rows: &Rows<'_>, tags: &[ContentTag]) -> Result<Vec<bool>, LedgerDefect> {
        let Some(ids) = IdRange::of(rows.ids) else {
            return if rows.is_empty() { Ok(Vec::new()) } else { Err(LedgerDefect::Rows) };
        };
        if rows.first_id_out_of_order().is_some() || tags.len() != rows.len() {
            return Err(LedgerDefect::Rows);
        }
        let wanted: Vec<TagRecord> = self.records(rows, tags);
        let mut verdicts = vec![Verdict::New; wanted.len()];
        // Locked from the look-up to the append, so that no row is added in between.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for offset in state.index.tags_within(ids) {
            let entry = self.log.read(offset, state.tail.file_bytes)?;
            compare(&wanted, &tag_records(&entry)?, &mut verdicts);
        }
        let new: Vec<TagRecord> = wanted
            .iter()
            .zip(&verdicts)
            .filter(|(_, verdict)| **verdict == Verdict::New)
            .map(|(record, _)| *record)
            .collect();
        let ends = new.first().zip(new.last());
        if let Some(ids) = ends.and_then(|(first, last)| IdRange::new(first.id, last.id)) {
            let offset = state.tail.file_bytes;
            let payload: &[u8] = bytemuck::cast_slice(&new);
            state.tail =
                self.log.append(state.tail, &head(KIND_TAGS, ids, payload.len()), &[payload])?;
            state.index.add_tags(ids, offset);
        }
        let tail = state.tail;
        drop(state);
        // Even if nothing is new: another thread may have appended and not committed yet.
        self.log.commit(tail)?;
        Ok(verdicts.into_iter().map(|verdict| verdict != Verdict::Changed).collect())
    }

    fn try_record_part(&self, part: LedgerPart) -> Result<(), LedgerDefect> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (raw, left_out) = (part.raw(), bytemuck::cast_slice(&part.left_out));
        let raw = bytemuck::bytes_of(&raw);
        let head = head(KIND_PART, part.ids, raw.len() + left_out.len());
        state.tail = self.log.append(state.tail, &head, &[raw, left_out])?;
        state.index.add_part(part);
        let tail = state.tail;
        drop(state);
        self.log.commit(tail)
    }

    fn records(&self, rows: &Rows<'_>, tags: &[ContentTag]) -> Vec<TagRecord> {
        let mut hasher = blake3::Hasher::new();
        let record = |(row, tag): (usize, &ContentTag)| {
            let identity = RowIdentity::new(rows.ids[row], rows.agree_values(row));
            hasher.reset().update(&self.version_label).update(identity.as_bytes());
            let hash = hasher.finalize();
            let version = std::array::from_fn(|byte| hash.as_bytes()[byte]);
            TagRecord { id: rows.ids[row], version, tag: tag.0 }
        };
        tags.iter().enumerate().map(record).collect()
    }

    fn error(&self, defect: LedgerDefect) -> LedgerError {
        LedgerError { path: self.path.clone(), defect }
    }
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ledger").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What the ledger says about a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    New,
    Known,
    Changed,
}

/// Compares rows with an entry, both by ascending ids. A changed row stays changed, even if another
/// entry has its tag.
fn compare(wanted: &[TagRecord], known: &[TagRecord], verdicts: &mut [Verdict]) {
    let mut known = known.iter().peekable();
    for (record, verdict) in wanted.iter().zip(verdicts) {
        while known.next_if(|earlier| earlier.id < record.id).is_some() {}
        let Some(earlier) = known.next_if(|earlier| earlier.id == record.id) else { continue };
        if earlier.version == record.version {
            let same = earlier.tag == record.tag && *verdict != Verdict::Changed;
            *verdict = if same { Verdict::Known } else { Verdict::Changed };
        }
    }
}

fn head(kind: u32, ids: IdRange, payload_bytes: usize) -> RawEntry {
    let (first_id, last_id, payload_bytes) = (ids.first(), ids.last(), payload_bytes as u64);
    RawEntry { kind, reserved: 0, first_id, last_id, payload_bytes }
}

fn locked(
    path: &Path,
    open: fn(&Path) -> io::Result<DurableLog>,
) -> Result<DurableLog, LedgerDefect> {
    let file = open(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let noted =
                reshare_files::input_file::read_input(&process_path(path), 32).unwrap_or_default();
            let noted = String::from_utf8(noted).unwrap_or_default();
            let is_number = !noted.is_empty() && noted.bytes().all(|byte| byte.is_ascii_digit());
            let process = if is_number { noted } else { "of an unknown id".to_owned() };
            LedgerDefect::InUse { process }
        }
        _ => not_opened(error),
    })?;
    check_mode(file)
}

fn not_opened(error: io::Error) -> LedgerDefect {
    match error.kind() {
        io::ErrorKind::NotFound => LedgerDefect::Missing,
        io::ErrorKind::InvalidInput => LedgerDefect::NotALedger,
        _ => error.into(),
    }
}

fn check_mode(file: DurableLog) -> Result<DurableLog, LedgerDefect> {
    let (_, mode) = file.size_and_mode()?;
    if mode & 0o077 != 0 { Err(LedgerDefect::Permissions { mode }) } else { Ok(file) }
}

/// Writes down which process has the lock, only for the message of the next one.
fn note_process(path: &Path) -> io::Result<()> {
    durable::write_whole(process_path(path), std::process::id().to_string().as_bytes())
}

fn process_path(path: &Path) -> PathBuf {
    path.with_extension("pid")
}
