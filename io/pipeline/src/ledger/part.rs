//! The record of a part in a ledger.

use std::collections::BTreeMap;

use reshare_files::ids::IdRange;
use reshare_format::package::{PartEntry, PartName, SealedPart, Timestamp};
use time::OffsetDateTime;

use super::format::RawPart;

/// The most recent sealing of one part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerPart {
    /// The index, which is its name.
    pub index: u64,
    /// The range that it was cut to, which every later run keeps.
    pub ids: IdRange,
    /// Its rows; 0 when none were left, so that there is no file.
    pub rows: u64,
    /// The size of the file.
    pub sealed_bytes: u64,
    /// BLAKE3 of the file.
    pub sealed_digest: blake3::Hash,
    /// The digest of its rows' content tags, in order.
    pub content_digest: blake3::Hash,
    /// When its rows were read from the database.
    pub exported_at: Timestamp,
    /// The rows that were left out because only their content had changed.
    pub left_out: Vec<i64>,
}

impl LedgerPart {
    /// A part without rows, of which there is no file.
    #[must_use]
    pub fn empty(index: u64, ids: IdRange, exported_at: Timestamp, left_out: Vec<i64>) -> Self {
        let none = blake3::Hash::from_bytes([0; 32]);
        let (sealed_digest, content_digest) = (none, none);
        Self {
            index,
            ids,
            rows: 0,
            sealed_bytes: 0,
            sealed_digest,
            content_digest,
            exported_at,
            left_out,
        }
    }

    /// Its file name.
    #[must_use]
    pub fn name(&self) -> PartName {
        PartName::new(self.index)
    }

    /// Its entry in a manifest.
    #[must_use]
    pub fn entry(&self) -> PartEntry {
        let Self { ids, rows, sealed_bytes, sealed_digest, content_digest, exported_at, .. } =
            *self;
        let part = SealedPart { name: self.name(), sealed_bytes, sealed_digest };
        PartEntry::new(&part, ids, rows, content_digest, exported_at)
    }

    pub(super) fn raw(&self) -> RawPart {
        RawPart {
            index: self.index,
            rows: self.rows,
            sealed_bytes: self.sealed_bytes,
            exported_at: self.exported_at.moment().unix_timestamp(),
            content_digest: *self.content_digest.as_bytes(),
            sealed_digest: *self.sealed_digest.as_bytes(),
        }
    }

    /// `None` for bytes that [`Self::raw`] never writes.
    pub(super) fn read(ids: IdRange, raw: &RawPart, left_out: &[u8]) -> Option<Self> {
        let (left_out, rest) = left_out.as_chunks::<8>();
        let exported_at = OffsetDateTime::from_unix_timestamp(raw.exported_at).ok()?;
        rest.is_empty().then(|| Self {
            index: raw.index,
            ids,
            rows: raw.rows,
            sealed_bytes: raw.sealed_bytes,
            sealed_digest: blake3::Hash::from_bytes(raw.sealed_digest),
            content_digest: blake3::Hash::from_bytes(raw.content_digest),
            exported_at: Timestamp::from(exported_at),
            left_out: left_out.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect(),
        })
    }
}

/// Every sealed file that a ledger has recorded.
///
/// A part is recorded before a byte of it leaves. So a part that was delivered and is not here was
/// sealed with another ledger, or changed since.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SealedBefore(BTreeMap<(u64, [u8; 32]), u64>);

impl SealedBefore {
    pub(super) fn add(&mut self, part: &LedgerPart) {
        self.0.insert((part.index, *part.sealed_digest.as_bytes()), part.sealed_bytes);
    }

    /// Whether a part of this name had these bytes.
    #[must_use]
    pub fn has(&self, part: PartName, sealed_digest: &blake3::Hash) -> bool {
        self.0.contains_key(&(part.index(), *sealed_digest.as_bytes()))
    }

    /// Whether a part of this name had this size, so that it is worth reading.
    #[must_use]
    pub fn had_size(&self, part: PartName, sealed_bytes: u64) -> bool {
        let (index, all) = (part.index(), [u8::MAX; 32]);
        self.0.range((index, [0; 32])..=(index, all)).any(|(_, bytes)| *bytes == sealed_bytes)
    }
}

/// Recorded parts, divided by their state at the destination.
pub(crate) struct RecordedParts {
    /// Those that are there, byte for byte as they were recorded.
    pub(crate) kept: Vec<LedgerPart>,
    /// Those to be sealed again.
    pub(crate) missing: Vec<LedgerPart>,
}
