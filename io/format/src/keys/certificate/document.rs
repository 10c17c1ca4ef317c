//! A statement and its signature in one file: compact JSON, the same bytes for the same content.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::{CertificateChain, CertificateError};

/// The file, field by field in canonical order. Nothing of it is verified.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SignedDocument<S> {
    pub(crate) statement: S,
    signature: String,
    chain: String,
}

impl<S: Serialize> SignedDocument<S> {
    pub(crate) fn new(statement: S, signature: &[u8], chain: &CertificateChain) -> Self {
        Self { statement, signature: STANDARD.encode(signature), chain: chain.to_pem() }
    }

    /// The signature's bytes; `None` for what is no Base64.
    pub(crate) fn signature(&self) -> Option<Vec<u8>> {
        STANDARD.decode(&self.signature).ok()
    }

    /// The chain of the certificate that signed.
    pub(crate) fn chain(&self) -> Result<CertificateChain, CertificateError> {
        CertificateChain::from_canonical_pem(self.chain.as_bytes())
    }

    /// The bytes of the file: compact JSON and a line feed.
    pub(crate) fn to_bytes(&self) -> Result<Vec<u8>, serde_json::Error> {
        let mut bytes = serde_json::to_vec(self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}
