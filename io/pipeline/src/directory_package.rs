//! Makes a package in a directory.

use std::collections::{HashMap, HashSet};
use std::fs::{File, TryLockError};
use std::path::Path;

use rayon::iter::{IntoParallelIterator, ParallelIterator};
use reshare_engine::party::PartyId;
use reshare_engine::rows::Rows;
use reshare_exchange::progress::Progress;
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_files::ids::IdRange;
use reshare_format::package::{
    ManifestContent, PackageExpectations, PackageWriter, PartName, SealedPart,
};
use reshare_format::session::{Session, SessionTrust};

use super::error::PipelineError;
use super::sender::LedgeredSender;
use crate::ledger::{Ledger, LedgerPart, RecordedParts, SealedBefore};

/// The directory, which no other run may use at the same time.
pub(crate) struct DirectoryPackage {
    writer: PackageWriter,
    session: PackageExpectations,
    key_check: [u8; 16],
    /// Keeps other runs out of the directory until it is closed.
    _in_use: File,
}

impl DirectoryPackage {
    /// Begins a package, or continues one that an earlier run did not close.
    ///
    /// # Errors
    /// When the package is already closed, or the directory is in use by another run or not usable.
    pub(crate) fn create(
        session: &Session,
        sender: &LedgeredSender,
        directory: &Path,
    ) -> Result<Self, PipelineError> {
        let keys = sender.keys();
        let expectations = keys.expectations(session)?;
        let in_use = lock(directory)?;
        let recipient = session.receiver().recipient.clone();
        let mut writer = PackageWriter::create(directory, expectations.clone(), recipient)?
            .compressed(sender.compression());
        if let Some(credentials) = keys.credentials() {
            writer = writer.recorded_by(credentials.certificate.clone())?;
        }
        let key_check = keys.key_check().0;
        Ok(Self { writer, session: expectations, key_check, _in_use: in_use })
    }

    pub(super) fn find(
        &self,
        ledger: &Ledger,
        progress: &Progress,
    ) -> Result<RecordedParts, PipelineError> {
        let there = self.writer.parts()?;
        let recorded = ledger.parts();
        let rows: HashMap<PartName, u64> =
            recorded.iter().map(|part| (part.name(), part.rows)).collect();
        let rows_of = |name: PartName| rows.get(&name).copied().unwrap_or(0);
        progress.begin("check parts", there.iter().map(|(name, _)| rows_of(*name)).sum());
        let read: Vec<_> = there
            .into_par_iter()
            .map(|(name, _)| self.read_known(name, rows_of(name), ledger, progress))
            .collect();
        // The first one that is refused, however the threads took turns.
        let read: Vec<SealedPart> = read.into_iter().collect::<Result<_, _>>()?;
        let read: HashMap<PartName, blake3::Hash> =
            read.iter().map(|part| (part.name, part.sealed_digest)).collect();
        // A part without its record is made again: only its maker knows its first and last row.
        let is_there = |part: &LedgerPart| {
            let is_read = read.get(&part.name()) == Some(&part.sealed_digest);
            is_read && self.writer.is_recorded(&part.entry())
        };
        let (kept, missing) = recorded.into_iter().partition(is_there);
        Ok(RecordedParts { kept, missing })
    }

    /// Reads a part, which must be one that the ledger has recorded at some time.
    fn read_known(
        &self,
        name: PartName,
        rows: u64,
        ledger: &Ledger,
        progress: &Progress,
    ) -> Result<SealedPart, PipelineError> {
        if progress.stopped() {
            return Err(PipelineError::Stopped);
        }
        let found = self.writer.read_part(name)?;
        let known = found.filter(|found| ledger.has_sealed(name, &found.sealed_digest));
        let known = known.ok_or_else(|| self.unknown(name))?;
        progress.add(rows, known.sealed_bytes);
        Ok(known)
    }

    fn unknown(&self, part: PartName) -> PipelineError {
        let directory = self.writer.directory().to_owned();
        PipelineError::UnknownPart { directory, part }
    }

    pub(super) fn put(
        &self,
        index: u64,
        ids: IdRange,
        rows: &Rows<'_>,
        record: impl FnOnce(&SealedPart) -> Result<LedgerPart, PipelineError>,
    ) -> Result<LedgerPart, PipelineError> {
        self.writer.seal_recorded(index, ids, rows, |sealed| {
            let part = record(sealed)?;
            self.record(&part, IdRange::of(rows.ids))?;
            Ok(part)
        })
    }

    /// Records that no row comes of some ids, unless that is recorded already.
    pub(super) fn cover(&self, part: &LedgerPart) -> Result<(), PipelineError> {
        if self.writer.is_recorded(&part.entry()) { Ok(()) } else { self.record(part, None) }
    }

    fn record(&self, part: &LedgerPart, bounds: Option<IdRange>) -> Result<(), PipelineError> {
        Ok(self.writer.record(&self.session.record(self.key_check, part.entry(), bounds))?)
    }

    pub(super) fn close(self, content: &ManifestContent) -> Result<(), PipelineError> {
        let known: HashSet<PartName> = content.parts.iter().map(|part| part.name).collect();
        for (name, _) in self.writer.parts()? {
            if !known.contains(&name) {
                self.writer.remove_part(name)?;
            }
        }
        self.writer.close(content)?;
        Ok(())
    }
}

/// Checks whether a sender can make its package in a directory, as a run does when it begins.
/// Changes nothing. Returns the number and the bytes of the existing parts; `None` when there is no
/// such directory yet.
///
/// Where it is known what the ledger has recorded, each part must be of it by name and size, and a
/// sample of [`SAMPLE_PARTS`] by digest: a run reads them all.
///
/// # Errors
/// As a run: the package is closed, the directory is in use, holds something else or a part that
/// the ledger does not know, or any error of the file system.
pub fn examine_package(
    session: &Session,
    sender: PartyId,
    trust: Option<&SessionTrust>,
    sealed: Option<&SealedBefore>,
    directory: &Path,
) -> Result<Option<(usize, u64)>, PipelineError> {
    let expectations = super::packages::expectations(session, sender, trust)?;
    if !directory.try_exists().on(LOCK, directory)? {
        return Ok(None);
    }
    let _in_use = lock_existing(directory)?;
    let recipient = session.receiver().recipient.clone();
    let (writer, parts) = PackageWriter::examine(directory.to_owned(), expectations, recipient)?;
    if let Some(sealed) = sealed {
        let apart = parts.len().div_ceil(SAMPLE_PARTS).max(1);
        for (place, (part, bytes)) in parts.iter().enumerate() {
            let mut known = sealed.had_size(*part, *bytes);
            if known && place % apart == 0 {
                let found = writer.read_part(*part)?;
                known = found.is_some_and(|found| sealed.has(*part, &found.sealed_digest));
            }
            if !known {
                let directory = directory.to_owned();
                return Err(PipelineError::UnknownPart { directory, part: *part });
            }
        }
    }
    Ok(Some((parts.len(), parts.iter().map(|(_, bytes)| bytes).sum())))
}

/// Parts that [`examine_package`] reads: at most 1 GiB by the default size.
pub const SAMPLE_PARTS: usize = 16;

const LOCK: &str = "lock";

/// Locks the directory of a package: two runs would replace each other's parts, and the
/// manifest of one would list what the other has written.
fn lock(directory: &Path) -> Result<File, PipelineError> {
    durable::create_directory(directory).on(LOCK, directory)?;
    lock_existing(directory)
}

fn lock_existing(directory: &Path) -> Result<File, PipelineError> {
    let file = File::open(directory).on(LOCK, directory)?;
    match durable::lock_soon(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(PipelineError::InUse { directory: directory.to_owned() })
        }
        Err(TryLockError::Error(error)) => {
            // Some network file systems cannot lock a directory: then the operator must not start
            // two runs.
            tracing::warn!(directory = %directory.display(), %error, "cannot lock the package");
            Ok(file)
        }
    }
}
