//! The private half of an agreement key, in a PKCS#8 file.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use reshare_engine::key_schedule::SharedSecret;
use reshare_files::fault::Refusable;
use zeroize::Zeroizing;

use super::pem::{self, PemError};
use super::permissions::{self, PrivateFileError};
use super::public_key::AgreementPublicKey;

/// The label of an unencrypted PKCS#8 key's PEM block.
const LABEL: &str = "PRIVATE KEY";

/// Bytes of a shared secret: the X coordinate of a point on P-256.
const SECRET_BYTES: usize = 32;

/// A P-256 private key. With another sender's public key it gives a shared secret.
///
/// # Secrecy
/// The key itself stays inside the cryptographic library; `Debug` prints the public half.
pub struct AgreementKey {
    private: PrivateKey,
    public: AgreementPublicKey,
}

impl AgreementKey {
    /// Generates a key.
    ///
    /// # Errors
    /// [`AgreementKeyError::Library`] when the system gives no random bytes.
    pub fn generate() -> Result<Self, AgreementKeyError> {
        let private = PrivateKey::generate(&agreement::ECDH_P256);
        Self::from_private(private.map_err(|_| AgreementKeyError::Library)?)
    }

    /// Generates a key and writes it to a new file, mode 0600.
    ///
    /// # Errors
    /// An [`AgreementKeyError`] when the file exists already or cannot be written.
    pub fn generate_file(path: &Path) -> Result<Self, AgreementKeyError> {
        let key = Self::generate()?;
        permissions::write_private(path, &key.to_pem()?)?;
        Ok(key)
    }

    /// Reads a key from an unencrypted PKCS#8 PEM file that only its owner can read.
    ///
    /// # Errors
    /// An [`AgreementKeyError`] when the file is open to others or holds anything but one such
    /// block, or when the key is not on P-256.
    pub fn load(path: &Path) -> Result<Self, AgreementKeyError> {
        let text = permissions::read_private(path)?;
        let at = || path.to_owned();
        let der = pem::decode(&text, LABEL)
            .map_err(|source| AgreementKeyError::Pem { path: at(), source })?;
        let private = PrivateKey::from_private_key_der(&agreement::ECDH_P256, &der);
        match private {
            Ok(private) => Self::from_private(private),
            Err(_) => match other_curve(&der) {
                Some(curve) => Err(AgreementKeyError::Curve { path: at(), curve }),
                None => Err(AgreementKeyError::Invalid { path: at() }),
            },
        }
    }

    fn from_private(private: PrivateKey) -> Result<Self, AgreementKeyError> {
        let point = private.compute_public_key().map_err(|_| AgreementKeyError::Library)?;
        let public = AgreementPublicKey::from_point(point.as_ref());
        Ok(Self { private, public: public.ok_or(AgreementKeyError::Library)? })
    }

    fn to_pem(&self) -> Result<Zeroizing<String>, AgreementKeyError> {
        let der = AsDer::<Pkcs8V1Der<'static>>::as_der(&self.private);
        let der = der.map_err(|_| AgreementKeyError::Library)?;
        Ok(pem::encode(LABEL, der.as_ref()))
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &AgreementPublicKey {
        &self.public
    }

    /// Derives the secret shared with the owner of another key: the X coordinate of the common
    /// point.
    ///
    /// # Secrecy
    /// The result is only input for a key derivation; it is wiped when dropped.
    ///
    /// # Errors
    /// [`AgreementKeyError::OwnKey`] when the other key is this one.
    ///
    /// # Source
    /// NIST SP 800-56A rev. 3, section 5.7.1.2.
    pub fn shared_secret(
        &self,
        peer: &AgreementPublicKey,
    ) -> Result<SharedSecret, AgreementKeyError> {
        if *peer == self.public {
            return Err(AgreementKeyError::OwnKey);
        }
        let peer = UnparsedPublicKey::new(&agreement::ECDH_P256, peer.as_der());
        agreement::agree(&self.private, peer, AgreementKeyError::Library, |secret| {
            let mut copy = Zeroizing::new([0; SECRET_BYTES]);
            if secret.len() != SECRET_BYTES {
                return Err(AgreementKeyError::Library);
            }
            copy.copy_from_slice(secret);
            Ok(SharedSecret::new(*copy))
        })
    }
}

/// Names the curve of a valid key on another NIST curve.
fn other_curve(der: &[u8]) -> Option<&'static str> {
    let curves = [(&agreement::ECDH_P384, "P-384"), (&agreement::ECDH_P521, "P-521")];
    let is = |algorithm| PrivateKey::from_private_key_der(algorithm, der).is_ok();
    curves.into_iter().find(|(algorithm, _)| is(algorithm)).map(|found| found.1)
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgreementKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Why there is no agreement key or no shared secret. Never holds any of the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AgreementKeyError {
    /// The file is at fault.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The file's text is at fault.
    #[error("{} is no agreement key", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// The key is on another curve.
    #[error("the key in {} is on {curve}, an agreement key is on P-256", path.display())]
    Curve {
        /// The file.
        path: PathBuf,
        /// The curve.
        curve: &'static str,
    },
    /// The key is of another sort, or broken.
    #[error("{} holds no valid P-256 private key", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
    /// The other side's key is one's own.
    #[error("the other sender's agreement key is this sender's own: each sender needs its own key")]
    OwnKey,
    /// The cryptographic library gave no result.
    #[error("the cryptographic library refused a key operation")]
    Library,
}

impl Refusable for AgreementKeyError {}
