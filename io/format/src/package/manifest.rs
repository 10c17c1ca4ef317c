//! The closed list of a package: `manifest.json`.

use super::manifest_check::{check_against, check_canonical, check_totals, into_content};
use super::manifest_content::{Document, DocumentPart};
use super::signature::check_signature;
use super::{
    ManifestContent, ManifestError, ManifestSignature, PackageExpectations, PartEntry, Totals,
};
use crate::session::{StatementError, check_format};

/// The manifest's file name.
pub const MANIFEST_NAME: &str = "manifest.json";
/// The manifest's format, in its first field.
pub const MANIFEST_FORMAT: &str = "reshare-manifest/1";
/// The largest manifest that is read: enough for [`MAX_PARTS`] parts.
pub const MAX_MANIFEST_BYTES: u64 = 128 << 20;
/// The most parts whose manifest is sure to fit: an entry has at most 500 bytes.
pub const MAX_PARTS: usize = 250_000;

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
        Ok(document.to_bytes()?)
    }
}

/// A manifest that does not contradict itself, and proves nothing yet.
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
        let document: Document = serde_json::from_slice(&bytes).map_err(StatementError::Json)?;
        check_format(MANIFEST_FORMAT, &document.format)?;
        check_canonical(&document.to_bytes()?, &bytes)?;
        let totals = document.totals;
        Ok(Self { bytes, content: into_content(document)?, totals })
    }

    /// What the manifest claims. Only for display.
    #[must_use]
    pub fn claims(&self) -> &ManifestContent {
        &self.content
    }

    /// The totals that the manifest claims.
    #[must_use]
    pub fn claimed_totals(&self) -> Totals {
        self.totals
    }

    /// BLAKE3 of the file.
    #[must_use]
    pub fn digest(&self) -> blake3::Hash {
        blake3::hash(&self.bytes)
    }

    /// Checks the manifest against the session, and its signature if the session uses
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

/// A manifest that fits its session, signed by its sender if the session uses certificates.
#[derive(Debug, Clone)]
pub struct Manifest {
    bytes: Vec<u8>,
    content: ManifestContent,
    totals: Totals,
}

impl Manifest {
    /// Its content.
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

    /// The exact bytes of the file, which a signature covers.
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
