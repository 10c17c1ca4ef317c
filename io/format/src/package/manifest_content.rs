//! The content of a manifest, and its JSON document.

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use serde::{Deserialize, Serialize};

use super::{PartName, SealedPart, Timestamp, hex_bytes};
use crate::session::StatementError;

/// One part, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEntry {
    /// Its file name, which holds its index.
    pub name: PartName,
    /// The range of its ids.
    pub ids: IdRange,
    /// Its rows.
    pub rows: u64,
    /// The size of the file.
    pub sealed_bytes: u64,
    /// BLAKE3 of the file.
    pub sealed_digest: blake3::Hash,
    /// The digest of its rows' content tags, in order.
    pub content_digest: blake3::Hash,
    /// When its rows were read from the database.
    pub exported_at: Timestamp,
}

impl PartEntry {
    /// Makes the entry of a newly sealed part.
    #[must_use]
    pub fn new(
        part: &SealedPart,
        ids: IdRange,
        rows: u64,
        content_digest: blake3::Hash,
        exported_at: Timestamp,
    ) -> Self {
        let SealedPart { name, sealed_bytes, sealed_digest } = *part;
        Self { name, ids, rows, sealed_bytes, sealed_digest, content_digest, exported_at }
    }
}

/// The content of a manifest. Its totals follow from the parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestContent {
    /// The session's id.
    pub session_id: String,
    /// The session's fingerprint.
    pub fingerprint: Fingerprint,
    /// Who made the package.
    pub sender: PartyId,
    /// Who can open it.
    pub receiver: PartyId,
    /// Proves that both senders derived the same keys, without revealing them.
    pub key_check: [u8; 16],
    /// The parts, by ascending ids.
    pub parts: Vec<PartEntry>,
    /// When the package was closed.
    pub signed_at: Timestamp,
}

/// The sums over all parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// The number of parts.
    pub parts: u64,
    /// Their rows.
    pub rows: u64,
    /// Their sizes.
    pub sealed_bytes: u64,
}

/// The JSON document, field by field in canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) format: String,
    pub(super) session_id: String,
    #[serde(with = "hex_bytes")]
    pub(super) fingerprint: Fingerprint,
    pub(super) sender: u64,
    pub(super) receiver: u64,
    #[serde(with = "hex_bytes")]
    pub(super) key_check: [u8; 16],
    pub(super) parts: Vec<DocumentPart>,
    pub(super) totals: Totals,
    pub(super) signed_at: Timestamp,
}

/// One part of the JSON document.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct DocumentPart {
    pub(super) name: PartName,
    pub(super) index: u64,
    pub(super) first_id: i64,
    pub(super) last_id: i64,
    pub(super) rows: u64,
    pub(super) sealed_bytes: u64,
    #[serde(with = "hex_bytes")]
    pub(super) sealed_blake3: blake3::Hash,
    #[serde(with = "hex_bytes")]
    pub(super) content_digest: blake3::Hash,
    pub(super) exported_at: Timestamp,
}

impl Document {
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, StatementError> {
        let mut bytes = serde_json::to_vec(self).map_err(StatementError::Json)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl From<&PartEntry> for DocumentPart {
    fn from(entry: &PartEntry) -> Self {
        Self {
            name: entry.name,
            index: entry.name.index(),
            first_id: entry.ids.first(),
            last_id: entry.ids.last(),
            rows: entry.rows,
            sealed_bytes: entry.sealed_bytes,
            sealed_blake3: entry.sealed_digest,
            content_digest: entry.content_digest,
            exported_at: entry.exported_at,
        }
    }
}
