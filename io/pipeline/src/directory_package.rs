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
use crate::ledger::{LedgerPart, RecordedParts};

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
        recorded: Vec<LedgerPart>,
        progress: &Progress,
    ) -> Result<RecordedParts, PipelineError> {
        let there: HashMap<PartName, u64> = self.writer.parts()?.into_iter().collect();
        // A part without its record is made again: only its maker knows its first and last row.
        let maybe = |part: &LedgerPart| {
            let is_there = there.get(&part.name()) == Some(&part.sealed_bytes);
            is_there && self.writer.is_recorded(&part.entry())
        };
        let (maybe, mut missing): (Vec<_>, Vec<_>) = recorded.into_iter().partition(maybe);
        progress.begin("check parts", maybe.iter().map(|part| part.rows).sum());
        let checked: Vec<(bool, LedgerPart)> = maybe
            .into_par_iter()
            .map(|part| Ok((self.is_there(&part, progress)?, part)))
            .collect::<Result<_, PipelineError>>()?;
        let mut kept = Vec::with_capacity(checked.len());
        for (is_there, part) in checked {
            if is_there { kept.push(part) } else { missing.push(part) }
        }
        Ok(RecordedParts { kept, missing })
    }

    /// Whether the part's file is the one that was recorded.
    fn is_there(&self, part: &LedgerPart, progress: &Progress) -> Result<bool, PipelineError> {
        if progress.stopped() {
            return Err(PipelineError::Stopped);
        }
        let found = self.writer.read_part(part.name())?;
        progress.add(part.rows, part.sealed_bytes);
        Ok(found.is_some_and(|found| found.sealed_digest == part.sealed_digest))
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
/// Changes nothing. Returns the bytes of the existing parts; `None` when there is no such directory
/// yet.
///
/// # Errors
/// As a run: the package is closed, the directory is in use or holds something else, or any error of
/// the file system.
pub fn examine_package(
    session: &Session,
    sender: PartyId,
    trust: Option<&SessionTrust>,
    directory: &Path,
) -> Result<Option<(usize, u64)>, PipelineError> {
    let expectations = super::packages::expectations(session, sender, trust)?;
    if !directory.try_exists().on(LOCK, directory)? {
        return Ok(None);
    }
    let _in_use = lock_existing(directory)?;
    let recipient = session.receiver().recipient.clone();
    let (_, parts) = PackageWriter::examine(directory.to_owned(), expectations, recipient)?;
    Ok(Some((parts.len(), parts.iter().map(|(_, bytes)| bytes).sum())))
}

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
