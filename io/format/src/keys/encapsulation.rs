//! ML-KEM-768 between the two senders: the higher one encapsulates a secret for the lower one's
//! key.
//!
//! The public key is in the session, the ciphertext in the higher sender's approval. Files of keys
//! have the forms of RFC 9935, so that `openssl` from version 3.5 on reads them.

use std::fmt;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::{kem, rand};
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::key_schedule::SharedSecret;
use reshare_files::fault::Refusable;
use zeroize::Zeroizing;

use super::ml_kem::{self, CIPHERTEXT_BYTES, PUBLIC_BYTES, SECRET_BYTES, SEED_BYTES};
use super::pem::{self, PemError};
use super::permissions::{self, PrivateFileError};
use super::public_key::PublicKeyError;

/// The label of a public key's PEM block.
const PUBLIC_LABEL: &str = "PUBLIC KEY";
/// The label of a private key's PEM block.
const PRIVATE_LABEL: &str = "PRIVATE KEY";

/// The bytes before a public key: id-alg-ml-kem-768, a bit string of 1,184 bytes.
///
/// Source: RFC 9935 sections 3 and 4.
const PUBLIC_PREFIX: [u8; 22] = [
    0x30, 0x82, 0x04, 0xb2, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x04,
    0x02, 0x03, 0x82, 0x04, 0xa1, 0x00,
];
/// The bytes before a seed: version 0, id-alg-ml-kem-768, an octet string with the seed.
///
/// Source: RFC 9935 section 6.
const PRIVATE_PREFIX: [u8; 22] = [
    0x30, 0x54, 0x02, 0x01, 0x00, 0x30, 0x0b, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04,
    0x04, 0x02, 0x04, 0x42, 0x80, 0x40,
];

/// A public key of ML-KEM-768 to which anyone can encapsulate.
#[derive(Clone, PartialEq, Eq)]
pub struct EncapsulationKey(Box<[u8; PUBLIC_BYTES]>);

impl EncapsulationKey {
    /// The length of every key's SubjectPublicKeyInfo.
    pub const DER_BYTES: usize = PUBLIC_PREFIX.len() + PUBLIC_BYTES;

    /// Reads a PEM block `PUBLIC KEY`.
    ///
    /// # Errors
    /// A [`PublicKeyError`] when the text is not one such block or the key not one of ML-KEM-768.
    pub fn from_pem(text: &str) -> Result<Self, PublicKeyError> {
        Self::from_der(&pem::decode(text, PUBLIC_LABEL)?)
    }

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// [`PublicKeyError::MlKem`] when nobody can encapsulate to it.
    pub fn from_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        let bytes = der.strip_prefix(&PUBLIC_PREFIX).and_then(|bytes| bytes.try_into().ok());
        let key = Self(Box::new(bytes.ok_or(PublicKeyError::MlKem)?));
        // The modulus check of FIPS 203 section 7.2 is AWS-LC's, and comes with the first use.
        key.encapsulate().map_err(|_| PublicKeyError::MlKem)?;
        Ok(key)
    }

    /// The 1,184 bytes of the key.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &*self.0
    }

    /// The SubjectPublicKeyInfo.
    #[must_use]
    pub fn to_der(&self) -> Vec<u8> {
        [&PUBLIC_PREFIX[..], self.bytes()].concat()
    }

    /// SHA-256 of [`Self::to_der`], for people to compare.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, &self.to_der()).as_ref());
        sha256
    }

    /// The key as a PEM block that ends with a new line.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(PUBLIC_LABEL, &self.to_der()).to_string()
    }

    /// Makes a new secret for the owner of the key.
    ///
    /// # Errors
    /// [`EncapsulationKeyError::Library`] when the system gives no random bytes.
    pub fn encapsulate(&self) -> Result<EncapsulatedSecret, EncapsulationKeyError> {
        let key = kem::EncapsulationKey::new(&kem::ML_KEM_768, self.bytes()).ok();
        let made = key.and_then(|key| key.encapsulate().ok());
        let (ciphertext, secret) = made.ok_or(EncapsulationKeyError::Library)?;
        let ciphertext = Ciphertext::from_bytes(ciphertext.as_ref());
        let ciphertext = ciphertext.ok_or(EncapsulationKeyError::Library)?;
        Ok(EncapsulatedSecret { ciphertext, secret: secret_of(secret.as_ref())? })
    }
}

fn secret_of(bytes: &[u8]) -> Result<SharedSecret, EncapsulationKeyError> {
    let bytes = <&[u8; SECRET_BYTES]>::try_from(bytes);
    Ok(SharedSecret::new(*bytes.map_err(|_| EncapsulationKeyError::Library)?))
}

impl fmt::Debug for EncapsulationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncapsulationKey({})", hex::encode(self.sha256()))
    }
}

/// What carries an encapsulated secret to the owner of the key. Public.
#[derive(Clone, PartialEq, Eq)]
pub struct Ciphertext(Box<[u8; CIPHERTEXT_BYTES]>);

impl Ciphertext {
    /// The length of every ciphertext.
    pub const BYTES: usize = CIPHERTEXT_BYTES;

    /// Takes the bytes; `None` when they are not as many.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(Self(Box::new(bytes.try_into().ok()?)))
    }

    /// The 1,088 bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &*self.0
    }
}

impl fmt::Debug for Ciphertext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ciphertext(..)")
    }
}

/// A secret that both senders have, with what carried it from one to the other.
///
/// # Secrecy
/// The secret is wiped when dropped, and `Debug` prints nothing of it.
#[derive(Debug, Clone)]
pub struct EncapsulatedSecret {
    /// What carried it.
    pub ciphertext: Ciphertext,
    /// The secret.
    pub secret: SharedSecret,
}

/// The label of a kept secret's PEM block.
const SECRET_LABEL: &str = "RESHARE ENCAPSULATED SECRET";
/// A fingerprint, the ciphertext, the secret.
const KEPT_BYTES: usize = 32 + CIPHERTEXT_BYTES + SECRET_BYTES;
const _: () = assert!(KEPT_BYTES == 1152);

impl EncapsulatedSecret {
    /// Writes it to a new file, mode 0600; durable on return. It is the only copy: the sender that
    /// made it cannot compute it again.
    ///
    /// # Errors
    /// An [`EncapsulationKeyError`] when the file exists already or cannot be written.
    pub fn write(&self, path: &Path, session: &Fingerprint) -> Result<(), EncapsulationKeyError> {
        let mut kept = Zeroizing::new(Vec::with_capacity(KEPT_BYTES));
        for bytes in [&session.0[..], self.ciphertext.bytes(), self.secret.expose()] {
            kept.extend_from_slice(bytes);
        }
        permissions::write_private(path, &pem::encode(SECRET_LABEL, &kept))?;
        Ok(())
    }

    /// Reads what [`Self::write`] wrote for a session.
    ///
    /// # Errors
    /// An [`EncapsulationKeyError`] when the file is missing, open to others, of another session or
    /// holds anything else.
    pub fn load(path: &Path, session: &Fingerprint) -> Result<Self, EncapsulationKeyError> {
        let text = permissions::read_private(path)?;
        let at = || path.to_owned();
        let kept = pem::decode(&text, SECRET_LABEL)
            .map_err(|source| EncapsulationKeyError::FilePem { path: at(), source })?;
        if kept.len() != KEPT_BYTES {
            return Err(EncapsulationKeyError::File { path: at() });
        }
        let (of, kept) = kept.split_at(session.0.len());
        if of != session.0 {
            return Err(EncapsulationKeyError::OtherSession { path: at() });
        }
        let (ciphertext, secret) = kept.split_at(CIPHERTEXT_BYTES);
        let ciphertext = Ciphertext::from_bytes(ciphertext);
        let ciphertext = ciphertext.ok_or(EncapsulationKeyError::Library)?;
        Ok(Self { ciphertext, secret: secret_of(secret)? })
    }
}

/// A private key of ML-KEM-768, kept as its seed.
///
/// # Secrecy
/// The seed is wiped when dropped, and `Debug` prints the public half.
pub struct DecapsulationKey {
    seed: Zeroizing<[u8; SEED_BYTES]>,
    private: kem::DecapsulationKey,
    public: EncapsulationKey,
}

impl DecapsulationKey {
    /// Generates a key.
    ///
    /// # Errors
    /// [`EncapsulationKeyError::Library`] when the system gives no random bytes.
    pub fn generate() -> Result<Self, EncapsulationKeyError> {
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        rand::fill(&mut *seed).map_err(|_| EncapsulationKeyError::Library)?;
        Self::from_seed(seed)
    }

    fn from_seed(seed: Zeroizing<[u8; SEED_BYTES]>) -> Result<Self, EncapsulationKeyError> {
        let (private, public) = ml_kem::expand(&seed).ok_or(EncapsulationKeyError::Library)?;
        Ok(Self { seed, private, public: EncapsulationKey(Box::new(public)) })
    }

    /// Generates a key and writes it to a new file, mode 0600.
    ///
    /// # Errors
    /// An [`EncapsulationKeyError`] when the file exists already or cannot be written.
    pub fn generate_file(path: &Path) -> Result<Self, EncapsulationKeyError> {
        let key = Self::generate()?;
        permissions::write_private(path, &key.to_pem())?;
        Ok(key)
    }

    /// Reads a key from an unencrypted PKCS#8 PEM file that only its owner can read.
    ///
    /// # Errors
    /// An [`EncapsulationKeyError`] when the file is open to others or holds anything but one such
    /// block with a seed of ML-KEM-768.
    pub fn load(path: &Path) -> Result<Self, EncapsulationKeyError> {
        let text = permissions::read_private(path)?;
        Self::from_pem(&text).map_err(|source| match source {
            EncapsulationKeyError::Pem(source) => {
                EncapsulationKeyError::FilePem { path: path.to_owned(), source }
            }
            EncapsulationKeyError::Invalid => EncapsulationKeyError::File { path: path.to_owned() },
            other => other,
        })
    }

    /// Reads a PEM block `PRIVATE KEY`.
    pub(super) fn from_pem(text: &str) -> Result<Self, EncapsulationKeyError> {
        let der = pem::decode(text, PRIVATE_LABEL)?;
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        let bytes = der.strip_prefix(&PRIVATE_PREFIX).filter(|bytes| bytes.len() == SEED_BYTES);
        seed.copy_from_slice(bytes.ok_or(EncapsulationKeyError::Invalid)?);
        Self::from_seed(seed)
    }

    /// The key as a PEM block that ends with a new line.
    pub(super) fn to_pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new([0; PRIVATE_PREFIX.len() + SEED_BYTES]);
        let (prefix, seed) = der.split_at_mut(PRIVATE_PREFIX.len());
        prefix.copy_from_slice(&PRIVATE_PREFIX);
        seed.copy_from_slice(&*self.seed);
        pem::encode(PRIVATE_LABEL, &*der)
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &EncapsulationKey {
        &self.public
    }

    /// Takes the secret out of a ciphertext. A ciphertext that was made for another key gives a
    /// secret that nobody else has.
    ///
    /// # Errors
    /// [`EncapsulationKeyError::Library`], which does not happen with a key that was made or read.
    ///
    /// # Source
    /// NIST FIPS 203, section 6.3.
    pub fn decapsulate(
        &self,
        ciphertext: &Ciphertext,
    ) -> Result<EncapsulatedSecret, EncapsulationKeyError> {
        let secret = self.private.decapsulate(kem::Ciphertext::from(ciphertext.bytes()));
        let secret = secret.map_err(|_| EncapsulationKeyError::Library)?;
        let secret = secret_of(secret.as_ref())?;
        Ok(EncapsulatedSecret { ciphertext: ciphertext.clone(), secret })
    }
}

impl fmt::Debug for DecapsulationKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DecapsulationKey").field("public", &self.public).finish_non_exhaustive()
    }
}

/// Why there is no private key of ML-KEM, or no secret. Never holds any of either.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EncapsulationKeyError {
    /// The file is at fault.
    #[error(transparent)]
    Private(#[from] PrivateFileError),
    /// A file's text is at fault.
    #[error("{} is not what it should be", path.display())]
    FilePem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// A file has another key.
    #[error("{} holds no ML-KEM-768 key or secret of the documented form", path.display())]
    File {
        /// The file.
        path: PathBuf,
    },
    /// A kept secret of another session.
    #[error("{} is of another session", path.display())]
    OtherSession {
        /// The file.
        path: PathBuf,
    },
    /// A text is at fault.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// No key of ML-KEM-768.
    #[error("the key is none of ML-KEM-768")]
    Invalid,
    /// The cryptographic library gave no result.
    #[error("the cryptographic library refused a key operation")]
    Library,
}

impl Refusable for EncapsulationKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_have_one_secret_and_no_other_key_has_it() {
        let [key, other] = [(), ()].map(|()| DecapsulationKey::generate().expect("made"));
        let sent = key.public_key().encapsulate().expect("made");
        let got = key.decapsulate(&sent.ciphertext).expect("taken out");
        assert_eq!(got.secret.expose(), sent.secret.expose());
        let wrong = other.decapsulate(&sent.ciphertext).expect("some secret");
        assert_ne!(wrong.secret.expose(), sent.secret.expose());
        let again = key.public_key().encapsulate().expect("made");
        assert_ne!(again.secret.expose(), sent.secret.expose(), "each secret is new");
    }

    #[test]
    fn a_kept_secret_is_read_back() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("secret");
        let (session, other) = (Fingerprint([1; 32]), Fingerprint([2; 32]));
        let key = DecapsulationKey::generate().expect("made");
        let made = key.public_key().encapsulate().expect("made");
        made.write(&path, &session).expect("written");
        let read = EncapsulatedSecret::load(&path, &session).expect("its own file");
        assert_eq!(read.ciphertext, made.ciphertext);
        assert_eq!(read.secret.expose(), made.secret.expose());
        let refused = EncapsulatedSecret::load(&path, &other).expect_err("of another session");
        assert!(matches!(refused, EncapsulationKeyError::OtherSession { .. }), "{refused}");
        assert!(made.write(&path, &session).is_err(), "it is never overwritten");
        let text = std::fs::read_to_string(&path).expect("text");
        let mut lines: Vec<&str> = text.lines().collect();
        lines.remove(1);
        std::fs::write(&path, lines.join("\n")).expect("written");
        let refused = EncapsulatedSecret::load(&path, &session).expect_err("too short");
        assert!(matches!(refused, EncapsulationKeyError::File { .. }), "{refused}");
    }

    #[test]
    fn keys_are_read_back_from_their_text() {
        let key = DecapsulationKey::generate().expect("made");
        let again = DecapsulationKey::from_pem(&key.to_pem()).expect("its own text");
        assert_eq!(again.seed, key.seed);
        assert_eq!(again.public_key(), key.public_key());
        let public = EncapsulationKey::from_pem(&key.public_key().to_pem()).expect("its own text");
        assert_eq!(public, *key.public_key());
        assert_eq!(public.to_der().len(), EncapsulationKey::DER_BYTES);
    }

    #[test]
    fn a_key_with_a_coefficient_above_the_modulus_is_none() {
        let mut der = DecapsulationKey::generate().expect("made").public_key().to_der();
        assert!(EncapsulationKey::from_der(&der).is_ok());
        der[PUBLIC_PREFIX.len()..][..2].fill(0xff);
        assert_eq!(EncapsulationKey::from_der(&der), Err(PublicKeyError::MlKem));
        assert_eq!(EncapsulationKey::from_der(&der[1..]), Err(PublicKeyError::MlKem));
    }
}
