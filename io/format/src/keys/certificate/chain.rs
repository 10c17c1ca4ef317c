//! A certificate and the intermediate certificates between it and an authority.

use std::fmt;
use std::path::Path;

use reshare_files::file_error::OnFile;
use reshare_files::input_file::{read_input, without_bom};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::CertificateError;
use super::extensions::parse;
use crate::keys::pem;

pub(super) const LABEL: &str = "CERTIFICATE";

/// A party's certificate, then those of intermediate authorities, without the root.
#[derive(Clone, PartialEq, Eq)]
pub struct CertificateChain {
    certificates: Vec<CertificateDer<'static>>,
}

impl CertificateChain {
    /// The most certificates of a chain: more than webpki would follow.
    pub const MAX_CERTIFICATES: usize = 8;
    /// The longest PEM text that is read.
    pub const MAX_PEM_BYTES: u64 = 64 << 10;

    /// Takes a chain as a TLS peer sends it.
    ///
    /// A root after the first certificate is dropped: a verifier has its own.
    ///
    /// # Errors
    /// [`CertificateError`] when there are none or too many, or when bytes are not a certificate.
    pub fn new(
        certificates: impl IntoIterator<Item = CertificateDer<'static>>,
    ) -> Result<Self, CertificateError> {
        let mut kept = Vec::new();
        for certificate in certificates {
            if kept.len() == Self::MAX_CERTIFICATES {
                return Err(Self::too_long());
            }
            let parsed = parse(&certificate)?;
            let is_root = parsed.subject().as_raw() == parsed.issuer().as_raw();
            if kept.is_empty() || !is_root {
                kept.push(certificate);
            }
        }
        if kept.is_empty() {
            return Err(CertificateError::NoCertificate);
        }
        Ok(Self { certificates: kept })
    }

    /// Reads a PEM text with one block or more; text between blocks is ignored.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        Self::new(read_pem(text)?)
    }

    /// Reads exactly the PEM text that [`Self::to_pem`] writes.
    ///
    /// # Errors
    /// As [`Self::new`], and [`CertificateError::NotCanonical`].
    pub fn from_canonical_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let chain = Self::from_pem(text)?;
        if chain.to_pem().as_bytes() != text {
            return Err(CertificateError::NotCanonical);
        }
        Ok(chain)
    }

    /// Reads a PEM file.
    ///
    /// # Errors
    /// As [`Self::new`], with the file's name, and when it cannot be read.
    pub fn load(path: &Path) -> Result<Self, CertificateError> {
        let text = read_file(path)?;
        Self::from_pem(&text).map_err(|error| error.in_file(path))
    }

    /// Writes one PEM block for each certificate, in lines of 64 characters that end with a line
    /// feed.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let blocks = self.certificates.iter().map(|certificate| pem::encode(LABEL, certificate));
        blocks.map(|block| block.to_string()).collect()
    }

    /// The party's own certificate.
    #[must_use]
    pub fn leaf(&self) -> &CertificateDer<'static> {
        &self.certificates[0]
    }

    /// The certificates between it and the authority.
    #[must_use]
    pub fn intermediates(&self) -> &[CertificateDer<'static>] {
        &self.certificates[1..]
    }

    /// All certificates, the party's own first.
    #[must_use]
    pub fn certificates(&self) -> &[CertificateDer<'static>] {
        &self.certificates
    }

    fn too_long() -> CertificateError {
        CertificateError::TooLong { max_certificates: Self::MAX_CERTIFICATES }
    }
}

impl fmt::Debug for CertificateChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = super::names_in(self.leaf()).unwrap_or_default();
        f.debug_struct("CertificateChain").field("names", &names).finish_non_exhaustive()
    }
}

/// Reads a file that is no longer than the longest chain.
pub(super) fn read_file(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let bytes = read_input(path, CertificateChain::MAX_PEM_BYTES).on("read", path)?;
    Ok(without_bom(&bytes).to_vec())
}

/// All certificates of a PEM text.
pub(super) fn read_pem(text: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    if text.len() as u64 > CertificateChain::MAX_PEM_BYTES {
        return Err(CertificateChain::too_long());
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text).collect();
    certificates.map_err(|_| CertificateError::NoCertificate)
}
