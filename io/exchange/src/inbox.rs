//! The directory for deliveries: one package for each sender.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_lc_rs::rand;
use reshare_engine::party::PartyId;
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_files::input_file::NotRegular;
use reshare_format::package::{PackageExpectations, PartName};
use reshare_format::session::{Session, SessionMismatch, SessionTrust, fingerprint_from_hex};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::inbox_error::{InboxDefect, InboxError, USE};
use super::limits::Limits;
use super::part_records::{PartRecords, RecordsGlance, records_of};
use super::recorded::ArrivedParts;
use super::sealed_buffer::SealedBuffers;
use super::slot::{Common, Slot};
use super::statements::Statements;
use super::stored::{self, Figures};
use crate::progress::Progress;

/// An inbox of one session, held by this process alone.
///
/// `INBOX/sender-0` is the package of party 0, byte for byte like a sender's directory.
/// `INBOX/session` holds the fingerprint of the session, so two sessions never share an inbox.
/// Until a package is closed, `INBOX/sender-0.journal` has the digests of its parts.
pub struct Inbox {
    slots: [(PartyId, Arc<Slot>); 2],
    common: Common,
    statements: Statements,
    /// Locked as long as it is open.
    _lock: File,
}

/// The parts of a package whose rows are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadedParts {
    /// Parts with rows.
    pub parts: u64,
    /// Those among them whose file has left the inbox.
    pub gone: u64,
    /// The last id up to which all are loaded.
    pub up_to: Option<i64>,
}

/// A complete package, including its manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClosedPackage {
    /// Whose it is.
    pub sender: PartyId,
    /// The number of its parts.
    pub parts: u64,
    /// Their sealed bytes.
    pub bytes: u64,
    /// The rows in them, by the manifest.
    pub rows: u64,
}

impl Inbox {
    /// Opens or creates an inbox. In packages that are not closed, parts without a journal record
    /// are read; `progress` counts their bytes and can stop this.
    ///
    /// # Errors
    /// [`InboxError`] when it belongs to another session, is in use, is damaged, or cannot be read
    /// or written.
    pub fn open(
        directory: &Path,
        session: &Session,
        trust: &SessionTrust,
        limits: Limits,
        progress: &Progress,
    ) -> Result<Self, InboxError> {
        durable::create_directory(directory).on(USE, directory)?;
        let lock = lock(directory, session)?;
        // What both senders may hold, and what the merge has not let go of yet.
        let most = limits.held_bytes.saturating_mul(2);
        let buffers = SealedBuffers::new(usize::try_from(most).unwrap_or(usize::MAX));
        let common = Common {
            limits,
            instance: instance().into(),
            grown: Arc::new(watch::Sender::new(())),
            buffers,
            may_hold: Arc::new(AtomicBool::new(true)),
        };
        let open = |party| {
            let expected = PackageExpectations::of(session, party, Some(trust))?;
            let path = Self::package_path(directory, party);
            let slot = Slot::open(path, expected, common.clone(), progress)?;
            Ok::<_, InboxError>((party, Arc::new(slot)))
        };
        let [lower, higher] = session.senders().map(|sender| sender.party);
        let slots = [open(lower)?, open(higher)?];
        let statements = Statements::new(session, trust);
        Ok(Self { slots, common, statements, _lock: lock })
    }

    /// What the parties state to each other, as far as it is here.
    pub fn statements(&self) -> &Statements {
        &self.statements
    }

    /// What [`Self::open`] would find, without digesting parts and without changing anything;
    /// `None` when there is no such directory yet.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn examine(
        directory: &Path,
        session: &Session,
        trust: &SessionTrust,
    ) -> Result<Option<[InboxFigures; 2]>, InboxError> {
        if !directory.try_exists().on(USE, directory)? {
            return Ok(None);
        }
        // A file in the place of the directory is an error here, as it is to who opens it.
        std::fs::read_dir(directory).on(USE, directory)?;
        let _lock = match directory.join(SESSION_FILE).try_exists().on(USE, directory)? {
            true => Some(lock_existing(directory, session)?),
            false => None,
        };
        let examine = |sender: PartyId| {
            let expected = PackageExpectations::of(session, sender, Some(trust))?;
            let package = Self::package_path(directory, sender);
            let found = stored::examine(&package, &expected)?;
            let (closed, Figures { parts, bytes, .. }) = (found.is_closed(), found);
            Ok::<_, InboxError>(InboxFigures { sender, closed, parts, bytes })
        };
        let [lower, higher] = session.senders().map(|sender| sender.party);
        Ok(Some([examine(lower)?, examine(higher)?]))
    }

    /// What the inbox says of the rows of one sender that are loaded, without a lock: a running
    /// receiver may be further.
    ///
    /// # Errors
    /// What the file system says.
    pub fn loaded(
        directory: &Path,
        session: &Session,
        sender: PartyId,
    ) -> Result<LoadedParts, InboxError> {
        let package = Self::package_path(directory, sender);
        let path = records_of(&package);
        let first_id = session.ids().range().first();
        let glance = PartRecords::glance(path.clone(), session.fingerprint(), first_id);
        let RecordsGlance { used, used_up_to } = glance.on(USE, &path)?;
        let is_gone = |name: &&PartName| !package.join(name.to_string()).exists();
        let gone = used.iter().filter(is_gone).count() as u64;
        Ok(LoadedParts { parts: used.len() as u64, gone, up_to: used_up_to })
    }

    /// Whether there is an inbox of this session. Takes no lock: another process may use it.
    /// `false` when there is no such directory, or when it does not name a session yet.
    ///
    /// # Errors
    /// [`InboxDefect::OtherSession`], and what the disk says.
    pub fn is_of(directory: &Path, session: &Session) -> Result<bool, InboxError> {
        match open_session_file(directory) {
            Ok(file) => check_session(directory, &file, session).map(|()| true),
            Err(InboxError::File(error)) if error.is_missing() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Keeps receivers out of an inbox while the returned file is open.
    ///
    /// # Errors
    /// As [`Self::open`]; a missing inbox is refused and not created.
    pub fn hold(directory: &Path, session: &Session) -> Result<File, InboxError> {
        lock_existing(directory, session)
    }

    /// The names of everything that an inbox may hold in addition to its packages.
    #[must_use]
    pub fn own_files(session: &Session) -> Vec<String> {
        let of_sender =
            |kind| session.senders().map(|sender| format!("sender-{}.{kind}", sender.party));
        let [journals, records] = ["journal", "records"].map(of_sender);
        journals.into_iter().chain(records).chain([SESSION_FILE.to_owned()]).collect()
    }

    /// The directory of a sender's package.
    #[must_use]
    pub fn package_path(directory: &Path, sender: PartyId) -> PathBuf {
        directory.join(format!("sender-{sender}"))
    }

    /// The directories of both packages.
    #[must_use]
    pub fn packages(&self) -> [PathBuf; 2] {
        self.slots.each_ref().map(|(_, slot)| slot.directory().to_owned())
    }

    /// Whether both packages are closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.slots.iter().all(|(_, slot)| *slot.closed().borrow())
    }

    /// Waits until both packages are closed; calls `closed` for each as it closes.
    pub async fn both_closed(&self, closed: impl Fn(ClosedPackage)) {
        let each = |slot: &(PartyId, Arc<Slot>)| {
            let ((sender, slot), report) = (slot.clone(), &closed);
            async move {
                // The slot holds the sender of this channel, so it cannot end first.
                let _ = slot.closed().wait_for(|closed| *closed).await;
                let Figures { parts, bytes, rows } = slot.figures();
                report(ClosedPackage { sender, parts, bytes, rows: rows.unwrap_or_default() });
            }
        };
        let [lower, higher] = &self.slots;
        tokio::join!(each(lower), each(higher));
    }

    /// The senders, the lower one first, and the last id up to which nothing of each is missing.
    #[must_use]
    pub fn covered(&self) -> [(PartyId, Option<i64>); 2] {
        self.slots.each_ref().map(|(sender, slot)| (*sender, slot.covered_up_to()))
    }

    /// The last id that both senders have covered.
    #[must_use]
    pub fn frontier(&self) -> Option<i64> {
        let [(_, lower), (_, higher)] = self.covered();
        lower.min(higher)
    }

    /// Whether both senders have begun to deliver, in this run of the receiver or in an earlier one.
    #[must_use]
    pub fn have_both_begun(&self) -> bool {
        self.slots.iter().all(|(_, slot)| slot.has_begun())
    }

    /// Takes what both senders have covered after `after`, the lower one's parts first. They are not
    /// replaced any more; those beyond the frontier may be.
    #[must_use]
    pub fn take(&self, after: Option<i64>) -> [ArrivedParts; 2] {
        let up_to = self.frontier();
        self.slots.each_ref().map(|(_, slot)| slot.take(after, up_to))
    }

    /// Notes that all rows up to an id are in the table: parts that have no others are used, and
    /// their files are removed unless they are kept.
    ///
    /// # Errors
    /// What the file system says.
    pub fn use_up(&self, up_to: i64, keep_files: bool) -> Result<(), InboxError> {
        for (_, slot) in &self.slots {
            slot.use_up(up_to, keep_files).on(USE, slot.directory())?;
        }
        Ok(())
    }

    /// From now on nothing is loaded: what comes goes to files, and nobody waits for memory.
    pub fn stop_holding(&self) {
        self.common.may_hold.store(false, Ordering::Relaxed);
        for (_, slot) in &self.slots {
            slot.note_moved(&slot.lock());
        }
    }

    /// Writes the parts that are only in memory into files, so that the next process finds them.
    ///
    /// # Errors
    /// What the file system says.
    pub fn write_held(&self) -> Result<(), InboxError> {
        for (_, slot) in &self.slots {
            slot.write_all_held().on(USE, slot.directory())?;
        }
        Ok(())
    }

    /// Sees every change from now on.
    #[must_use]
    pub fn growth(&self) -> watch::Receiver<()> {
        self.common.grown.subscribe()
    }

    /// Waits until both senders have asked for the list of their closed package: then they know
    /// that it is closed.
    pub async fn both_acknowledged(&self) {
        for (_, slot) in &self.slots {
            // The slot holds the sender of this channel: it cannot end first.
            let _ = slot.acknowledged().wait_for(|acknowledged| *acknowledged).await;
        }
    }

    pub(super) fn slots(&self) -> &[(PartyId, Arc<Slot>); 2] {
        &self.slots
    }

    pub(super) fn slot(&self, party: PartyId) -> Option<&Arc<Slot>> {
        self.slots.iter().find(|(sender, _)| *sender == party).map(|(_, slot)| slot)
    }
}

/// What an inbox has of one sender's package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InboxFigures {
    /// The sender.
    pub sender: PartyId,
    /// Whether the package is closed.
    pub closed: bool,
    /// The number of parts.
    pub parts: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("packages", &self.packages()).finish_non_exhaustive()
    }
}

/// A name for this process that no other one has had.
fn instance() -> String {
    let mut bytes = [0; 8];
    // Without random bytes, the time tells two starts apart.
    if rand::fill(&mut bytes).is_err() {
        bytes = OffsetDateTime::now_utc().unix_timestamp().to_be_bytes();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}

/// Locks an inbox and checks its session.
fn lock(directory: &Path, session: &Session) -> Result<File, InboxError> {
    let path = directory.join(SESSION_FILE);
    let expected = session.fingerprint().to_string();
    if !path.try_exists().on(USE, &path)? {
        let mut file = durable::DurableFile::create(&path).on(USE, &path)?;
        io::Write::write_all(&mut file, format!("{expected}\n").as_bytes()).on(USE, &path)?;
        match file.commit_new() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => other.on(USE, &path)?,
        }
    }
    lock_existing(directory, session)
}

/// The same for an inbox that was used before.
fn lock_existing(directory: &Path, session: &Session) -> Result<File, InboxError> {
    let file = open_session_file(directory)?;
    if !try_lock(&file).on(USE, &directory.join(SESSION_FILE))? {
        return Err(InboxError::InUse { path: directory.to_owned() });
    }
    check_session(directory, &file, session)?;
    Ok(file)
}

fn open_session_file(directory: &Path) -> Result<File, InboxError> {
    let path = directory.join(SESSION_FILE);
    let opened = durable::open_regular(&path).and_then(|file| file.ok_or(NotRegular.into()));
    Ok(opened.on(USE, &path)?)
}

/// Checks the session of an inbox.
fn check_session(directory: &Path, file: &File, session: &Session) -> Result<(), InboxError> {
    let (path, expected) = (directory.join(SESSION_FILE), session.fingerprint());
    let mut text = String::new();
    io::Read::read_to_string(&mut io::Read::take(file, MAX_SESSION_BYTES), &mut text)
        .on(USE, &path)?;
    let text = text.trim_end();
    if text == expected.to_string() {
        return Ok(());
    }
    match fingerprint_from_hex(text) {
        Ok(got) if got != expected => {
            Err(InboxDefect::OtherSession(SessionMismatch { expected, got }).at(directory))
        }
        _ => Err(InboxDefect::UnknownSession.at(path)),
    }
}

/// Tries a few times: the lock of a process may outlive it by a moment.
fn try_lock(file: &File) -> io::Result<bool> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Ok(()) => return Ok(true),
            Err(TryLockError::WouldBlock) => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(false)
}

const LOCK_ATTEMPTS: usize = 40;
const LOCK_PAUSE: Duration = Duration::from_millis(50);
const SESSION_FILE: &str = "session";
const MAX_SESSION_BYTES: u64 = 256;
