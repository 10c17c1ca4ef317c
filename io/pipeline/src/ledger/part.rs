//! The record of a part in a ledger.

use std::collections::BTreeMap;

use reshare_files::ids::IdRange;
use reshare_format::package::{PartEntry, PartName, SealedPart, Timestamp};
use reshare_postgres::export::{BadRow, RowDefect};
use time::OffsetDateTime;

use super::format::{RawPart, read_at};

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
    /// The rows that were left out because they cannot be read, by ascending ids. They stay out
    /// when the part is sealed again.
    pub bad_rows: Vec<BadRow>,
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
            bad_rows: vec![],
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

    fn raw(&self) -> RawPart {
        RawPart {
            index: self.index,
            rows: self.rows,
            sealed_bytes: self.sealed_bytes,
            exported_at: self.exported_at.moment().unix_timestamp(),
            content_digest: *self.content_digest.as_bytes(),
            sealed_digest: *self.sealed_digest.as_bytes(),
        }
    }

    /// How many rows of its ids are not in it.
    #[must_use]
    pub fn rows_left_out(&self) -> u64 {
        (self.left_out.len() + self.bad_rows.len()) as u64
    }

    /// The payload of its entry.
    pub(super) fn payload(&self) -> Vec<u8> {
        let mut payload = bytemuck::bytes_of(&self.raw()).to_vec();
        if !self.bad_rows.is_empty() {
            payload.extend((self.bad_rows.len() as u64).to_le_bytes());
            self.bad_rows.iter().for_each(|row| payload.extend(bad_row_bytes(row)));
        }
        payload.extend(bytemuck::cast_slice::<_, u8>(&self.left_out));
        payload
    }

    /// `None` for a payload that [`Self::payload`] never makes.
    pub(super) fn of_payload(ids: IdRange, payload: &[u8], has_bad_rows: bool) -> Option<Self> {
        let raw: RawPart = read_at(payload, 0)?;
        let mut rest = payload.get(size_of::<RawPart>()..)?;
        let mut bad_rows = vec![];
        if has_bad_rows {
            let (count, records) = rest.split_first_chunk::<8>()?;
            let bytes = usize::try_from(u64::from_le_bytes(*count)).ok()?;
            let bytes = bytes.checked_mul(BAD_ROW_BYTES).filter(|bytes| *bytes > 0)?;
            let (records, left_out) = records.split_at_checked(bytes)?;
            let (records, _) = records.as_chunks::<BAD_ROW_BYTES>();
            bad_rows = records.iter().map(bad_row_of).collect::<Option<_>>()?;
            rest = left_out;
        }
        Some(Self { bad_rows, ..Self::read(ids, &raw, rest)? })
    }

    fn read(ids: IdRange, raw: &RawPart, left_out: &[u8]) -> Option<Self> {
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
            bad_rows: vec![],
        })
    }
}

/// Bytes of a row that was left out because it cannot be read: id, reason, column, bytes found.
const BAD_ROW_BYTES: usize = 24;

const REASON_LENGTH: u32 = 1;
const REASON_NULL: u32 = 2;
const REASON_DAMAGED: u32 = 3;

fn bad_row_bytes(row: &BadRow) -> [u8; BAD_ROW_BYTES] {
    let (reason, column, bytes) = match row.defect {
        RowDefect::Length { column, bytes } => (REASON_LENGTH, column, bytes),
        RowDefect::Null { column } => (REASON_NULL, column, 0),
        RowDefect::Damaged => (REASON_DAMAGED, 0, 0),
    };
    let mut record = [0; BAD_ROW_BYTES];
    record[..8].copy_from_slice(&row.id.to_le_bytes());
    record[8..12].copy_from_slice(&reason.to_le_bytes());
    record[12..16].copy_from_slice(&column.to_le_bytes());
    record[16..].copy_from_slice(&bytes.to_le_bytes());
    record
}

/// `None` for bytes that [`bad_row_bytes`] never makes.
fn bad_row_of(record: &[u8; BAD_ROW_BYTES]) -> Option<BadRow> {
    let (id, reason, column): (i64, u32, u32) =
        (read_at(record, 0)?, read_at(record, 8)?, read_at(record, 12)?);
    let defect = match (reason, column, read_at::<u64>(record, 16)?) {
        (REASON_LENGTH, column, bytes) => RowDefect::Length { column, bytes },
        (REASON_NULL, column, 0) => RowDefect::Null { column },
        (REASON_DAMAGED, 0, 0) => RowDefect::Damaged,
        _ => return None,
    };
    Some(BadRow { id, defect })
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
