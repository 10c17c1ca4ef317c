//! The private halves of a sender's agreement keys, in a PKCS#8 file.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::agreement::{self, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use reshare_engine::key_schedule::SharedSecret;
use reshare_files::fault::Refusable;
use zeroize::Zeroizing;

use super::encapsulation::{DecapsulationKey, EncapsulationKey, EncapsulationKeyError};
use super::pem::{self, PemError};
use super::permissions::{self, PrivateFileError};
use super::public_key::{AgreementPublicKey, AgreementPublicKeys};

/// The label of an unencrypted PKCS#8 key's PEM block.
const LABEL: &str = "PRIVATE KEY";

/// Bytes of a shared secret: the X coordinate of a point on P-256.
const SECRET_BYTES: usize = 32;

/// A sender's private keys: one on P-256, which gives a shared secret with another sender's public
/// key, and one of ML-KEM-768, for which the other sender encapsulates a secret.
///
/// # Secrecy
/// The key on P-256 stays inside the cryptographic library; `Debug` prints the public halves.
pub struct AgreementKey {
    private: PrivateKey,
    public: AgreementPublicKey,
    decapsulation: Option<DecapsulationKey>,
}

impl AgreementKey {
    /// Generates both keys.
    ///
    /// # Errors
    /// [`AgreementKeyError::Library`] when the system gives no random bytes.
    pub fn generate() -> Result<Self, AgreementKeyError> {
        let private = PrivateKey::generate(&agreement::ECDH_P256);
        let decapsulation = DecapsulationKey::generate();
        let decapsulation = decapsulation.map_err(|_| AgreementKeyError::Library)?;
        let private = private.map_err(|_| AgreementKeyError::Library)?;
        Self::from_private(private, Some(decapsulation))
    }

    /// Generates both keys and writes them to a new file, mode 0600.
    ///
    /// # Errors
    /// An [`AgreementKeyError`] when the file exists already or cannot be written.
    pub fn generate_file(path: &Path) -> Result<Self, AgreementKeyError> {
        let key = Self::generate()?;
        permissions::write_private(path, &key.to_pem()?)?;
        Ok(key)
    }

    /// Reads keys from an unencrypted PKCS#8 PEM file that only its owner can read: the one on
    /// P-256, and after it the one of ML-KEM-768, which may be missing.
    ///
    /// # Errors
    /// An [`AgreementKeyError`] when the file is open to others or holds anything but such blocks,
    /// or when the first key is not on P-256.
    pub fn load(path: &Path) -> Result<Self, AgreementKeyError> {
        let text = permissions::read_private(path)?;
        let at = || path.to_owned();
        let (first, second) = pem::first_block(&text);
        let der = pem::decode(first, LABEL)
            .map_err(|source| AgreementKeyError::Pem { path: at(), source })?;
        let private = PrivateKey::from_private_key_der(&agreement::ECDH_P256, &der);
        let decapsulation = (!second.is_empty()).then(|| DecapsulationKey::from_pem(second));
        let decapsulation = decapsulation
            .transpose()
            .map_err(|source| AgreementKeyError::Second { path: at(), source: source.into() })?;
        match private {
            Ok(private) => Self::from_private(private, decapsulation),
            Err(_) => match other_curve(&der) {
                Some(curve) => Err(AgreementKeyError::Curve { path: at(), curve }),
                None => Err(AgreementKeyError::Invalid { path: at() }),
            },
        }
    }

    fn from_private(
        private: PrivateKey,
        decapsulation: Option<DecapsulationKey>,
    ) -> Result<Self, AgreementKeyError> {
        let point = private.compute_public_key().map_err(|_| AgreementKeyError::Library)?;
        let public = AgreementPublicKey::from_point(point.as_ref());
        Ok(Self { private, public: public.ok_or(AgreementKeyError::Library)?, decapsulation })
    }

    fn to_pem(&self) -> Result<Zeroizing<String>, AgreementKeyError> {
        let der = AsDer::<Pkcs8V1Der<'static>>::as_der(&self.private);
        let der = der.map_err(|_| AgreementKeyError::Library)?;
        let first = pem::encode(LABEL, der.as_ref());
        let second = self.decapsulation.as_ref().map(DecapsulationKey::to_pem).unwrap_or_default();
        // Allocate the whole buffer at once: growing it would leave copies of the keys behind.
        let mut text = Zeroizing::new(String::with_capacity(first.len() + second.len()));
        text.push_str(&first);
        text.push_str(&second);
        Ok(text)
    }

    /// The public half of the key on P-256.
    #[must_use]
    pub fn public_key(&self) -> &AgreementPublicKey {
        &self.public
    }

    /// The key of ML-KEM-768, if there is one.
    #[must_use]
    pub fn decapsulation_key(&self) -> Option<&DecapsulationKey> {
        self.decapsulation.as_ref()
    }

    /// Takes the key of ML-KEM-768 out.
    #[must_use]
    pub fn into_decapsulation_key(self) -> Option<DecapsulationKey> {
        self.decapsulation
    }

    /// The public half of the key of ML-KEM-768, if there is one.
    #[must_use]
    pub fn encapsulation_key(&self) -> Option<&EncapsulationKey> {
        self.decapsulation.as_ref().map(DecapsulationKey::public_key)
    }

    /// The public halves.
    #[must_use]
    pub fn public_keys(&self) -> AgreementPublicKeys {
        let encapsulation = self.encapsulation_key().cloned();
        AgreementPublicKeys { agreement: self.public, encapsulation }
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
        let mut out = f.debug_struct("AgreementKey");
        out.field("public", &self.public).field("encapsulation", &self.encapsulation_key());
        out.finish_non_exhaustive()
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
    /// What follows the first key is at fault.
    #[error("what follows the first key in {} is no private key of ML-KEM-768", path.display())]
    Second {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<EncapsulationKeyError>,
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
