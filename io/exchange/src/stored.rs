//! The parts of a package in the inbox, and how they are found after a restart.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::path::Path;

use axum::body::Bytes;
use reshare_files::durable;
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::junk::is_passed_over;
use reshare_format::package::{
    CHAIN_NAME, MANIFEST_NAME, Manifest, Package, PackageExpectations, PartEntry, PartName,
    SIGNATURE_NAME, Totals,
};

use super::inbox_error::{InboxDefect, InboxError, USE};
use super::journal::{FileIdentity, Journal, Record, Records};
use super::part_records::{PartRecords, records_of};
use crate::progress::Progress;

/// A part of a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) bytes: u64,
    pub(super) blake3: blake3::Hash,
    pub(super) place: Place,
}

/// Where the bytes of a part are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In a durable file.
    File,
    /// In memory, until its rows are loaded: a crash loses it.
    Memory,
    /// Nowhere any more: its rows are loaded.
    Gone,
}

impl Stored {
    /// A part that was used, without its file.
    pub(super) fn gone(part: &PartEntry) -> Self {
        Self { bytes: part.sealed_bytes, blake3: part.sealed_digest, place: Place::Gone }
    }

    fn bytes_in(&self, place: Place) -> u64 {
        if self.place == place { self.bytes } else { 0 }
    }

    /// What the journal holds of it; nothing where its file is not as it should be.
    pub(super) fn record(&self, path: &Path) -> Option<Record> {
        if self.place != Place::File {
            return None;
        }
        let metadata = path.symlink_metadata().ok()?;
        let fits = metadata.is_file() && metadata.len() == self.bytes;
        fits.then(|| Record { file: FileIdentity::of(&metadata), blake3: self.blake3 })
    }
}

/// The parts of a package, the content of those in memory, and the sums of their bytes.
#[derive(Debug, Default)]
pub(super) struct StoredParts {
    parts: BTreeMap<PartName, Stored>,
    held: HashMap<PartName, Bytes>,
    bytes: u64,
    file_bytes: u64,
    held_bytes: u64,
}

impl StoredParts {
    pub(super) fn stored(&self, name: PartName) -> Option<Stored> {
        self.parts.get(&name).copied()
    }

    /// The content of a part that is in memory.
    pub(super) fn held(&self, name: PartName) -> Option<&Bytes> {
        self.held.get(&name)
    }

    pub(super) fn insert(&mut self, name: PartName, part: Stored) {
        self.remove(name);
        self.bytes += part.bytes;
        self.file_bytes += part.bytes_in(Place::File);
        self.held_bytes += part.bytes_in(Place::Memory);
        self.parts.insert(name, part);
    }

    /// Takes a part whose content stays in memory.
    pub(super) fn hold(&mut self, name: PartName, blake3: blake3::Hash, content: Bytes) {
        let bytes = content.len() as u64;
        self.insert(name, Stored { bytes, blake3, place: Place::Memory });
        self.held.insert(name, content);
    }

    pub(super) fn remove(&mut self, name: PartName) {
        if let Some(part) = self.parts.remove(&name) {
            self.held.remove(&name);
            self.bytes -= part.bytes;
            self.file_bytes -= part.bytes_in(Place::File);
            self.held_bytes -= part.bytes_in(Place::Memory);
        }
    }

    /// Notes where the bytes of a part are now. Those in memory are dropped.
    pub(super) fn place(&mut self, name: PartName, place: Place) {
        if let Some(part) = self.stored(name) {
            self.insert(name, Stored { place, ..part });
        }
    }

    /// The parts that are in memory.
    pub(super) fn held_names(&self) -> Vec<PartName> {
        self.held.keys().copied().collect()
    }

    /// Bytes of the files that are there.
    pub(super) fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Bytes of the parts that are in memory.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    pub(super) fn len(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of all parts.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The number and bytes of all parts except one.
    pub(super) fn without(&self, name: PartName) -> (usize, u64) {
        match self.parts.get(&name) {
            Some(part) => (self.parts.len() - 1, self.bytes - part.bytes),
            None => (self.parts.len(), self.bytes),
        }
    }

    pub(super) fn iter(&self) -> impl ExactSizeIterator<Item = (&PartName, &Stored)> {
        self.parts.iter()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = PartName> {
        self.parts.keys().copied()
    }

    /// The journal records of all parts.
    pub(super) fn records(&self, directory: &Path) -> impl Iterator<Item = (&PartName, Record)> {
        self.parts.iter().filter_map(|(name, part)| {
            Some((name, part.record(&directory.join(name.to_string()))?))
        })
    }
}

/// How much of a package is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Figures {
    pub(super) parts: u64,
    /// Bytes of the parts.
    pub(super) bytes: u64,
    /// By the manifest; `None` while the package is open.
    pub(super) rows: Option<u64>,
}

impl Figures {
    pub(super) fn is_closed(&self) -> bool {
        self.rows.is_some()
    }
}

/// What a package's directory holds.
pub(super) enum Found {
    /// Parts, and perhaps a signature.
    Open {
        /// The parts.
        parts: StoredParts,
    },
    /// A package with its manifest.
    Closed {
        /// The parts that the manifest lists.
        parts: StoredParts,
        /// The manifest.
        manifest: Box<Manifest>,
    },
}

/// Finds the content of a package's directory, or creates it. All of it is durable on return: an
/// earlier process may have been killed between a rename and the fsync of the directory.
pub(super) fn find(
    directory: &Path,
    journal: &Path,
    session: &PackageExpectations,
    used: &PartRecords,
    progress: &Progress,
) -> Result<Found, InboxError> {
    check_no_link(directory).on(USE, directory)?;
    durable::create_directory(directory).on(USE, directory)?;
    durable::remove_leftovers(directory).on(USE, directory)?;
    durable::sync_directory(directory).on(USE, directory)?;
    match directory.join(MANIFEST_NAME).symlink_metadata() {
        Ok(_) => closed(directory, session, used),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let records = Journal::read(journal, session.fingerprint).on(USE, journal)?;
            let mut parts = open(directory, &records, progress)?;
            for part in used.used_parts() {
                if parts.stored(part.name).is_none() {
                    parts.insert(part.name, Stored::gone(part));
                }
            }
            Ok(Found::Open { parts })
        }
        Err(error) => Err(FileError::new(USE, directory, error).into()),
    }
}

/// Refuses a link instead of a package's directory: the parts would be written elsewhere.
fn check_no_link(directory: &Path) -> io::Result<()> {
    match directory.symlink_metadata() {
        Ok(metadata) if metadata.is_symlink() => {
            let error = "it is a symbolic link, and a package of an inbox is a directory";
            Err(io::Error::new(io::ErrorKind::InvalidInput, error))
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// How much [`find`] would find. Changes nothing and reads no part.
pub(super) fn examine(
    directory: &Path,
    session: &PackageExpectations,
) -> Result<Figures, InboxError> {
    check_no_link(directory).on(USE, directory)?;
    match directory.join(MANIFEST_NAME).symlink_metadata() {
        Ok(_) => {
            let records = records_of(directory);
            let used = PartRecords::look(records.clone(), session).on(USE, &records)?;
            let totals = open_closed(directory, session, &used)?.manifest().totals();
            let Totals { parts, sealed_bytes: bytes, rows } = totals;
            return Ok(Figures { parts, bytes, rows: Some(rows) });
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(FileError::new(USE, directory, error).into()),
    }
    let (mut parts, mut bytes) = (0, 0);
    if directory.try_exists().on(USE, directory)? {
        each_part(directory, Unfinished::Pass, |_, path, file| {
            parts += 1;
            bytes += file.metadata().on(USE, path)?.len();
            Ok(())
        })?;
    }
    Ok(Figures { parts, bytes, rows: None })
}

/// What a closed package holds: its manifest says it.
fn closed(
    directory: &Path,
    session: &PackageExpectations,
    used: &PartRecords,
) -> Result<Found, InboxError> {
    let package = open_closed(directory, session, used)?;
    let manifest = package.manifest().clone();
    let mut parts = StoredParts::default();
    for part in manifest.parts() {
        let is_there = !used.is_used(part.name) || package.files().part_path(part.name).is_file();
        let place = if is_there { Place::File } else { Place::Gone };
        let (bytes, blake3) = (part.sealed_bytes, part.sealed_digest);
        parts.insert(part.name, Stored { bytes, blake3, place });
    }
    Ok(Found::Closed { parts, manifest: Box::new(manifest) })
}

/// Opens a closed package, of which parts that were used need not be there.
fn open_closed(
    directory: &Path,
    session: &PackageExpectations,
    used: &PartRecords,
) -> Result<Package, InboxError> {
    let failed =
        |source| InboxError::Package { path: directory.to_owned(), source: Box::new(source) };
    Package::open_without(directory, session.clone(), |name| used.is_used(name)).map_err(failed)
}

/// The parts of a package that is still open; only those that no record fits are read.
fn open(
    directory: &Path,
    records: &Records,
    progress: &Progress,
) -> Result<StoredParts, InboxError> {
    let mut parts = StoredParts::default();
    each_part(directory, Unfinished::Refuse, |name, path, file| {
        if progress.stopped() {
            return Err(InboxError::Stopped);
        }
        let metadata = file.metadata().on(USE, path)?;
        let part = match records.get(&name) {
            Some(record) if record.file == FileIdentity::of(&metadata) => {
                Stored { bytes: metadata.len(), blake3: record.blake3, place: Place::File }
            }
            _ => {
                let part = digest(file).on(USE, path)?;
                progress.add(0, part.bytes);
                part
            }
        };
        parts.insert(name, part);
        Ok(())
    })?;
    Ok(parts)
}

/// What to do about unfinished files: they were removed before, or will be removed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unfinished {
    Refuse,
    Pass,
}

/// Opens the parts of an open package one after the other. The only other files allowed are those of
/// a signature.
fn each_part(
    directory: &Path,
    unfinished: Unfinished,
    mut each: impl FnMut(PartName, &Path, File) -> Result<(), InboxError>,
) -> Result<(), InboxError> {
    for entry in fs::read_dir(directory).on(USE, directory)? {
        let entry = entry.on(USE, directory)?;
        if is_passed_over(directory, &entry.file_name()) {
            continue;
        }
        let path = entry.path();
        if unfinished == Unfinished::Pass && path.file_name().is_some_and(durable::is_temporary) {
            continue;
        }
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let file = durable::open_regular(&path).on(USE, &path)?;
        if file.is_some() && [SIGNATURE_NAME, CHAIN_NAME].contains(&name) {
            continue;
        }
        let (Ok(name), Some(file)) = (name.parse(), file) else {
            return Err(InboxDefect::Extra.at(path));
        };
        each(name, &path, file)?;
    }
    Ok(())
}

/// Reads a part without a record, and makes what was read durable.
fn digest(mut file: File) -> io::Result<Stored> {
    let mut hasher = blake3::Hasher::new();
    let bytes = io::copy(&mut file, &mut hasher)?;
    file.sync_all()?;
    Ok(Stored { bytes, blake3: hasher.finalize(), place: Place::File })
}

#[cfg(test)]
mod tests {
    use reshare_engine::fingerprint::Fingerprint;

    use super::*;

    const SESSION: Fingerprint = Fingerprint([3; 32]);
    const PARTS: u64 = 4;

    /// A package with some parts, each of a different length, and their journal.
    struct Package {
        directory: tempfile::TempDir,
        parts: StoredParts,
    }

    impl Package {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            fs::create_dir(directory.path().join("p")).unwrap();
            let mut package = Self { directory, parts: StoredParts::default() };
            for index in 0..PARTS {
                package.put(index, &vec![index as u8; 10 + index as usize]);
            }
            drop(package.begin());
            package
        }

        fn put(&mut self, index: u64, bytes: &[u8]) {
            let name = PartName::new(index);
            durable::write_whole(self.path(index), bytes).unwrap();
            let (bytes, blake3) = (bytes.len() as u64, blake3::hash(bytes));
            let stored = Stored { bytes, blake3, place: Place::File };
            self.parts.insert(name, stored);
        }

        fn begin(&self) -> Journal {
            let directory = self.directory.path().join("p");
            let records = self.parts.records(&directory);
            Journal::begin(self.journal(), SESSION, records).unwrap()
        }

        fn path(&self, index: u64) -> std::path::PathBuf {
            self.directory.path().join("p").join(PartName::new(index).to_string())
        }

        fn journal(&self) -> std::path::PathBuf {
            self.directory.path().join("journal")
        }

        /// Finds the parts as a restart does; returns how many bytes were read for it.
        #[track_caller]
        fn found(&self) -> u64 {
            let (records, progress) =
                (Journal::read(&self.journal(), SESSION).unwrap(), Progress::default());
            let found = open(&self.directory.path().join("p"), &records, &progress).unwrap();
            assert_eq!(found.parts, self.parts.parts);
            assert_eq!(found.bytes(), self.parts.bytes());
            progress.snapshot().bytes_done
        }
    }

    #[test]
    fn parts_that_are_recorded_are_not_read_again() {
        let package = Package::new();
        assert_eq!(package.found(), 0);
        fs::remove_file(package.journal()).unwrap();
        assert_eq!(package.found(), package.parts.bytes());
    }

    #[test]
    fn whatever_is_left_of_the_journal_the_same_parts_are_found() {
        let package = Package::new();
        let whole = fs::read(package.journal()).unwrap();
        for cut in 0..=whole.len() {
            fs::write(package.journal(), &whole[..cut]).unwrap();
            let read = package.found();
            assert!((cut == whole.len()) == (read == 0), "cut at {cut}: {read} bytes read");
        }
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1 << (at % 8);
            fs::write(package.journal(), &flipped).unwrap();
            assert!(package.found() > 0, "byte {at}");
        }
    }

    #[test]
    fn a_crash_between_a_part_and_its_record_costs_reading_the_part() {
        let mut package = Package::new();
        package.put(9, b"new and durable, not recorded");
        assert_eq!(package.found(), 29);
        // Replaced by other bytes of the same length: the record is of the earlier file.
        package.put(2, &[99; 12]);
        assert_eq!(package.found(), 29 + 12);
    }

    #[test]
    fn a_part_that_was_changed_in_place_is_not_what_was_recorded() {
        let mut package = Package::new();
        let changed = [7; 11];
        let modified = fs::metadata(package.path(1)).unwrap().modified().unwrap();
        // File systems update their clock every few milliseconds.
        let identity =
            |package: &Package| FileIdentity::of(&fs::metadata(package.path(1)).unwrap());
        let before = identity(&package);
        while identity(&package) == before {
            fs::write(package.path(1), changed).unwrap();
            File::options()
                .write(true)
                .open(package.path(1))
                .unwrap()
                .set_modified(modified)
                .unwrap();
        }
        package.parts.insert(
            PartName::new(1),
            Stored {
                bytes: changed.len() as u64,
                blake3: blake3::hash(&changed),
                place: Place::File,
            },
        );
        assert_eq!(package.found(), changed.len() as u64);
    }

    #[test]
    fn a_record_without_its_part_and_one_that_was_withdrawn_count_for_nothing() {
        let mut package = Package::new();
        fs::remove_file(package.path(0)).unwrap();
        package.parts.remove(PartName::new(0));
        assert_eq!(package.found(), 0);
        package.begin().withdraw(&[PartName::new(3)]).unwrap();
        assert_eq!(package.found(), 13);
    }
}
