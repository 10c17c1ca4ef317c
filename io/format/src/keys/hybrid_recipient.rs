//! The hybrid recipient of age, `age1pq1...`, and its identity: stanzas of kind `mlkem768x25519`.
//!
//! The stanza's one argument is the encapsulated key, its body the file key, sealed by HPKE with
//! the KEM of `hybrid_kem`, HKDF-SHA-256 and ChaCha20-Poly1305. Another age opens it
//! from version 1.3 on.
//!
//! # Source
//! <https://c2sp.org/age>, *The hybrid post-quantum recipient type*.

use std::collections::HashSet;
use std::fmt;

use age::{DecryptError, EncryptError};
use age_core::format::{FILE_KEY_BYTES, FileKey, Stanza};
use age_core::primitives::{bech32_encode, bech32_encode_to_fmt};
use age_core::secrecy::{ExposeSecret, SecretString};
use base64::Engine;
use base64::prelude::BASE64_STANDARD_NO_PAD;
use bech32::Hrp;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, Serializable};
use rand_core::OsRng;
use zeroize::Zeroizing;

use super::hybrid_kem::{EncappedKey, HybridKem, PrivateKey, PublicKey, PublicKeyDefect};

/// What a recipient begins with, before the `1`.
pub(super) const RECIPIENT_HRP: &str = "age1pq";
/// What an identity begins with, before the `1`.
pub(super) const IDENTITY_HRP: &str = "AGE-SECRET-KEY-PQ-";

/// The kind of the stanza.
const TAG: &str = "mlkem768x25519";
/// What HPKE binds the file key to.
const INFO: &[u8] = b"age-encryption.org/mlkem768x25519";
/// Recipients without this label cannot be in a header with this one: they would be its weakness.
const HEADER_LABEL: &str = "postquantum";
/// A file key and its tag.
const BODY_BYTES: usize = FILE_KEY_BYTES + 16;

/// A public key: anyone who has it can seal.
#[derive(Clone, PartialEq, Eq)]
pub struct HybridRecipient(PublicKey);

impl HybridRecipient {
    /// Reads a public key, for which a first file key is then sealed as a check.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, HybridDefect> {
        let key = PublicKey::from_bytes(bytes).map_err(|_| HybridDefect::Length)?;
        key.check().map_err(HybridDefect::Key)?;
        Ok(Self(key))
    }
}

/// What is wrong with the bytes of a recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HybridDefect {
    /// Not as many as a public key has.
    Length,
    /// No public key.
    Key(PublicKeyDefect),
}

impl fmt::Display for HybridRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        bech32_encode_to_fmt(f, Hrp::parse_unchecked(RECIPIENT_HRP), self.0.bytes())
    }
}

impl fmt::Debug for HybridRecipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl age::Recipient for HybridRecipient {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        let (encapped, body) =
            hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, HybridKem, _>(
                &OpModeS::Base,
                &self.0,
                INFO,
                file_key.expose_secret(),
                &[],
                &mut OsRng,
            )
            .map_err(|error| EncryptError::Io(std::io::Error::other(error.to_string())))?;
        let args = vec![BASE64_STANDARD_NO_PAD.encode(encapped.to_bytes())];
        let stanza = Stanza { tag: TAG.to_owned(), args, body };
        Ok((vec![stanza], HashSet::from([HEADER_LABEL.to_owned()])))
    }
}

/// A private key: anyone who has it can open.
///
/// # Secrecy
/// Wiped when the last copy is dropped.
#[derive(Clone)]
pub struct HybridIdentity(PrivateKey);

impl HybridIdentity {
    /// Makes a new one, from the operating system's random numbers.
    #[must_use]
    pub fn generate() -> Self {
        Self(HybridKem::gen_keypair(&mut OsRng).0)
    }

    /// Reads a private key; `None` when it has another length.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        PrivateKey::from_bytes(bytes).ok().map(Self)
    }

    /// Its public half.
    #[must_use]
    pub fn to_public(&self) -> HybridRecipient {
        HybridRecipient(HybridKem::sk_to_pk(&self.0))
    }

    /// The text that an identity file holds.
    #[must_use]
    pub fn to_secret_string(&self) -> SecretString {
        let text = bech32_encode(Hrp::parse_unchecked(IDENTITY_HRP), self.0.seed());
        let mut text = Zeroizing::new(text);
        text.make_ascii_uppercase();
        SecretString::from(text.as_str())
    }
}

impl age::Identity for HybridIdentity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        (stanza.tag == TAG).then_some(())?;
        let invalid = Some(Err(DecryptError::InvalidHeader));
        let [encapped] = &stanza.args[..] else { return invalid };
        let encapped = BASE64_STANDARD_NO_PAD.decode(encapped).ok();
        let encapped = encapped.and_then(|bytes| EncappedKey::from_bytes(&bytes).ok());
        // A longer body could be one that several keys open, each to another content.
        let (Some(encapped), BODY_BYTES) = (encapped, stanza.body.len()) else { return invalid };
        let opened = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, HybridKem>(
            &OpModeR::Base,
            &self.0,
            &encapped,
            INFO,
            &stanza.body,
            &[],
        );
        match opened.map(Zeroizing::new) {
            Ok(opened) => Some(FileKey::try_init_with_mut(|file_key| {
                let opened = opened.as_slice().try_into();
                *file_key = opened.map_err(|_| DecryptError::InvalidHeader)?;
                Ok(())
            })),
            // Sealed for another key: nothing shows for which.
            Err(HpkeError::OpenError) => None,
            Err(_) => invalid,
        }
    }
}

#[cfg(test)]
mod tests {
    use age::{Identity as _, Recipient as _};

    use super::*;
    use crate::keys::hybrid_kem::ENCAPPED_BYTES;

    const FILE_KEY: [u8; FILE_KEY_BYTES] = *b"sixteen bytes ab";
    /// Where the X25519 share begins in an encapsulated key.
    const SHARE: usize = ENCAPPED_BYTES - 32;

    /// Seals the file key, and returns the only stanza.
    fn wrapped(recipient: &HybridRecipient) -> Stanza {
        let (mut stanzas, labels) =
            recipient.wrap_file_key(&FileKey::new(Box::new(FILE_KEY))).expect("seals");
        assert_eq!(labels, HashSet::from(["postquantum".to_owned()]));
        assert_eq!(stanzas.len(), 1);
        stanzas.remove(0)
    }

    /// The file key; `None` where the stanza is for another identity, an error where it is
    /// malformed.
    fn unwrapped(identity: &HybridIdentity, stanza: &Stanza) -> Option<Result<Vec<u8>, String>> {
        let unwrapped = identity.unwrap_stanza(stanza)?;
        Some(match unwrapped {
            Ok(file_key) => Ok(file_key.expose_secret().to_vec()),
            Err(error) => {
                assert!(matches!(error, DecryptError::InvalidHeader), "{error}");
                Err(error.to_string())
            }
        })
    }

    fn is_invalid(identity: &HybridIdentity, stanza: &Stanza) -> bool {
        matches!(unwrapped(identity, stanza), Some(Err(_)))
    }

    fn encapped(stanza: &Stanza) -> Vec<u8> {
        BASE64_STANDARD_NO_PAD.decode(&stanza.args[0]).expect("Base64")
    }

    fn with_encapped(stanza: &Stanza, bytes: &[u8]) -> Stanza {
        let args = vec![BASE64_STANDARD_NO_PAD.encode(bytes)];
        Stanza { tag: stanza.tag.clone(), args, body: stanza.body.clone() }
    }

    #[test]
    fn a_file_key_is_sealed_for_one_identity() {
        let identity = HybridIdentity::generate();
        let stanza = wrapped(&identity.to_public());
        assert_eq!((stanza.tag.as_str(), encapped(&stanza).len()), ("mlkem768x25519", 1120));
        assert_eq!(stanza.body.len(), 32);
        assert_eq!(unwrapped(&identity, &stanza), Some(Ok(FILE_KEY.to_vec())));
        assert_eq!(unwrapped(&HybridIdentity::generate(), &stanza), None);
        let again = wrapped(&identity.to_public());
        assert_ne!(again, stanza, "a new secret each time");
        // Two halves of different seals.
        let crossed = Stanza { args: again.args, ..wrapped(&identity.to_public()) };
        assert_eq!(unwrapped(&identity, &crossed), None);
    }

    #[test]
    fn a_stanza_of_another_kind_is_passed_over() {
        let identity = HybridIdentity::generate();
        for tag in ["X25519", "mlkem768p256tag", "MLKEM768X25519", "mlkem768x25519 "] {
            let stanza = Stanza { tag: tag.to_owned(), ..wrapped(&identity.to_public()) };
            assert_eq!(unwrapped(&identity, &stanza), None, "{tag}");
        }
    }

    #[test]
    fn a_stanza_of_another_length_is_malformed() {
        let identity = HybridIdentity::generate();
        let stanza = wrapped(&identity.to_public());
        let bytes = encapped(&stanza);
        for len in [0, 32, SHARE, ENCAPPED_BYTES - 1] {
            assert!(is_invalid(&identity, &with_encapped(&stanza, &bytes[..len])), "{len}");
        }
        assert!(is_invalid(&identity, &with_encapped(&stanza, &[&bytes[..], &[0]].concat())));
        for args in [vec![], vec![stanza.args[0].clone(), "x".to_owned()], vec!["!".to_owned()]] {
            let stanza = Stanza { args, ..with_encapped(&stanza, &bytes) };
            assert!(is_invalid(&identity, &stanza), "{:?}", stanza.args.len());
        }
        for len in [0, 16, 31, 33, 48] {
            let mut stanza = with_encapped(&stanza, &bytes);
            stanza.body.resize(len, 0);
            assert!(is_invalid(&identity, &stanza), "a body of {len} bytes");
        }
    }

    #[test]
    fn a_bit_flipped_anywhere_in_a_stanza_opens_nothing() {
        let identity = HybridIdentity::generate();
        let stanza = wrapped(&identity.to_public());
        let mut bytes = encapped(&stanza);
        for place in (0..SHARE).step_by(101).chain(SHARE - 1..ENCAPPED_BYTES) {
            // X25519 passes over the highest bit of a share, but the hash does not.
            for bit in [0, 7] {
                bytes[place] ^= 1 << bit;
                let changed = with_encapped(&stanza, &bytes);
                assert_eq!(unwrapped(&identity, &changed), None, "bit {bit} of byte {place}");
                bytes[place] ^= 1 << bit;
            }
        }
        for place in 0..BODY_BYTES {
            let mut changed = with_encapped(&stanza, &bytes);
            changed.body[place] ^= 1;
            assert_eq!(unwrapped(&identity, &changed), None, "byte {place} of the body");
        }
    }

    #[test]
    fn a_share_of_small_order_is_malformed() {
        let identity = HybridIdentity::generate();
        let stanza = wrapped(&identity.to_public());
        for first in [0, 1] {
            let mut bytes = encapped(&stanza);
            bytes[SHARE..].fill(0);
            bytes[SHARE] = first;
            assert!(is_invalid(&identity, &with_encapped(&stanza, &bytes)), "{first}");
        }
    }

    #[test]
    fn the_label_keeps_classic_recipients_out_of_the_header() {
        let hybrid = HybridIdentity::generate().to_public();
        let classic = age::x25519::Identity::generate().to_public();
        for pair in [[&hybrid as &dyn age::Recipient, &classic], [&classic, &hybrid]] {
            let refused = age::Encryptor::with_recipients(pair.into_iter())
                .and_then(|encryptor| Ok(encryptor.wrap_output(Vec::new()).map(drop)?));
            let refused = refused.expect_err("must be refused");
            assert!(matches!(refused, EncryptError::IncompatibleRecipients { .. }), "{refused}");
        }
    }
}
