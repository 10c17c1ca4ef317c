//! Blinds and seals a sender's parts from several threads, and closes the package.

use std::fs::{File, TryLockError};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use reshare_engine::ids::IdRange;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::row_key::{ContentTag, content_digest};
use reshare_engine::rows::Rows;
use serde::Serialize;

use super::error::PipelineError;
use super::sender::SenderKeys;
use crate::durable;
use crate::package::{
    Manifest, ManifestContent, PackageError, PackageWriter, PartEntry, PartName, Timestamp,
};
use crate::session::Session;

/// A package being made.
pub(crate) struct Sealer {
    keys: SenderKeys,
    writer: PackageWriter,
    entries: Mutex<Vec<PartEntry>>,
    /// Keeps other runs out of the directory until it is closed.
    _in_use: File,
}

/// What a sender packed.
#[derive(Debug, Clone, Serialize)]
pub struct PackReport {
    /// The sender.
    pub sender: u8,
    /// Parts in the package.
    pub parts: u64,
    /// Rows in the package.
    pub rows: u64,
    /// Bytes of share data in them.
    pub share_bytes: u64,
    /// Bytes of the sealed parts.
    pub sealed_bytes: u64,
}

impl Sealer {
    /// Begins a package, or begins one anew that an earlier run did not close.
    ///
    /// # Errors
    /// When the directory is closed already, in use by another run, or cannot be used.
    pub(crate) fn create(
        session: &Session,
        keys: SenderKeys,
        directory: &Path,
    ) -> Result<Self, PipelineError> {
        let in_use = lock(directory)?;
        let expectations = super::packages::expectations(session, keys.sender());
        let recipient = session.receiver().recipient.clone();
        let writer = PackageWriter::create(directory, expectations, recipient)?;
        Ok(Self { keys, writer, entries: Mutex::default(), _in_use: in_use })
    }

    /// Blinds the rows of a batch in place and seals them.
    pub(crate) fn seal_in_place(
        &self,
        index: usize,
        ids: IdRange,
        exported_at: Timestamp,
        batch: &mut RowBatch,
    ) -> Result<(), PipelineError> {
        let mut tags = Vec::with_capacity(batch.len());
        self.keys.blinder().blind_in_place(batch, &mut tags)?;
        self.seal(index, ids, exported_at, batch, &tags)
    }

    /// Blinds plain rows into a batch and seals that.
    pub(crate) fn seal_from(
        &self,
        index: usize,
        ids: IdRange,
        exported_at: Timestamp,
        plain: &Rows<'_>,
        batch: &mut RowBatch,
    ) -> Result<(), PipelineError> {
        let mut tags = Vec::with_capacity(plain.len());
        self.keys.blinder().blind(plain, batch, &mut tags)?;
        self.seal(index, ids, exported_at, batch, &tags)
    }

    fn seal(
        &self,
        index: usize,
        ids: IdRange,
        exported_at: Timestamp,
        blinded: &RowBatch,
        tags: &[ContentTag],
    ) -> Result<(), PipelineError> {
        let rows = blinded.rows();
        let part = self.writer.seal(index as u64, ids, &rows)?;
        let digest = blake3::Hash::from_bytes(content_digest(tags));
        let entry = PartEntry::new(&part, ids, rows.len() as u64, digest, exported_at);
        self.entries.lock().unwrap_or_else(PoisonError::into_inner).push(entry);
        Ok(())
    }

    /// Closes the package over the parts that were sealed, and removes what an earlier run
    /// with other parts has left behind.
    pub(crate) fn close(self, session: &Session) -> Result<PackReport, PipelineError> {
        let mut parts = self.entries.into_inner().unwrap_or_else(PoisonError::into_inner);
        parts.sort_by_key(|part| part.ids);
        let known: std::collections::HashSet<PartName> =
            parts.iter().map(|part| part.name).collect();
        for (name, _) in self.writer.parts()? {
            if !known.contains(&name) {
                self.writer.remove_part(name)?;
            }
        }
        let content = ManifestContent {
            session_id: session.id().to_string(),
            fingerprint: session.fingerprint(),
            sender: self.keys.sender(),
            receiver: session.receiver().party,
            key_check: self.keys.key_check().0,
            parts,
            signed_at: Timestamp::now(),
        };
        let manifest = self.writer.close(&content)?;
        Ok(PackReport::of(session, &manifest))
    }
}

/// Locks the directory of a package: two runs would replace each other's parts, and the
/// manifest of one would list what the other has written.
fn lock(directory: &Path) -> Result<File, PipelineError> {
    let failed = |source| {
        let (action, path) = ("lock", directory.to_owned());
        PackageError::Io { action, path, source }
    };
    durable::create_directory(directory).map_err(failed)?;
    let file = File::open(directory).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(PipelineError::InUse { directory: directory.to_owned() })
        }
        Err(TryLockError::Error(error)) => {
            // Some network file systems lock no directory: then nothing but care keeps runs
            // apart.
            tracing::warn!(directory = %directory.display(), %error, "cannot lock the package");
            Ok(file)
        }
    }
}

impl PackReport {
    fn of(session: &Session, manifest: &Manifest) -> Self {
        let totals = manifest.totals();
        Self {
            sender: manifest.content().sender.index(),
            parts: totals.parts,
            rows: totals.rows,
            share_bytes: totals.rows * session.layout().row_share_bytes() as u64,
            sealed_bytes: totals.sealed_bytes,
        }
    }
}
