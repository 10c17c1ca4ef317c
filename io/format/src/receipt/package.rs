//! The package that a receipt is about.

use reshare_engine::party::PartyId;

use crate::package::{Manifest, PartEntry};

/// One sender's package, as opened and compared by the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedPackage {
    /// Who made it.
    pub sender: PartyId,
    /// BLAKE3 of its manifest, byte for byte.
    pub manifest_digest: blake3::Hash,
    /// See [`content_of_parts`]. The sender's ledger can be compared with it.
    pub content_digest: blake3::Hash,
    /// Its rows.
    pub rows: u64,
}

impl ReceivedPackage {
    /// The facts of a package.
    #[must_use]
    pub fn of(manifest: &Manifest) -> Self {
        Self {
            sender: manifest.content().sender,
            manifest_digest: manifest.digest(),
            content_digest: content_of_parts(manifest.parts()),
            rows: manifest.totals().rows,
        }
    }
}

/// Digests the content of parts, independent of the files that they were sealed into.
///
/// Formula: BLAKE3 over, per part in id order: first id, last id (i64 LE), rows (u64 LE), the
/// digest of its rows' content.
#[must_use]
pub fn content_of_parts<'a>(parts: impl IntoIterator<Item = &'a PartEntry>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&part.ids.first().to_le_bytes());
        hasher.update(&part.ids.last().to_le_bytes());
        hasher.update(&part.rows.to_le_bytes());
        hasher.update(part.content_digest.as_bytes());
    }
    hasher.finalize()
}
