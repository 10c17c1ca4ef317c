//! The manifest's signature: `manifest.sig`, and the chain of the certificate that made it,
//! `manifest-chain.pem`.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use reshare_files::durable::open_regular;
use reshare_files::file_error::{FileError, OnFile};
use time::OffsetDateTime;

use super::{
    ManifestContent, ManifestError, PackageDefect, PackageError, PackageExpectations, Timestamp,
};
use crate::keys::certificate::{
    CertificateChain, CertificateError, PartyCertificate, SignatureContext,
};
use crate::session::{SessionTrust, check_not_in_future};

/// The file name of the signature.
pub const SIGNATURE_NAME: &str = "manifest.sig";
/// The file name of the signer's certificate chain.
pub const CHAIN_NAME: &str = "manifest-chain.pem";

/// The longest signature: that of an RSA key of 8192 bits.
pub const MAX_SIGNATURE_BYTES: u64 = 1024;

/// A signature over a manifest's bytes and the signer's certificates. Nothing in it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManifestSignature {
    signature: Vec<u8>,
    chain: CertificateChain,
}

impl ManifestSignature {
    /// Signs the bytes of a manifest.
    ///
    /// # Errors
    /// [`CertificateError::Library`].
    pub fn sign(certificate: &PartyCertificate, manifest: &[u8]) -> Result<Self, CertificateError> {
        let signature = certificate.sign(SignatureContext::Manifest, manifest)?;
        Ok(Self { signature, chain: certificate.chain().clone() })
    }

    /// Takes the bytes of the two files.
    ///
    /// # Errors
    /// [`CertificateError`] when the chain is not in canonical form.
    pub fn parse(signature: Vec<u8>, chain_pem: &[u8]) -> Result<Self, CertificateError> {
        Ok(Self { signature, chain: CertificateChain::from_canonical_pem(chain_pem)? })
    }

    /// Reads the two files of a package; `None` when one of them is missing.
    ///
    /// # Errors
    /// [`PackageError`] when a file is not regular or too long, or the chain is not one.
    pub fn load(directory: &Path) -> Result<Option<Self>, PackageError> {
        let signature = read(&directory.join(SIGNATURE_NAME), MAX_SIGNATURE_BYTES)?;
        let (Some(signature), Some(chain)) = (signature, read_chain(directory)?) else {
            return Ok(None);
        };
        Ok(Some(Self { signature, chain }))
    }

    /// The signature's bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.signature
    }

    /// The signer's certificate first.
    #[must_use]
    pub fn chain(&self) -> &CertificateChain {
        &self.chain
    }
}

/// Reads the certificates of a package's sender; `None` when the file is missing.
///
/// # Errors
/// [`PackageError`] when it is no regular file, too long, or no chain.
pub fn read_chain(directory: &Path) -> Result<Option<CertificateChain>, PackageError> {
    let path = directory.join(CHAIN_NAME);
    let chain = read(&path, CertificateChain::MAX_PEM_BYTES)?;
    let parsed = chain.map(|pem| CertificateChain::from_canonical_pem(&pem)).transpose();
    parsed.map_err(|source| PackageError::Signature { path, source })
}

/// Checks a manifest's signature at the moment that the manifest names: the certificate may
/// have ended while the package travelled.
pub(super) fn check_signature(
    bytes: &[u8],
    content: &ManifestContent,
    expected: &PackageExpectations,
    signature: Option<&ManifestSignature>,
) -> Result<(), ManifestError> {
    let (trust, signature) = match (&expected.trust, signature) {
        (None, None) => return Ok(()),
        (None, Some(_)) => return Err(ManifestError::UnexpectedSignature),
        (Some(_), None) => return Err(ManifestError::NotSigned),
        (Some(trust), Some(signature)) => (trust, signature),
    };
    let (signed_at, sender) = (content.signed_at, content.sender);
    let message = (SignatureContext::Manifest, bytes);
    let at = signed_at.moment();
    trust
        .verify_signature(&signature.chain, sender, at, message, &signature.signature)
        .map_err(|source| ManifestError::Signature { sender, source })?;
    check_signed_at(signed_at, trust)
}

/// Refuses a signature from the future, or from before or after the session.
pub(super) fn check_signed_at(
    signed_at: Timestamp,
    trust: &SessionTrust,
) -> Result<(), ManifestError> {
    check_not_in_future(signed_at, OffsetDateTime::now_utc())?;
    let at = signed_at.moment();
    let (not_before, not_after) = trust.period();
    if at < not_before || at > not_after {
        let (not_before, not_after) = (Timestamp::from(not_before), Timestamp::from(not_after));
        return Err(ManifestError::SignedOutsideSession { signed_at, not_before, not_after });
    }
    Ok(())
}

/// Reads a file, at most one byte more than its greatest valid length.
fn read(path: &Path, max_bytes: u64) -> Result<Option<Vec<u8>>, PackageError> {
    let file: File = match open_regular(path) {
        Ok(Some(file)) => file,
        Ok(None) => return Err(PackageDefect::NotRegular.at(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(FileError::new("read", path, error).into()),
    };
    let mut bytes = Vec::new();
    let mut limited = file.take(max_bytes + 1);
    limited.read_to_end(&mut bytes).on("read", path)?;
    Ok(Some(bytes))
}
