//! Writes the part records of a package that is being made.

use std::collections::HashSet;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::fingerprint::Fingerprint;
use reshare_files::durable::{self, DurableFile, DurableLog};
use reshare_files::file_error::FileError;

use super::record_map::{OfPart, RecordMap};
use super::{
    ManifestContent, PackageDefect, PackageError, PackageExpectations, PackageRecords, PartEntry,
    PartName, PartRecord, PartRecordError, RECORDS_NAME, RecordLine, RecordedPart,
    SignedPartRecord,
};
use crate::keys::certificate::{CertificateChain, PartyCertificate};

/// The file of records, which grows by one with each part.
pub(super) struct RecordsWriter {
    path: PathBuf,
    certificate: PartyCertificate,
    chain: Arc<CertificateChain>,
    /// Made with the first record of this process.
    log: Option<DurableLog>,
    /// Whether this process has written its certificates.
    has_chain: bool,
    bytes: u64,
    written: RecordMap<Written>,
    /// Whether each line of the file counts.
    is_exact: bool,
}

/// A record in the file.
struct Written {
    part: PartEntry,
    signed: SignedPartRecord,
    /// The certificates may have become others between two runs.
    chain: Arc<CertificateChain>,
}

impl OfPart for Written {
    fn part(&self) -> &PartEntry {
        &self.part
    }
}

impl RecordsWriter {
    /// Continues the file of an earlier run, if there is one. A damaged one is started again, and
    /// so are the parts whose records it had.
    pub(super) fn open(
        directory: &Path,
        session: &PackageExpectations,
        certificate: PartyCertificate,
    ) -> Result<Self, PackageError> {
        let path = directory.join(RECORDS_NAME);
        let found = match PackageRecords::load(directory, session) {
            Ok(found) => found,
            Err(error @ PackageError::Record { .. }) => {
                tracing::warn!("the records are written again, and the parts: {error}");
                None
            }
            Err(error) => return Err(error),
        };
        let found = found.unwrap_or_default();
        let (is_exact, bytes) = (found.is_exact, found.bytes);
        let mut written = RecordMap::default();
        for RecordedPart { record, signed, chain } in found.iter().cloned() {
            written.insert(Written { part: record.part, signed, chain });
        }
        let chain = Arc::new(certificate.chain().clone());
        Ok(Self { path, certificate, chain, log: None, has_chain: false, bytes, written, is_exact })
    }

    /// Whether a part is recorded just so.
    pub(super) fn has(&self, part: &PartEntry) -> bool {
        self.written.get(part.name).is_some_and(|written| written.part == *part)
    }

    /// Signs a record and makes it durable.
    pub(super) fn put(&mut self, record: &PartRecord) -> Result<(), PackageError> {
        let signed = record.sign(&self.certificate).map_err(|source| self.refused(source))?;
        self.append(record.fingerprint, &signed).map_err(|error| self.failed(error))?;
        let (part, chain) = (record.part.clone(), Arc::clone(&self.chain));
        self.is_exact &= !self.written.insert(Written { part, signed, chain });
        Ok(())
    }

    fn append(&mut self, session: Fingerprint, signed: &SignedPartRecord) -> io::Result<()> {
        let mut lines = String::new();
        let log = match &self.log {
            Some(log) => log,
            None => {
                if self.bytes == 0 {
                    durable::write_whole(&self.path, b"")?;
                }
                // The package's directory is locked, and media may have no other locks.
                let log = DurableLog::open_alone(&self.path)?;
                log.truncate(self.bytes)?;
                self.log.insert(log)
            }
        };
        if !self.has_chain {
            lines.push_str(&RecordLine::chain(session, &self.chain));
        }
        lines.push_str(&RecordLine::part(session, signed));
        // After a failure the same place is written again.
        log.write_all_at(lines.as_bytes(), self.bytes)?;
        log.sync()?;
        self.bytes += lines.len() as u64;
        self.has_chain = true;
        Ok(())
    }

    /// Leaves exactly the records of the parts that a manifest lists, and of ids without a row.
    pub(super) fn settle(&mut self, content: &ManifestContent) -> Result<(), PackageError> {
        if let Some(part) = content.parts.iter().find(|part| !self.has(part)) {
            return Err(PackageDefect::RecordMissing { name: part.name }.at(&self.path));
        }
        let listed: HashSet<PartName> = content.parts.iter().map(|part| part.name).collect();
        let is_listed = |of: &Written| of.part.rows == 0 || listed.contains(&of.part.name);
        self.is_exact &= !self.written.retain(is_listed);
        if self.is_exact {
            return Ok(());
        }
        self.log = None;
        self.rewrite(content).map_err(|error| self.failed(error))
    }

    fn rewrite(&self, content: &ManifestContent) -> io::Result<()> {
        let session = content.fingerprint;
        let mut file = io::BufWriter::new(DurableFile::create(&self.path)?);
        let mut chain: Option<&CertificateChain> = None;
        for written in self.written.iter() {
            if chain != Some(&*written.chain) {
                file.write_all(RecordLine::chain(session, &written.chain).as_bytes())?;
                chain = Some(&written.chain);
            }
            file.write_all(RecordLine::part(session, &written.signed).as_bytes())?;
        }
        file.into_inner().map_err(io::IntoInnerError::into_error)?.commit()
    }

    fn refused(&self, source: PartRecordError) -> PackageError {
        PackageError::Record { path: self.path.clone(), line: self.written.len() + 2, source }
    }

    fn failed(&self, error: io::Error) -> PackageError {
        FileError::new("write", &self.path, error).into()
    }
}
