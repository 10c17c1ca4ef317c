//! A party's own certificate and its private key.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::SignatureScheme;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::pki_types::PrivateKeyDer;
use rustls::sign::{CertifiedKey, Signer, SigningKey};

use super::{CertificateChain, CertificateError, SignatureContext};
use crate::keys::{pem, read_private};

/// A certificate chain with its private key.
///
/// # Secrecy
/// The key stays inside the cryptographic library; `Debug` prints the certificate's names.
#[derive(Clone)]
pub struct PartyCertificate {
    chain: CertificateChain,
    key: Arc<dyn SigningKey>,
}

impl PartyCertificate {
    /// Reads a chain in PEM, the party's own certificate first, and its private key in PEM
    /// (PKCS#8, SEC1 or PKCS#1, unencrypted) from a file that only its owner can read.
    ///
    /// # Errors
    /// A [`CertificateError`] that names the file at fault.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let chain = CertificateChain::load(certificate)?;
        let signing_key = load_key(key)?;
        let certified = CertifiedKey::new(chain.certificates().to_vec(), Arc::clone(&signing_key));
        if certified.keys_match().is_err() {
            let (key, certificate) = (key.to_owned(), certificate.to_owned());
            return Err(CertificateError::KeyMismatch { key, certificate });
        }
        Ok(Self { chain, key: signing_key })
    }

    /// Whether a chain is for the private key in a file.
    ///
    /// # Errors
    /// A [`CertificateError`] when the key cannot be read.
    pub fn is_for(chain: &CertificateChain, key: &Path) -> Result<bool, CertificateError> {
        let certified = CertifiedKey::new(chain.certificates().to_vec(), load_key(key)?);
        Ok(certified.keys_match().is_ok())
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &CertificateChain {
        &self.chain
    }

    /// Chain and key in rustls' types.
    #[must_use]
    pub fn certified_key(&self) -> Arc<CertifiedKey> {
        let certificates = self.chain.certificates().to_vec();
        Arc::new(CertifiedKey::new(certificates, Arc::clone(&self.key)))
    }

    /// Signs a message of one kind, with the one algorithm for this kind of key.
    ///
    /// # Errors
    /// [`CertificateError::Library`].
    pub fn sign(
        &self,
        context: SignatureContext,
        message: &[u8],
    ) -> Result<Vec<u8>, CertificateError> {
        let signer = signer(&*self.key).ok_or(CertificateError::Library)?;
        signer.sign(&context.signed_bytes(message)).map_err(|_| CertificateError::Library)
    }
}

impl fmt::Debug for PartyCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartyCertificate").field("chain", &self.chain).finish_non_exhaustive()
    }
}

/// The one scheme for each kind of key: docs/format.md, "Signatures".
fn signer(key: &dyn SigningKey) -> Option<Box<dyn Signer>> {
    key.choose_scheme(&[
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ED25519,
        SignatureScheme::RSA_PKCS1_SHA256,
    ])
}

const PKCS8: &str = "PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";
const PKCS1: &str = "RSA PRIVATE KEY";
const SEC1_BEGIN: &str = "-----BEGIN EC PRIVATE KEY-----";

fn load_key(path: &Path) -> Result<Arc<dyn SigningKey>, CertificateError> {
    let text = read_private(path)?;
    // OpenSSL may write a block with the curve before the key. The key names the curve too.
    let at = match text.trim_start().starts_with("-----BEGIN EC PARAMETERS-----") {
        true => text.find(SEC1_BEGIN).unwrap_or(0),
        false => 0,
    };
    let (label, der) = pem::decode_one_of(&text[at..], [PKCS8, SEC1, PKCS1])
        .map_err(|source| CertificateError::KeyPem { path: path.to_owned(), source })?;
    let der = match label {
        SEC1 => PrivateKeyDer::Sec1(der.as_slice().into()),
        PKCS1 => PrivateKeyDer::Pkcs1(der.as_slice().into()),
        _ => PrivateKeyDer::Pkcs8(der.as_slice().into()),
    };
    let key = any_supported_type(&der).ok().filter(|key| signer(&**key).is_some());
    key.ok_or_else(|| CertificateError::KeyKind { path: path.to_owned() })
}
