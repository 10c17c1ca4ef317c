//! The closed list of a package: `manifest.json`.

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use serde::{Deserialize, Serialize};

use super::manifest_check::{check_against, check_totals, into_content};
use super::signature::check_signature;
use super::{
    ManifestError, ManifestSignature, PackageExpectations, PartName, SealedPart, Timestamp,
    hex_bytes,
};

/// The manifest's file name.
pub const MANIFEST_NAME: &str = "manifest.json";
/// The manifest's format, its first field.
pub const MANIFEST_FORMAT: &str = "reshare-manifest/1";
/// The largest manifest that is read: of [`MAX_PARTS`] parts and some.
pub const MAX_MANIFEST_BYTES: u64 = 128 << 20;
/// Parts whose manifest surely is not larger: an entry has 500 bytes at the most.
pub const MAX_PARTS: usize = 250_000;

/// One part, as the manifest lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartEntry {
    /// Its file name, which says its index.
    pub name: PartName,
    /// The range that its ids lie in.
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
    /// Makes the entry of a part that was just sealed.
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

/// What a manifest says; its totals follow from the parts.
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
    /// Proves that both senders derived the same keys, without telling them.
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

impl ManifestContent {
    /// The bytes of the manifest: compact JSON in canonical field order and a line feed.
    ///
    /// # Errors
    /// [`ManifestError::Totals`] when the sums overflow.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let totals = check_totals(&self.parts, None)?;
        let document = Document {
            format: MANIFEST_FORMAT.to_owned(),
            session_id: self.session_id.clone(),
            fingerprint: self.fingerprint,
            sender: self.sender.index().into(),
            receiver: self.receiver.index().into(),
            key_check: self.key_check,
            parts: self.parts.iter().map(DocumentPart::from).collect(),
            totals,
            signed_at: self.signed_at,
        };
        document.to_bytes()
    }
}

/// A manifest that is sound in itself and proves nothing yet.
#[derive(Debug, Clone)]
pub struct UnverifiedManifest {
    bytes: Vec<u8>,
    content: ManifestContent,
    totals: Totals,
}

impl UnverifiedManifest {
    /// Reads a manifest and checks that it is canonical and does not contradict itself.
    ///
    /// # Errors
    /// [`ManifestError`] with the first thing that is wrong.
    pub fn read(bytes: Vec<u8>) -> Result<Self, ManifestError> {
        let (size, max) = (bytes.len() as u64, MAX_MANIFEST_BYTES);
        if size > max {
            return Err(ManifestError::TooLarge { bytes: size, max });
        }
        let document: Document = serde_json::from_slice(&bytes).map_err(ManifestError::Json)?;
        if document.format != MANIFEST_FORMAT {
            let (expected, got) = (MANIFEST_FORMAT, document.format);
            return Err(ManifestError::Format { expected, got });
        }
        let canonical = document.to_bytes()?;
        if canonical != bytes {
            let differs = canonical.iter().zip(&bytes).position(|(a, b)| a != b);
            let offset = differs.unwrap_or(canonical.len().min(bytes.len()));
            return Err(ManifestError::NotCanonical { offset });
        }
        let totals = document.totals;
        Ok(Self { bytes, content: into_content(document)?, totals })
    }

    /// What the manifest claims: to show it, and for nothing else.
    #[must_use]
    pub fn claims(&self) -> &ManifestContent {
        &self.content
    }

    /// The totals that it claims.
    #[must_use]
    pub fn claimed_totals(&self) -> Totals {
        self.totals
    }

    /// BLAKE3 of the file.
    #[must_use]
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    /// Checks the manifest against the session, and its signature where the session uses
    /// certificates.
    ///
    /// # Errors
    /// [`ManifestError`] with the first thing that differs.
    pub fn verify(
        self,
        expected: &PackageExpectations,
        signature: Option<&ManifestSignature>,
    ) -> Result<Manifest, ManifestError> {
        check_against(&self.content, expected)?;
        check_signature(&self.bytes, &self.content, expected, signature)?;
        let Self { bytes, content, totals } = self;
        Ok(Manifest { bytes, content, totals })
    }
}

/// A manifest that fits its session, signed by its sender where the session uses certificates.
#[derive(Debug, Clone)]
pub struct Manifest {
    bytes: Vec<u8>,
    content: ManifestContent,
    totals: Totals,
}

impl Manifest {
    /// What it says.
    #[must_use]
    pub fn content(&self) -> &ManifestContent {
        &self.content
    }

    /// The parts, by ascending ids.
    #[must_use]
    pub fn parts(&self) -> &[PartEntry] {
        &self.content.parts
    }

    /// The sums over all parts.
    #[must_use]
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The file's exact bytes: what a signature is over.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// BLAKE3 of the file.
    #[must_use]
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }
}

/// The JSON document, field by field in canonical order.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    format: String,
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
    fn to_bytes(&self) -> Result<Vec<u8>, ManifestError> {
        let mut bytes = serde_json::to_vec(self).map_err(ManifestError::Json)?;
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
