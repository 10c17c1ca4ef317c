//! The key that both senders have in a file: 32 random bytes that travel by hand.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reshare_engine::key_schedule::SharedSecret;
use reshare_files::fault::Refusable;
use zeroize::Zeroizing;

use super::permissions::{self, PrivateFileError};

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// What the id of a key is the digest of, before the key.
const ID_LABEL: &[u8] = b"reshare/v2/shared-key-id\0";

/// A key that both senders have.
///
/// # Secrecy
/// Wiped when dropped, and `Debug` prints its id.
#[derive(Clone)]
pub struct SharedKey(SharedSecret);

/// Which key it is: the first 16 bytes of `BLAKE3(key, "reshare/v2/shared-key-id" || 0x00)`.
/// Public.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SharedKeyId([u8; SharedKeyId::BYTES]);

impl SharedKey {
    /// Takes the bytes of a key, which must be random.
    #[must_use]
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(SharedSecret::new(bytes))
    }

    /// Generates a key and writes it to a new file, mode 0600: Base64 and a line feed.
    ///
    /// # Errors
    /// A [`SharedKeyError`] when the file exists already or cannot be written.
    pub fn generate_file(path: &Path) -> Result<Self, SharedKeyError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(&mut *bytes).map_err(|_| SharedKeyError::Random)?;
        let mut text =
            Zeroizing::new(vec![0; base64::encoded_len(KEY_BYTES, true).unwrap_or(64) + 1]);
        let written = STANDARD.encode_slice(bytes.as_slice(), &mut text);
        let written = written.map_err(|_| SharedKeyError::Random)?;
        text[written] = b'\n';
        let text = std::str::from_utf8(&text[..=written]).map_err(|_| SharedKeyError::Random)?;
        permissions::write_private(path, text)?;
        Ok(Self::new(*bytes))
    }

    /// Reads a key from a file that only its owner can read.
    ///
    /// # Errors
    /// A [`SharedKeyError`] when the file is open to others or holds anything but the Base64 of 32
    /// bytes.
    pub fn load(path: &Path) -> Result<Self, SharedKeyError> {
        let text = permissions::read_private(path)?;
        // A decoder may ask for room for what is cut off in the end.
        let mut bytes = Zeroizing::new([0; KEY_BYTES + 1]);
        match STANDARD.decode_slice(text.trim(), &mut *bytes) {
            Ok(KEY_BYTES) => {
                let mut key = Zeroizing::new([0; KEY_BYTES]);
                key.copy_from_slice(&bytes[..KEY_BYTES]);
                Ok(Self::new(*key))
            }
            _ => Err(SharedKeyError::Invalid { path: path.to_owned() }),
        }
    }

    /// Which key it is.
    #[must_use]
    pub fn id(&self) -> SharedKeyId {
        let hash = blake3::keyed_hash(self.0.expose(), ID_LABEL);
        let mut id = [0; SharedKeyId::BYTES];
        id.copy_from_slice(&hash.as_bytes()[..SharedKeyId::BYTES]);
        SharedKeyId(id)
    }

    /// The key itself.
    #[must_use]
    pub fn secret(&self) -> &SharedSecret {
        &self.0
    }
}

impl fmt::Debug for SharedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKey({})", self.id())
    }
}

impl SharedKeyId {
    /// The length of every id.
    pub const BYTES: usize = 16;

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

impl FromStr for SharedKeyId {
    type Err = SharedKeyIdError;

    /// Reads 32 hexadecimal digits in lower case: each id has one spelling.
    fn from_str(text: &str) -> Result<Self, SharedKeyIdError> {
        let mut id = [0; Self::BYTES];
        let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) if lower => Ok(Self(id)),
            _ => Err(SharedKeyIdError),
        }
    }
}

impl fmt::Display for SharedKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for SharedKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SharedKeyId({self})")
    }
}

/// A text is not the id of a shared key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the id of a shared key is 32 hexadecimal digits in lower case")]
pub struct SharedKeyIdError;

/// Why there is no shared key. Never holds any of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedKeyError {
    /// The file is at fault.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The file holds something else.
    #[error("{} is no shared key: it must hold 32 bytes in Base64 and nothing else", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
    },
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    Random,
}

impl Refusable for SharedKeyError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_from_its_file_and_named_by_its_id() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("shared.key");
        let made = SharedKey::generate_file(&path).expect("made");
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.len() == 45 && text.ends_with("=\n"), "{}", text.len());
        let read = SharedKey::load(&path).expect("its own file");
        assert_eq!(read.secret().expose(), made.secret().expose());
        assert_eq!(read.id().to_string().parse(), Ok(made.id()));
        assert_ne!(SharedKey::new([1; 32]).id(), SharedKey::new([2; 32]).id());
        let taken = SharedKey::generate_file(&path).expect_err("it is there");
        assert!(taken.to_string().contains("exists already"), "{taken}");
    }

    #[test]
    fn other_texts_are_no_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let long = STANDARD.encode([7; 33]);
        for (index, text) in ["", "AAAA", "not Base64", long.as_str()].into_iter().enumerate() {
            let path = directory.path().join(index.to_string());
            permissions::write_private(&path, text).expect("written");
            let error = SharedKey::load(&path).expect_err("must be refused");
            assert!(matches!(error, SharedKeyError::Invalid { .. }), "{text:?}: {error}");
        }
        for text in
            ["", "00", "0G000000000000000000000000000000", "AA000000000000000000000000000000"]
        {
            assert_eq!(text.parse::<SharedKeyId>(), Err(SharedKeyIdError), "{text}");
        }
    }
}
