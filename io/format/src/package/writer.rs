//! Makes a package: parts from several threads, then the manifest.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::keys::Recipient;
use reshare_engine::rows::Rows;
use reshare_files::durable::{self, DurableFile};
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::ids::IdRange;
use reshare_files::junk::is_passed_over;

use super::directory::{check_closed_list, is_of_signature, part_name};
use super::records_writer::RecordsWriter;
use super::{
    CHAIN_NAME, Compression, MANIFEST_NAME, Manifest, ManifestContent, PackageDefect, PackageError,
    PackageExpectations, PartEntry, PartError, PartName, PartRecord, RECORDS_NAME, SIGNATURE_NAME,
    SealedPart, Sealing, SignedManifest, seal_part_recorded,
};
use crate::keys::certificate::PartyCertificate;

/// The directory of a package that is still open.
///
/// A part may be replaced until the manifest closes the package.
pub struct PackageWriter {
    directory: PathBuf,
    session: PackageExpectations,
    recipient: Recipient,
    certificate: Option<PartyCertificate>,
    compression: Compression,
    /// Where each part is recorded as it is made.
    records: Option<Mutex<RecordsWriter>>,
}

impl PackageWriter {
    /// Creates the directory, or continues in one that is not closed and removes the unfinished
    /// files of a crash.
    ///
    /// # Errors
    /// [`PackageDefect::AlreadyClosed`] when there is a manifest, [`PackageDefect::ExtraFile`]
    /// when something lies there that could not stay; what the file system says.
    pub fn create(
        directory: impl Into<PathBuf>,
        session: PackageExpectations,
        recipient: Recipient,
    ) -> Result<Self, PackageError> {
        let directory = directory.into();
        durable::create_directory(&directory).on("create", &directory)?;
        let (writer, _) = Self::examine(directory, session, recipient)?;
        durable::remove_leftovers(&writer.directory).on("clean up", &writer.directory)?;
        Ok(writer)
    }

    /// Checks whether a package can be made in an existing directory, as [`Self::create`] does, and
    /// returns its parts; changes nothing.
    ///
    /// # Errors
    /// As [`Self::create`].
    pub fn examine(
        directory: PathBuf,
        session: PackageExpectations,
        recipient: Recipient,
    ) -> Result<(Self, Vec<(PartName, u64)>), PackageError> {
        let writer = Self {
            directory,
            session,
            recipient,
            certificate: None,
            compression: Compression::Auto,
            records: None,
        };
        writer.check_open()?;
        // Check now, and not when the package is closed and all the work is done.
        let parts = writer.parts()?;
        Ok((writer, parts))
    }

    /// Sets the certificate that signs the manifest. A package of a session with certificates
    /// cannot be closed without one.
    #[must_use]
    pub fn signed_by(self, certificate: PartyCertificate) -> Self {
        Self { certificate: Some(certificate), ..self }
    }

    /// Keeps a signed record of each part: see [`Self::record`]. All parts of the package must have
    /// one when it is closed.
    ///
    /// # Errors
    /// [`PackageError::File`].
    pub fn recorded_by(self, certificate: PartyCertificate) -> Result<Self, PackageError> {
        let records = RecordsWriter::open(&self.directory, &self.session, certificate.clone())?;
        let records = Some(Mutex::new(records));
        Ok(Self { certificate: Some(certificate), records, ..self })
    }

    /// Sets the compression of the columns that can shrink; the default is [`Compression::Auto`].
    #[must_use]
    pub fn compressed(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// The directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names and sizes of the existing parts, in order.
    ///
    /// # Errors
    /// [`PackageDefect::ExtraFile`] when something lies there that is no part.
    pub fn parts(&self) -> Result<Vec<(PartName, u64)>, PackageError> {
        let mut parts = Vec::new();
        for entry in fs::read_dir(&self.directory).on("list", &self.directory)? {
            let entry = entry.on("list", &self.directory)?;
            let name = entry.file_name();
            let is_proof = is_of_signature(&name) || name == RECORDS_NAME;
            if is_passed_over(&self.directory, &name) {
                continue;
            }
            if durable::is_temporary(&name) || self.session.trust.is_some() && is_proof {
                continue;
            }
            let path = entry.path();
            let Some(part) = part_name(&name) else {
                return Err(PackageDefect::ExtraFile.at(path));
            };
            let metadata = fs::symlink_metadata(&path).on("examine", &path)?;
            if !metadata.is_file() {
                return Err(PackageDefect::NotRegular.at(path));
            }
            parts.push((part, metadata.len()));
        }
        parts.sort();
        Ok(parts)
    }

    /// Reads an existing part, to compare its digest; `None` when there is none.
    ///
    /// # Errors
    /// Any error of the file system.
    pub fn read_part(&self, name: PartName) -> Result<Option<SealedPart>, PackageError> {
        let path = self.directory.join(name.to_string());
        let mut file = match durable::open_regular(&path) {
            Ok(Some(file)) => file,
            Ok(None) => return Err(PackageDefect::NotRegular.at(path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileError::new("read", &path, error).into()),
        };
        let mut hasher = blake3::Hasher::new();
        let sealed_bytes = io::copy(&mut file, &mut hasher).on("read", &path)?;
        Ok(Some(SealedPart { name, sealed_bytes, sealed_digest: hasher.finalize() }))
    }

    /// Signs the record of a part and makes it durable, before the part has its name. Nothing is
    /// done where no records are kept.
    ///
    /// # Errors
    /// [`PackageError::Record`] when it cannot be signed; what the file system says.
    pub fn record(&self, record: &PartRecord) -> Result<(), PackageError> {
        match &self.records {
            Some(records) => lock(records).put(record),
            None => Ok(()),
        }
    }

    /// Whether a part needs no other record: it has just this one, or none are kept.
    #[must_use]
    pub fn is_recorded(&self, part: &PartEntry) -> bool {
        self.records.as_ref().is_none_or(|records| lock(records).has(part))
    }

    /// Seals one part; callable from several threads for different parts.
    ///
    /// # Errors
    /// [`PackageDefect::AlreadyClosed`] when there is a manifest; [`PackageError::Part`] when
    /// the rows are not of the session, the part is too large, or the disk refuses.
    pub fn seal(
        &self,
        part_index: u64,
        ids: IdRange,
        rows: &Rows<'_>,
    ) -> Result<SealedPart, PackageError> {
        self.seal_recorded(part_index, ids, rows, |part| Ok::<_, PackageError>(*part))
    }

    /// Like [`Self::seal`], and calls `record` before the part appears, and returns what that
    /// returns: see [`seal_part_recorded`].
    ///
    /// # Errors
    /// As [`Self::seal`], and any error of `record`.
    pub fn seal_recorded<T, E: From<PackageError>>(
        &self,
        part_index: u64,
        ids: IdRange,
        rows: &Rows<'_>,
        record: impl FnOnce(&SealedPart) -> Result<T, E>,
    ) -> Result<T, E> {
        self.check_open()?;
        let spec = self.session.spec(part_index, ids, rows.len() as u64);
        let (recipient, compression) = (&self.recipient, self.compression);
        let max_part_bytes = self.session.max_part_bytes;
        let sealing = Sealing { recipient, max_part_bytes, compression };
        let record = |part: &SealedPart| record(part).map_err(SealStop::Record);
        match seal_part_recorded(&self.directory, &spec, rows, sealing, record) {
            Ok(recorded) => Ok(recorded),
            Err(SealStop::Part(error)) => Err(PackageError::from(error).into()),
            Err(SealStop::Record(error)) => Err(error),
        }
    }

    /// Removes a part that no longer belongs to the package.
    ///
    /// # Errors
    /// [`PackageDefect::AlreadyClosed`] when there is a manifest; what the file system says.
    pub fn remove_part(&self, name: PartName) -> Result<(), PackageError> {
        self.check_open()?;
        let path = self.directory.join(name.to_string());
        Ok(durable::remove_file(&path).on("remove", &path)?)
    }

    /// Closes the package: signs the manifest, checks it against session, directory and records,
    /// and writes chain, signature and manifest, in this order. After that the package must not
    /// change.
    ///
    /// # Errors
    /// [`PackageError`] when the manifest does not fit; the package then stays open.
    pub fn close(self, content: &ManifestContent) -> Result<Manifest, PackageError> {
        self.check_open()?;
        let certificate = self.certificate.as_ref();
        let signed = SignedManifest::make(content, &self.session, certificate, &self.directory)?;
        let SignedManifest { manifest, signature } = signed;
        check_closed_list(&self.directory, manifest.parts(), self.session.trust.is_some(), |_| {
            false
        })?;
        if let Some(records) = &self.records {
            lock(records).settle(content)?;
        }
        if let Some(signature) = &signature {
            self.write(CHAIN_NAME, signature.chain().to_pem().as_bytes())?;
            self.write(SIGNATURE_NAME, signature.bytes())?;
        }
        let path = self.directory.join(MANIFEST_NAME);
        let write = || {
            let mut file = DurableFile::create(&path)?;
            file.write_all(manifest.bytes())?;
            file.commit_new()
        };
        match write() {
            Ok(()) => Ok(manifest),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                Err(PackageDefect::AlreadyClosed.at(self.directory))
            }
            Err(error) => Err(FileError::new("write", &path, error).into()),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), PackageError> {
        let path = self.directory.join(name);
        Ok(durable::write_whole(&path, bytes).on("write", &path)?)
    }

    fn check_open(&self) -> Result<(), PackageError> {
        match fs::symlink_metadata(self.directory.join(MANIFEST_NAME)) {
            Ok(_) => Err(PackageDefect::AlreadyClosed.at(&self.directory)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(FileError::new("examine", &self.directory, error).into()),
        }
    }
}

fn lock(records: &Mutex<RecordsWriter>) -> MutexGuard<'_, RecordsWriter> {
    // A file that was written halfway is written again from the same place.
    records.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why sealing failed: the part itself, or the caller's record of it.
enum SealStop<E> {
    Part(PartError),
    Record(E),
}

impl<E> From<PartError> for SealStop<E> {
    fn from(error: PartError) -> Self {
        Self::Part(error)
    }
}

impl std::fmt::Debug for PackageWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PackageWriter").field("directory", &self.directory).finish_non_exhaustive()
    }
}
