//! Removes what a run leaves on disks: share files, packages and inboxes of one session.
//!
//! Everything is checked before anything is removed: a file that does not belong to the session, or
//! is not known, stops the purge before the first removal. Symbolic links are not followed. A
//! removal that was interrupted continues when it is run again: manifests, which identify a
//! package, are removed last, and missing files are reported. A ledger is never removed: without
//! it, a sender may blind the same rows again. Keys are removed as they are named, for without them
//! what an attacker has stored stays closed.

use std::collections::HashSet;
use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_exchange::Inbox;
use reshare_files::durable;
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::junk::is_passed_over;
use reshare_format::keys::{
    AgreementKey, DecapsulationKey, EncapsulatedSecret, EncapsulationKeyError, SharedKey,
    load_identity,
};
use reshare_format::package::{
    CHAIN_NAME, MANIFEST_NAME, RECORDS_NAME, SIGNATURE_NAME, read_manifest,
};
use reshare_format::session::{Session, SessionMismatch};
use reshare_format::share_file::{self, Kind};
use serde::Serialize;

mod error;
mod received;

pub use error::{PurgeDefect, PurgeError};
pub use received::{NotReceived, check_ledger};

/// What will be removed: checked, but not touched yet.
#[derive(Debug, Default)]
pub struct Purge {
    steps: Vec<Step>,
    things: Vec<Thing>,
    missing: Vec<PathBuf>,
    /// Locks that keep receivers out of these inboxes.
    _held: Vec<File>,
}

/// A thing to be removed.
#[derive(Debug, Clone, Serialize)]
pub struct Thing {
    /// Where it is.
    pub path: PathBuf,
    /// What it is: `package of sender 0`, `share file (plain)`, `inbox`.
    pub what: String,
    /// The number of its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Whose it is.
    #[serde(skip)]
    pub origin: Origin,
}

impl Thing {
    /// Whether it is a private key.
    #[must_use]
    pub fn is_key(&self) -> bool {
        let of_sender = matches!(self.origin, Origin::Key { .. } | Origin::SharedKey);
        of_sender || self.what == IDENTITY
    }
}

const IDENTITY: &str = "identity of the receiver";

/// Whose a thing is, and what a receipt is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Only the receiver has such a thing.
    Receiver,
    /// A package.
    Package {
        /// Who claims to have made it.
        sender: PartyId,
        /// BLAKE3 of its manifest.
        manifest_digest: blake3::Hash,
    },
    /// A plain or blinded share file.
    File {
        /// Whose shares these are.
        party: PartyId,
        /// Its rows.
        rows: u64,
    },
    /// A sender's agreement key.
    Key {
        /// Whose it is.
        party: PartyId,
    },
    /// The key that both senders have in a file.
    SharedKey,
    /// An empty directory, which an interrupted removal leaves.
    Emptied,
}

#[derive(Debug)]
enum Step {
    File(PathBuf),
    /// The files to be removed first, those to be removed last, then the directory.
    Directory {
        path: PathBuf,
        first: Vec<String>,
        last: Vec<String>,
    },
}

impl Purge {
    /// What would be removed.
    #[must_use]
    pub fn things(&self) -> &[Thing] {
        &self.things
    }

    /// Named paths that are missing: removed before, or mistyped.
    #[must_use]
    pub fn missing(&self) -> &[PathBuf] {
        &self.missing
    }

    /// Checks that at least one of the named paths exists.
    ///
    /// # Errors
    /// [`PurgeDefect::NothingThere`].
    pub fn check_any(&self) -> Result<(), PurgeError> {
        match self.missing.first() {
            Some(path) if self.things.is_empty() => {
                Err(PurgeDefect::NothingThere { named: self.missing.len() }.at(path))
            }
            _ => Ok(()),
        }
    }

    /// Adds a share file of this session, or records that it is missing.
    ///
    /// # Errors
    /// [`PurgeError`]: then nothing may be removed.
    pub fn add_file(&mut self, session: &Session, path: &Path) -> Result<(), PurgeError> {
        let Some((path, metadata)) = self.file(path)? else { return Ok(()) };
        let header = share_file::inspect(&path)?;
        check_session(session, &path, header.spec.fingerprint)?;
        check_only_name(&path, &metadata)?;
        let spec = &header.spec;
        let origin = match spec.kind {
            Kind::Rebuilt => Origin::Receiver,
            Kind::Plain | Kind::Blinded => Origin::File { party: spec.party, rows: spec.rows },
        };
        let what = format!("share file ({})", spec.kind);
        self.add(Step::File(path.clone()), path, what, (1, metadata.len()), origin)
    }

    /// Adds the file of a key of this session, a sender's agreement key or the receiver's identity,
    /// or records that it is missing.
    ///
    /// The name is removed, and the bytes are not overwritten: flash memory and file systems that
    /// copy on write would keep them all the same.
    ///
    /// # Errors
    /// As [`Self::add_file`], and [`PurgeDefect::OtherKey`] when the session does not have it.
    pub fn add_key(&mut self, session: &Session, path: &Path) -> Result<(), PurgeError> {
        let Some((path, metadata)) = self.file(path)? else { return Ok(()) };
        check_only_name(&path, &metadata)?;
        let (what, origin) = key(session, &path)?;
        self.add(Step::File(path.clone()), path, what, (1, metadata.len()), origin)
    }

    /// Adds a closed package of this session, or what an interrupted removal left of it.
    ///
    /// # Errors
    /// As [`Self::add_file`].
    pub fn add_package(&mut self, session: &Session, path: &Path) -> Result<(), PurgeError> {
        let path = plain(path);
        if self.is_missing(&path)? || self.is_emptied(&path)? {
            return Ok(());
        }
        let LookedAt { step, sender, manifest_digest, files, bytes } = package(session, &path)?;
        let what = format!("package of sender {sender}");
        let origin = Origin::Package { sender, manifest_digest };
        self.add(step, path, what, (files, bytes), origin)
    }

    /// Adds an inbox of this session with both packages. No receiver may be using it.
    ///
    /// # Errors
    /// As [`Self::add_file`].
    pub fn add_inbox(&mut self, session: &Session, path: &Path) -> Result<(), PurgeError> {
        let path = plain(path);
        if self.is_missing(&path)? {
            return Ok(());
        }
        check_directory(&path)?;
        if self.is_emptied(&path)? {
            return Ok(());
        }
        self._held.push(Inbox::hold(&path, session)?);
        let packages = session.senders().map(|sender| Inbox::package_path(&path, sender.party));
        let own = Inbox::own_files(session);
        let (mut files, mut bytes, mut steps) = (0, 0, vec![]);
        for entry in list(&path)? {
            let metadata = examine(&entry)?;
            if packages.contains(&entry) {
                // Empty: what an interrupted removal leaves.
                let step = if metadata.is_dir() && list(&entry)?.is_empty() {
                    Step::Directory { path: entry, first: vec![], last: vec![] }
                } else {
                    let package = package(session, &entry)?;
                    (files, bytes) = (files + package.files, bytes + package.bytes);
                    package.step
                };
                steps.push(step);
            } else if own.iter().any(|name| path.join(name) == entry) && metadata.is_file() {
                (files, bytes) = (files + 1, bytes + metadata.len());
            } else {
                return Err(PurgeDefect::Extra.at(entry));
            }
        }
        self.steps.extend(steps);
        // The file that names the session of the inbox is removed last.
        let (last, first) = own.into_iter().partition(|name| !name.contains('.'));
        let step = Step::Directory { path: path.clone(), first, last };
        self.add(step, path, "inbox".to_owned(), (files, bytes), Origin::Receiver)
    }

    /// Removes everything, durable on return.
    ///
    /// # Errors
    /// [`PurgeError::File`]: some of it may be gone; another call continues.
    pub fn remove(self) -> Result<Vec<Thing>, PurgeError> {
        for step in &self.steps {
            match step {
                Step::File(path) => durable::remove_file(path).on("remove", path)?,
                Step::Directory { path, first, last } => {
                    for names in [first, last].into_iter().filter(|names| !names.is_empty()) {
                        let names = names.iter().cloned();
                        durable::remove_files(path, names).on("empty", path)?;
                    }
                    remove_emptied(path)?;
                }
            }
        }
        Ok(self.things)
    }

    /// Whether the path is missing. If so, records it.
    fn is_missing(&mut self, path: &Path) -> Result<bool, PurgeError> {
        match path.symlink_metadata() {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.missing.push(path.to_owned());
                Ok(true)
            }
            Err(error) => Err(FileError::new("examine", path, error).into()),
        }
    }

    /// A regular file, by its plain path; `None` when it is missing, which is recorded.
    fn file(&mut self, path: &Path) -> Result<Option<(PathBuf, Metadata)>, PurgeError> {
        let path = plain(path);
        if self.is_missing(&path)? {
            return Ok(None);
        }
        let metadata = examine(&path)?;
        match metadata.is_file() {
            true => Ok(Some((path, metadata))),
            false => Err(PurgeDefect::NotRegular.at(path)),
        }
    }

    /// Whether the path is an empty directory. If so, it will be removed.
    fn is_emptied(&mut self, path: &Path) -> Result<bool, PurgeError> {
        let emptied = examine(path)?.is_dir() && list(path)?.is_empty();
        if emptied {
            let step = Step::Directory { path: path.to_owned(), first: vec![], last: vec![] };
            let what = "empty directory".to_owned();
            self.add(step, path.to_owned(), what, (0, 0), Origin::Emptied)?;
        }
        Ok(emptied)
    }

    fn add(
        &mut self,
        step: Step,
        path: PathBuf,
        what: String,
        (files, bytes): (u64, u64),
        origin: Origin,
    ) -> Result<(), PurgeError> {
        let overlaps = |other: &Path| path.starts_with(other) || other.starts_with(&path);
        if self.things.iter().any(|thing| overlaps(&thing.path)) {
            return Err(PurgeDefect::Twice.at(path));
        }
        self.steps.push(step);
        self.things.push(Thing { path, what, files, bytes, origin });
        Ok(())
    }
}

/// Whose key is in a file.
fn key(session: &Session, path: &Path) -> Result<(String, Origin), PurgeError> {
    let as_agreement = match AgreementKey::load(path) {
        Ok(key) => {
            let Some(sender) = session.sender_with_key(key.public_key()) else {
                return Err(PurgeDefect::OtherKey.at(path));
            };
            let party = sender.party;
            return Ok((format!("agreement key of sender {party}"), Origin::Key { party }));
        }
        Err(error) => error,
    };
    if let Some(found) = other_sender_key(session, path) {
        return found.map_err(|defect| defect.at(path));
    }
    match load_identity(path) {
        Ok(identity) if identity.to_public() == session.receiver().recipient => {
            Ok((IDENTITY.to_owned(), Origin::Receiver))
        }
        Ok(_) => Err(PurgeDefect::OtherKey.at(path)),
        Err(_) => Err(as_agreement.into()),
    }
}

/// What else a sender has of a session's secrets: its key of ML-KEM alone, the key of both senders,
/// or the secret that it has encapsulated. `None` for anything else.
fn other_sender_key(
    session: &Session,
    path: &Path,
) -> Option<Result<(String, Origin), PurgeDefect>> {
    let [lower, higher] = session.senders().map(|sender| sender.party);
    let is = |is_it: bool, what: String, origin| match is_it {
        true => Ok((what, origin)),
        false => Err(PurgeDefect::OtherKey),
    };
    if let Ok(key) = DecapsulationKey::load(path) {
        let is_it = session.encapsulation_key() == Some(key.public_key());
        return Some(is(is_it, format!("key of sender {lower}"), Origin::Key { party: lower }));
    }
    if let Ok(key) = SharedKey::load(path) {
        let is_it = session.shared_key_id() == Some(key.id());
        return Some(is(is_it, "key of both senders".to_owned(), Origin::SharedKey));
    }
    match EncapsulatedSecret::load(path, &session.fingerprint()) {
        Ok(_) => {
            let what = format!("secret of sender {higher}");
            Some(Ok((what, Origin::Key { party: higher })))
        }
        Err(EncapsulationKeyError::OtherSession { .. }) => Some(Err(PurgeDefect::OtherKey)),
        Err(_) => None,
    }
}

/// A package that was checked.
struct LookedAt {
    step: Step,
    sender: PartyId,
    manifest_digest: blake3::Hash,
    files: u64,
    bytes: u64,
}

/// Checks a package.
fn package(session: &Session, path: &Path) -> Result<LookedAt, PurgeError> {
    check_directory(path)?;
    let manifest = read_manifest(path)?;
    let claims = manifest.claims();
    check_session(session, path, claims.fingerprint)?;
    if session.sender(claims.sender).is_none() {
        return Err(PurgeDefect::NoSender { party: claims.sender }.at(path));
    }
    let listed: HashSet<String> = claims.parts.iter().map(|part| part.name.to_string()).collect();
    let of_manifest = [RECORDS_NAME, SIGNATURE_NAME, CHAIN_NAME, MANIFEST_NAME];
    let (mut first, mut files, mut bytes) = (vec![], 0, 0);
    for path in list(path)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
        if !listed.contains(&name) && !of_manifest.contains(&name.as_str()) {
            return Err(PurgeDefect::Extra.at(path));
        }
        let metadata = examine(&path)?;
        if !metadata.is_file() {
            return Err(PurgeDefect::NotRegular.at(path));
        }
        (files, bytes) = (files + 1, bytes + metadata.len());
        if name != MANIFEST_NAME {
            first.push(name);
        }
    }
    let last = vec![MANIFEST_NAME.to_owned()];
    let step = Step::Directory { path: path.to_owned(), first, last };
    let (sender, manifest_digest) = (claims.sender, manifest.digest());
    Ok(LookedAt { step, sender, manifest_digest, files, bytes })
}

/// Removes a directory of which only files of the operating system are left; it stays where they
/// do, or where it is a medium's first.
fn remove_emptied(path: &Path) -> Result<(), PurgeError> {
    match durable::remove_directory(path) {
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::ResourceBusy
            ) && list(path)?.is_empty() =>
        {
            tracing::warn!("{} stays: {error}; nothing of the session is in it", path.display());
            Ok(())
        }
        removed => Ok(removed.on("remove", path)?),
    }
}

/// Removes a trailing slash, with which a symbolic link would be followed.
fn plain(path: &Path) -> PathBuf {
    path.components().collect()
}

fn examine(path: &Path) -> Result<Metadata, PurgeError> {
    Ok(path.symlink_metadata().on("examine", path)?)
}

/// Refuses a file that would be left under another name.
fn check_only_name(path: &Path, metadata: &Metadata) -> Result<(), PurgeError> {
    match metadata.nlink() > 1 {
        true => Err(PurgeDefect::OtherNames.at(path)),
        false => Ok(()),
    }
}

fn check_directory(path: &Path) -> Result<(), PurgeError> {
    match examine(path)?.is_dir() {
        true => Ok(()),
        false => Err(PurgeDefect::NotADirectory.at(path)),
    }
}

fn check_session(
    session: &Session,
    path: &Path,
    got: reshare_engine::fingerprint::Fingerprint,
) -> Result<(), PurgeError> {
    SessionMismatch::check(session.fingerprint(), got)
        .map_err(|mismatch| PurgeDefect::OtherSession(mismatch).at(path))
}

fn list(directory: &Path) -> Result<Vec<PathBuf>, PurgeError> {
    let entries = fs::read_dir(directory).and_then(|entries| {
        let entries = entries.collect::<io::Result<Vec<_>>>()?.into_iter();
        let own = entries.filter(|entry| !is_passed_over(directory, &entry.file_name()));
        Ok(own.map(|entry| entry.path()).collect::<Vec<PathBuf>>())
    });
    Ok(entries.on("list", directory)?)
}
