//! What closes a package: its manifest, and the signature if the session uses certificates.

use std::path::Path;

use super::{
    MANIFEST_NAME, Manifest, ManifestContent, ManifestSignature, PackageError, PackageExpectations,
    SIGNATURE_NAME, UnverifiedManifest,
};
use crate::keys::certificate::PartyCertificate;

/// A manifest that the receiver will accept, with its signature.
pub struct SignedManifest {
    /// The manifest, verified as the receiver will verify it.
    pub manifest: Manifest,
    /// `Some` if the session uses certificates.
    pub signature: Option<ManifestSignature>,
}

impl SignedManifest {
    /// Signs a manifest and verifies it as its receiver does; errors name `package`.
    ///
    /// # Errors
    /// [`PackageError`] when the manifest does not fit the session or cannot be signed.
    pub fn make(
        content: &ManifestContent,
        session: &PackageExpectations,
        certificate: Option<&PartyCertificate>,
        package: &Path,
    ) -> Result<Self, PackageError> {
        let path = || package.join(MANIFEST_NAME);
        let refused = |source| PackageError::Manifest { path: path(), source };
        let bytes = content.to_bytes().map_err(refused)?;
        let sign = |certificate| ManifestSignature::sign(certificate, &bytes);
        let signature = certificate.map(sign).transpose().map_err(|source| {
            let path = package.join(SIGNATURE_NAME);
            PackageError::Signature { path, source }
        })?;
        let manifest = UnverifiedManifest::read(bytes)
            .and_then(|manifest| manifest.verify(session, signature.as_ref()))
            .map_err(refused)?;
        Ok(Self { manifest, signature })
    }
}
