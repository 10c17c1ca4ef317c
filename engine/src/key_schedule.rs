//! The keys of one session, derived from the secret that the two senders share.

use std::fmt;

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::fingerprint::Fingerprint;

/// 32 bytes that both senders have, and nobody else.
///
/// # Secrecy
/// Wiped when dropped; `Debug` prints nothing of it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SharedSecret([u8; 32]);

impl SharedSecret {
    /// Takes the 32 bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes, for a file that only their owner can read.
    #[must_use]
    pub const fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

/// Proves that two senders hold the same keys, and reveals nothing about them. Public.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyCheck(pub [u8; 16]);

/// Every key of one session.
///
/// # Secrecy
/// The keys are wiped when dropped, and `Debug` prints only the key check.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct KeySchedule {
    blinding_key: [u8; 32],
    content_tag_key: [u8; 32],
    #[zeroize(skip)]
    key_check: KeyCheck,
}

impl KeySchedule {
    /// Derives the keys that the senders of one session have in common.
    ///
    /// `secret` is what [`AgreedSecrets::combine`] gives.
    ///
    /// With `prk = HKDF-Extract-SHA256(salt = session id, ikm = secret)`:
    /// * blinding key = `HKDF-Expand(prk, label("blinding-key"), 32)`,
    /// * key check = `HKDF-Expand(prk, label("key-check"), 16)`,
    /// * content tag key = `HKDF-Expand(blinding key, label("content-tag-key"), 32)`.
    ///
    /// [`AgreedSecrets::combine`]: crate::agreed_secrets::AgreedSecrets::combine
    ///
    /// # Source
    /// RFC 5869; `docs/format.md`, *Keys of a session*.
    #[must_use]
    pub fn derive(secret: &SharedSecret, session_id: &str, fingerprint: &Fingerprint) -> Self {
        let session = Hkdf::<Sha256>::new(Some(session_id.as_bytes()), &secret.0);
        let blinding_key = expand(&session, &fingerprint.label("blinding-key"));
        let key_check = KeyCheck(expand(&session, &fingerprint.label("key-check")));
        let below = Hkdf::<Sha256>::from_prk(&blinding_key).expect("32 bytes are a hash long");
        let content_tag_key = expand(&below, &fingerprint.label("content-tag-key"));
        Self { blinding_key, content_tag_key, key_check }
    }

    /// The value that both senders' manifests must have in common.
    #[must_use]
    pub fn key_check(&self) -> KeyCheck {
        self.key_check
    }

    /// The key that every row key is derived from.
    pub(crate) fn blinding_key(&self) -> &[u8; 32] {
        &self.blinding_key
    }

    /// The key of the content tags.
    pub(crate) fn content_tag_key(&self) -> &[u8; 32] {
        &self.content_tag_key
    }
}

fn expand<const N: usize>(prk: &Hkdf<Sha256>, info: &[u8]) -> [u8; N] {
    const { assert!(N <= 255 * 32, "HKDF-SHA256 expands at most 255 hashes") };
    let mut key = [0; N];
    prk.expand(info, &mut key).expect("the length is asserted above");
    key
}

impl fmt::Debug for SharedSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SharedSecret(..)")
    }
}

impl fmt::Display for KeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for KeyCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyCheck({self})")
    }
}

impl fmt::Debug for KeySchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySchedule").field("key_check", &self.key_check).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_input_changes_every_key() {
        let keys = |secret, id: &str, fingerprint| {
            KeySchedule::derive(
                &SharedSecret::new([secret; 32]),
                id,
                &Fingerprint([fingerprint; 32]),
            )
        };
        let base = keys(1, "run", 2);
        let again = keys(1, "run", 2);
        assert_eq!(base.key_check(), again.key_check());
        assert_eq!(base.blinding_key, again.blinding_key);
        assert_ne!(base.blinding_key, base.content_tag_key);
        for other in [keys(3, "run", 2), keys(1, "ran", 2), keys(1, "run", 4)] {
            assert_ne!(base.key_check, other.key_check);
            assert_ne!(base.blinding_key, other.blinding_key);
            assert_ne!(base.content_tag_key, other.content_tag_key);
        }
    }

    #[test]
    fn debug_prints_no_key() {
        let secret = SharedSecret::new([0xab; 32]);
        assert_eq!(format!("{secret:?}"), "SharedSecret(..)");
        let keys = KeySchedule::derive(&secret, "run", &Fingerprint([0; 32]));
        let shown = format!("{keys:?}");
        assert_eq!(
            shown,
            format!("KeySchedule {{ key_check: KeyCheck({}), .. }}", keys.key_check())
        );
    }
}
