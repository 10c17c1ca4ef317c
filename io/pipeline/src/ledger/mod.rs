//! A sender's record of what it has blinded: one blinding, one content.
//!
//! Anyone who sees one row blinded twice with different contents learns the difference. So a sender
//! writes the content tag of every row into its ledger before the row's bytes leave. It refuses a
//! row if the ledger has another tag for the same id and agree values.
//!
//! It is a log and not a database: rows come in id order, a part at a time, so a part needs only
//! one append and one read of the entry with the same ids. A B-tree would write each page several
//! times, and could not distinguish a truncated file from a new one.
//!
//! A ledger protects only what it knows of, so a lost, copied or older one must be noticed. It says
//! which machine and which file it belongs to, and a register next to it says that it was made and
//! how far it had come. What neither shows, a part at the destination may: see [`SealedBefore`].

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::rand;
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_engine::row_key::{ContentTag, RowIdentity, content_digest};
use reshare_engine::rows::Rows;
use reshare_files::durable::{self, DurableFile, DurableLog, FileBirth};
use reshare_files::ids::IdRange;
use reshare_files::machine::machine_id;
use reshare_format::package::PartName;

use format::{Home, KIND_PART, KIND_PART_WITHOUT_BAD_ROWS, KIND_TAGS, RawEntry, TagRecord};
use glance::rows_in;
use index::{Index, tag_records};
use log::{Log, Tail};
use register::Register;

mod error;
mod format;
mod glance;
mod index;
mod log;
mod part;
mod register;

pub use error::{LedgerDefect, LedgerError};
pub use glance::LedgerFigures;
pub use part::{LedgerPart, SealedBefore};

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
    state_directory: PathBuf,
    /// The number of its last commit when it was opened.
    opened_with: u64,
    /// Whether the register has a commit of this run.
    noted: Mutex<bool>,
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
    /// A [`LedgerError`] when it cannot be created, or when the existing one is refused;
    /// [`LedgerDefect::Lost`] when there was one before.
    pub fn create(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<bool, LedgerError> {
        let path = Self::path_in(state, fingerprint, sender);
        let known = sequence_in_register(state, fingerprint, sender)?;
        let make = || -> Result<(bool, u64), LedgerDefect> {
            if path.symlink_metadata().is_err() {
                if known.is_some() {
                    return Err(LedgerDefect::Lost);
                }
                if make(&path, fingerprint, sender)? {
                    return Ok((true, NEW_SEQUENCE));
                }
            }
            let (_, sequence) = check(&path, fingerprint, sender, known)?;
            Ok((false, sequence))
        };
        let (made, sequence) = make().map_err(|defect| LedgerError { path, defect })?;
        if known.is_none() {
            enter_in_register(state, fingerprint, sender, sequence)?;
        }
        Ok(made)
    }

    /// Opens a ledger exclusively and checks all of it.
    ///
    /// # Errors
    /// A [`LedgerError`]: missing, in use, truncated, corrupted, of another session or sender, from
    /// another machine, a copy, or an older state of itself.
    pub fn open(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<Self, LedgerError> {
        Self::open_at(state, fingerprint, sender, Whence::Here)
    }

    /// Opens a ledger that was made elsewhere, as [`Self::open`] does. From now on it is at home
    /// here, and its other copy is not.
    ///
    /// What was blinded with another copy of it since it was copied is not in it: such a row, if
    /// its content has changed, would be blinded twice.
    ///
    /// # Errors
    /// As [`Self::open`], and [`LedgerDefect::AtHome`] when it is no copy.
    pub fn adopt(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<Self, LedgerError> {
        Self::open_at(state, fingerprint, sender, Whence::Elsewhere)
    }

    fn open_at(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
        whence: Whence,
    ) -> Result<Self, LedgerError> {
        let path = Self::path_in(state, fingerprint, sender);
        let failed = |defect| LedgerError { path: path.clone(), defect };
        let file = locked(&path, DurableLog::open).and_then(made_private);
        if matches!(file, Err(LedgerDefect::Missing)) {
            return Err(failed(missing(state, fingerprint, sender)));
        }
        let known = sequence_in_register(state, fingerprint, sender)?;
        let mut index = Index::default();
        let opened = file.and_then(|file| {
            note_process(&path)?;
            let checked = Log::check(file, fingerprint, sender, |entry| index.add(entry))?;
            let (mut log, tail, size) = checked;
            match (whence, check_home(&log, fingerprint)) {
                (Whence::Here, home) => home?,
                (Whence::Elsewhere, Ok(())) => return Err(LedgerDefect::AtHome),
                (Whence::Elsewhere, Err(LedgerDefect::Elsewhere { .. })) => {
                    check_sequence(known, log.sequence())?;
                    log.move_home(home(fingerprint, log.birth()?))?;
                }
                (Whence::Elsewhere, Err(defect)) => return Err(defect),
            }
            check_sequence(known, log.sequence())?;
            let tail = log.begin(tail, size, |entry| index.add(entry))?;
            Ok((log, tail))
        });
        let (log, tail) = opened.map_err(failed)?;
        let sequence = log.sequence();
        if known.is_none() {
            enter_in_register(state, fingerprint, sender, sequence)?;
        }
        Ok(Self {
            path,
            state_directory: state.to_owned(),
            fingerprint: *fingerprint,
            sender,
            version_label: fingerprint.label("ledger-version"),
            log,
            state: Mutex::new(State { tail, index }),
            noted: Mutex::new(false),
            opened_with: sequence,
        })
    }

    /// Checks all of a ledger as [`Self::open`] does, and writes nothing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn examine(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<LedgerFigures, LedgerError> {
        let path = Self::path_in(state, fingerprint, sender);
        let register = Register::look(state).map_err(|defect| of_register(state, defect))?;
        let known = register.and_then(|register| register.sequence(fingerprint, sender));
        match check(&path, fingerprint, sender, known) {
            Ok((figures, _)) => Ok(figures),
            Err(LedgerDefect::Missing) if known.is_some() => {
                Err(LedgerError { path, defect: LedgerDefect::Lost })
            }
            Err(defect) => Err(LedgerError { path, defect }),
        }
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

    /// Whether a part of this name was sealed to these bytes with this ledger.
    #[must_use]
    pub fn has_sealed(&self, part: PartName, sealed_digest: &blake3::Hash) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.index.sealed().has(part, sealed_digest)
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
        let admitted = self.try_admit(rows, tags).map_err(|defect| self.error(defect))?;
        self.note()?;
        Ok(admitted)
    }

    /// Records a part durably, before its file appears.
    ///
    /// # Errors
    /// A [`LedgerError`]: then the part may not leave.
    pub fn record_part(&self, part: LedgerPart) -> Result<(), LedgerError> {
        self.try_record_part(part).map_err(|defect| self.error(defect))?;
        self.note()
    }

    /// Enters the first commit of this run in the register, before anything that it knows of
    /// leaves.
    fn note(&self) -> Result<(), LedgerError> {
        let mut noted = self.noted.lock().unwrap_or_else(PoisonError::into_inner);
        let sequence = self.log.sequence();
        if *noted || sequence == self.opened_with {
            return Ok(());
        }
        enter_in_register(&self.state_directory, &self.fingerprint, self.sender, sequence)?;
        *noted = true;
        Ok(())
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
        let kind = match part.bad_rows.is_empty() {
            true => KIND_PART,
            false => KIND_PART_WITHOUT_BAD_ROWS,
        };
        let payload = part.payload();
        let head = head(kind, part.ids, payload.len());
        state.tail = self.log.append(state.tail, &head, &[&payload])?;
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

/// Where a ledger that is opened was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whence {
    Here,
    Elsewhere,
}

/// Makes an empty ledger; `false` when there is one.
fn make(path: &Path, fingerprint: &Fingerprint, sender: PartyId) -> Result<bool, LedgerDefect> {
    let mut digest_key = [0; 32];
    rand::fill(&mut digest_key).map_err(|_| io::Error::other("no random bytes"))?;
    if let Some(directory) = path.parent() {
        durable::create_directory(directory)?;
    }
    let mut file = DurableFile::create(path)?;
    let home = home(fingerprint, file.birth()?);
    file.write_all(&format::new_header(fingerprint, sender, digest_key, &home))?;
    match file.commit_new() {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        made => Ok(made.map(|()| true)?),
    }
}

/// Checks all of a ledger and writes nothing. Also returns its sequence.
fn check(
    path: &Path,
    fingerprint: &Fingerprint,
    sender: PartyId,
    known: Option<u64>,
) -> Result<(LedgerFigures, u64), LedgerDefect> {
    let file = locked(path, DurableLog::open_read_only).and_then(check_mode)?;
    let (mut index, mut rows) = (Index::default(), 0);
    let (log, ..) = Log::check(file, fingerprint, sender, |entry| {
        rows += rows_in(entry);
        index.add(entry)
    })?;
    check_home(&log, fingerprint)?;
    check_sequence(known, log.sequence())?;
    Ok((glance::figures(&index, rows), log.sequence()))
}

/// Where a ledger belongs that is this file on this machine.
fn home(fingerprint: &Fingerprint, file: FileBirth) -> Home {
    let digest = |id: String| {
        let label = fingerprint.label("machine");
        *blake3::Hasher::new().update(&label).update(id.as_bytes()).finalize().as_bytes()
    };
    Home { machine: machine_id().map_or([0; 32], digest), file }
}

/// Refuses a ledger of another machine, and a copy.
fn check_home(log: &Log, fingerprint: &Fingerprint) -> Result<(), LedgerDefect> {
    let (made, now) = (log.home(), home(fingerprint, log.birth()?));
    let (machine, file) = (made.machine != now.machine, made.file != now.file);
    if machine || file { Err(LedgerDefect::Elsewhere { machine, file }) } else { Ok(()) }
}

/// Refuses a ledger that has fewer commits than when a run last wrote in it.
fn check_sequence(known: Option<u64>, got: u64) -> Result<(), LedgerDefect> {
    match known {
        Some(expected) if got < expected => Err(LedgerDefect::RolledBack { expected, got }),
        _ => Ok(()),
    }
}

/// Why there is no ledger: there never was one, or it is lost.
fn missing(state: &Path, fingerprint: &Fingerprint, sender: PartyId) -> LedgerDefect {
    match Register::look(state) {
        Ok(Some(register)) if register.sequence(fingerprint, sender).is_some() => {
            LedgerDefect::Lost
        }
        _ => LedgerDefect::Missing,
    }
}

fn sequence_in_register(
    state: &Path,
    fingerprint: &Fingerprint,
    sender: PartyId,
) -> Result<Option<u64>, LedgerError> {
    let register = Register::open(state).map_err(|defect| of_register(state, defect))?;
    Ok(register.sequence(fingerprint, sender))
}

fn enter_in_register(
    state: &Path,
    fingerprint: &Fingerprint,
    sender: PartyId,
    sequence: u64,
) -> Result<(), LedgerError> {
    let entered =
        Register::open(state).and_then(|mut register| register.note(fingerprint, sender, sequence));
    entered.map_err(|defect| of_register(state, defect))
}

/// The sequence of a new ledger, of which both slots are written.
const NEW_SEQUENCE: u64 = 1;

fn of_register(state: &Path, defect: LedgerDefect) -> LedgerError {
    LedgerError { path: Register::path_in(state), defect }
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
    Ok(file)
}

fn not_opened(error: io::Error) -> LedgerDefect {
    match error.kind() {
        io::ErrorKind::NotFound => LedgerDefect::Missing,
        io::ErrorKind::InvalidInput => LedgerDefect::NotALedger,
        _ => error.into(),
    }
}

/// Takes a ledger that its user alone may read and write, or can be made so again, which is not
/// done here.
fn check_mode(file: DurableLog) -> Result<DurableLog, LedgerDefect> {
    let mode = file.mode_to_be()?;
    check_private(mode)?;
    Ok(file)
}

/// As [`check_mode`], of a file that is opened to be written: it is made private again.
fn made_private(file: DurableLog) -> Result<DurableLog, LedgerDefect> {
    let (_, mode) = file.size_and_private_mode()?;
    check_private(mode)?;
    Ok(file)
}

fn check_private(mode: u32) -> Result<(), LedgerDefect> {
    if mode & 0o077 != 0 { Err(LedgerDefect::Permissions { mode }) } else { Ok(()) }
}

/// Writes down which process has the lock, only for the message of the next one.
fn note_process(path: &Path) -> io::Result<()> {
    durable::write_whole(process_path(path), std::process::id().to_string().as_bytes())
}

fn process_path(path: &Path) -> PathBuf {
    path.with_extension("pid")
}
