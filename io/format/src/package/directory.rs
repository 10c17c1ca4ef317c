//! A closed package: a directory that holds exactly what its manifest lists.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::keys::Identity;
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_files::durable::{is_temporary, open_regular};
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::junk::is_passed_over;

use super::{
    CHAIN_NAME, MANIFEST_NAME, MAX_MANIFEST_BYTES, Manifest, ManifestError, ManifestSignature,
    PackageDefect, PackageError, PackageExpectations, PackageRecords, PartEntry, PartError,
    PartName, RECORDS_NAME, SIGNATURE_NAME, UnverifiedManifest, open_held_part,
    open_held_part_prefix, open_part, open_part_prefix,
};
use crate::share_file::RowPrefix;

/// A package whose manifest fits the session and whose files are exactly those it lists.
///
/// The bytes of a part are checked when the part is opened.
#[derive(Debug)]
pub struct Package {
    files: PartFiles,
    manifest: Manifest,
}

/// The directory of one sender's parts, closed or not, and what the session says of them.
#[derive(Debug, Clone)]
pub struct PartFiles {
    directory: PathBuf,
    session: PackageExpectations,
}

impl Package {
    /// Reads and verifies the manifest and its signature, then compares the directory with it.
    ///
    /// # Errors
    /// [`PackageError`] when the manifest is refused, or when a file is missing, extra, of another
    /// size or not regular.
    pub fn open(
        directory: impl Into<PathBuf>,
        session: PackageExpectations,
    ) -> Result<Self, PackageError> {
        Self::open_without(directory, session, |_| false)
    }

    /// As [`Self::open`], but parts that `is_gone` names need not be there any more.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_without(
        directory: impl Into<PathBuf>,
        session: PackageExpectations,
        is_gone: impl Fn(PartName) -> bool,
    ) -> Result<Self, PackageError> {
        let directory = directory.into();
        let unverified = read_manifest(&directory)?;
        let is_signed = session.trust.is_some();
        let signature = if is_signed { ManifestSignature::load(&directory)? } else { None };
        let verified = unverified.verify(&session, signature.as_ref());
        let manifest = verified.map_err(|source| PackageError::Manifest {
            path: directory.join(MANIFEST_NAME),
            source,
        })?;
        check_closed_list(&directory, manifest.parts(), is_signed, is_gone)?;
        let package = Self { files: PartFiles { directory, session }, manifest };
        if let Some(records) = package.records()? {
            let listed = records.check_listed(package.manifest.content());
            listed.map_err(|defect| defect.at(package.directory().join(RECORDS_NAME)))?;
        }
        Ok(package)
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The files of its parts.
    #[must_use]
    pub fn files(&self) -> &PartFiles {
        &self.files
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.files.directory
    }

    /// The records of its parts, verified; `None` where it has none.
    ///
    /// # Errors
    /// As [`PackageRecords::load`].
    pub fn records(&self) -> Result<Option<PackageRecords>, PackageError> {
        match self.files.session.trust {
            Some(_) => PackageRecords::load(&self.files.directory, &self.files.session),
            None => Ok(None),
        }
    }
}

impl PartFiles {
    /// Takes a directory; nothing in it is looked at.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, session: PackageExpectations) -> Self {
        Self { directory: directory.into(), session }
    }

    /// Whose parts they are.
    #[must_use]
    pub fn sender(&self) -> PartyId {
        self.session.sender
    }

    /// The path of a part.
    #[must_use]
    pub fn part_path(&self, name: PartName) -> PathBuf {
        self.directory.join(name.to_string())
    }

    /// Opens a part into a batch: see [`open_part`].
    ///
    /// # Errors
    /// [`PartError`]; the batch is then empty.
    pub fn open_part(
        &self,
        entry: &PartEntry,
        identity: &Identity,
        batch: &mut RowBatch,
    ) -> Result<(), PartError> {
        open_part(&self.part_path(entry.name), entry, identity, &self.session, batch)
    }

    /// Opens the beginning of a part: see [`open_part_prefix`].
    ///
    /// # Errors
    /// [`PartError`].
    pub fn open_part_prefix(
        &self,
        entry: &PartEntry,
        identity: &Identity,
    ) -> Result<RowPrefix, PartError> {
        open_part_prefix(&self.part_path(entry.name), entry, identity, &self.session)
    }

    /// Opens a part that is in memory into a batch: see [`open_held_part`].
    ///
    /// # Errors
    /// [`PartError`]; the batch is then empty.
    pub fn open_held_part(
        &self,
        sealed: &[u8],
        entry: &PartEntry,
        identity: &Identity,
        batch: &mut RowBatch,
    ) -> Result<(), PartError> {
        open_held_part(sealed, entry, identity, &self.session, batch)
    }

    /// Opens the beginning of a part that is in memory: see [`open_held_part_prefix`].
    ///
    /// # Errors
    /// [`PartError`].
    pub fn open_held_part_prefix(
        &self,
        sealed: &[u8],
        entry: &PartEntry,
        identity: &Identity,
    ) -> Result<RowPrefix, PartError> {
        open_held_part_prefix(sealed, entry, identity, &self.session)
    }
}

/// Reads the manifest of a package of any session, to show or to verify it.
///
/// # Errors
/// [`PackageError`] when there is no manifest or it is refused.
pub fn read_manifest(directory: &Path) -> Result<UnverifiedManifest, PackageError> {
    let metadata = fs::metadata(directory).on("open", directory)?;
    if !metadata.is_dir() {
        return Err(PackageDefect::NotADirectory.at(directory));
    }
    let path = directory.join(MANIFEST_NAME);
    let file = match open_regular(&path) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(PackageDefect::NotRegular.at(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(PackageDefect::NotClosed.at(directory));
        }
        Err(error) => return Err(FileError::new("read", &path, error).into()),
    };
    let mut bytes = Vec::new();
    let mut limited = file.take(MAX_MANIFEST_BYTES + 1);
    limited.read_to_end(&mut bytes).on("read", &path)?;
    let read = UnverifiedManifest::read(bytes);
    read.map_err(|source: ManifestError| PackageError::Manifest { path, source })
}

/// Checks that a directory holds exactly these parts.
///
/// The manifest may be there or not: it is written last. So may its signature and the records of
/// the parts, if packages are signed.
pub(super) fn check_closed_list(
    directory: &Path,
    parts: &[PartEntry],
    is_signed: bool,
    is_gone: impl Fn(PartName) -> bool,
) -> Result<(), PackageError> {
    let mut missing: HashMap<PartName, u64> =
        parts.iter().map(|part| (part.name, part.sealed_bytes)).collect();
    for entry in fs::read_dir(directory).on("list", directory)? {
        let entry = entry.on("list", directory)?;
        let (name, path) = (entry.file_name(), entry.path());
        if is_passed_over(directory, &name) {
            continue;
        }
        if is_temporary(&name) {
            return Err(PackageDefect::UnfinishedFile.at(path));
        }
        let expected = match part_name(&name).and_then(|part| missing.remove(&part)) {
            Some(bytes) => Some(bytes),
            None if name == MANIFEST_NAME => None,
            None if is_signed && (is_of_signature(&name) || name == RECORDS_NAME) => None,
            None => return Err(PackageDefect::ExtraFile.at(path)),
        };
        let metadata = fs::symlink_metadata(&path).on("examine", &path)?;
        if !metadata.is_file() {
            return Err(PackageDefect::NotRegular.at(path));
        }
        let got = metadata.len();
        if let Some(expected) = expected.filter(|bytes| *bytes != got) {
            return Err(PackageDefect::PartSize { expected, got }.at(path));
        }
    }
    match missing.into_keys().filter(|name| !is_gone(*name)).min() {
        Some(name) => Err(PackageDefect::MissingPart.at(directory.join(name.to_string()))),
        None => Ok(()),
    }
}

/// Whether a file is part of the manifest's signature.
pub(super) fn is_of_signature(name: &OsStr) -> bool {
    name == SIGNATURE_NAME || name == CHAIN_NAME
}

pub(super) fn part_name(name: &OsStr) -> Option<PartName> {
    name.to_str()?.parse().ok()
}
