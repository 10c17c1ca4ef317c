//! The receiver's age recipient: a public key for which parts are sealed.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

use age::{EncryptError, x25519};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::bech32_decode;
use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA256, digest};

use super::hybrid_kem::PublicKeyDefect;
use super::hybrid_recipient::{self, HybridDefect, HybridRecipient};

/// What an X25519 recipient begins with, before the `1`.
const CLASSIC_HRP: &str = "age";

/// How many characters of a text that is none an error shows.
const SHOWN_CHARS: usize = 70;

/// What a seal's secrecy rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SealKind {
    /// ML-KEM-768 and X25519: it holds while either of them does.
    Hybrid,
    /// X25519 alone, which a large quantum computer opens.
    Classic,
}

impl fmt::Display for SealKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hybrid => "hybrid",
            Self::Classic => "classic",
        })
    }
}

/// An age recipient, of the kinds that `reshare` seals for.
#[derive(Clone, PartialEq, Eq)]
pub enum Recipient {
    /// `age1pq1...`
    Hybrid(HybridRecipient),
    /// `age1...`
    Classic(x25519::Recipient),
}

impl Recipient {
    /// What its seal rests on.
    #[must_use]
    pub fn kind(&self) -> SealKind {
        match self {
            Self::Hybrid(_) => SealKind::Hybrid,
            Self::Classic(_) => SealKind::Classic,
        }
    }

    /// SHA-256 of its text, for people to compare. Also printed by `printf %s age1... | sha256sum`.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, self.to_string().as_bytes()).as_ref());
        sha256
    }
}

/// As `age` writes it.
impl fmt::Display for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hybrid(recipient) => recipient.fmt(f),
            Self::Classic(recipient) => recipient.fmt(f),
        }
    }
}

impl fmt::Debug for Recipient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl age::Recipient for Recipient {
    fn wrap_file_key(
        &self,
        file_key: &FileKey,
    ) -> Result<(Vec<Stanza>, HashSet<String>), EncryptError> {
        match self {
            Self::Hybrid(recipient) => recipient.wrap_file_key(file_key),
            Self::Classic(recipient) => recipient.wrap_file_key(file_key),
        }
    }
}

/// Reads a recipient: `age1` and lower-case Bech32, exactly as `age` writes it.
///
/// # Errors
/// A [`RecipientError`] for other text, or for a key of small order: anyone could open what is
/// sealed for such a key.
pub fn parse_recipient(text: &str) -> Result<Recipient, RecipientError> {
    if text.starts_with("AGE-SECRET-KEY-") {
        return Err(RecipientError::Secret);
    }
    let invalid = |why| RecipientError::Invalid { text: shortened(text), why };
    let (kind, bytes) = bech32_text(text).ok_or_else(|| invalid(TYPO))?;
    let recipient = match kind.as_str() {
        hybrid_recipient::RECIPIENT_HRP => {
            HybridRecipient::from_bytes(&bytes).map(Recipient::Hybrid).map_err(|why| match why {
                HybridDefect::Length => invalid("incorrect pubkey length"),
                HybridDefect::Key(PublicKeyDefect::MlKem) => invalid("no ML-KEM-768 public key"),
                HybridDefect::Key(PublicKeyDefect::SmallOrder) => RecipientError::SmallOrder,
            })?
        }
        CLASSIC_HRP if has_small_order(&bytes) => return Err(RecipientError::SmallOrder),
        CLASSIC_HRP => {
            x25519::Recipient::from_str(text).map(Recipient::Classic).map_err(invalid)?
        }
        _ => return Err(invalid("it is of another kind, such as those for hardware keys")),
    };
    if recipient.to_string() != text {
        return Err(invalid("not in the usual lower-case form"));
    }
    Ok(recipient)
}

/// What is wrong with text that is no Bech32.
pub(super) const TYPO: &str = "its checksum does not fit, a character is wrong or missing";

/// What Bech32 begins with, in lower case, and its bytes. `None` where the checksum does not fit.
///
/// # Source
/// BIP 173, without its limit of 90 characters.
fn bech32_text(text: &str) -> Option<(String, Vec<u8>)> {
    bech32_decode(
        text,
        drop,
        |_| Ok(()),
        |kind, bytes| Ok((kind.to_string().to_lowercase(), bytes.collect())),
    )
    .ok()
}

/// The beginning of a text that may be long.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Whether every key's shared secret with this one is zero, and so not a secret.
///
/// The age library accepts such a recipient, and then panics when it seals for it.
fn has_small_order(point: &[u8]) -> bool {
    let peer = UnparsedPublicKey::new(&agreement::X25519, point);
    let any_key = agreement::PrivateKey::generate(&agreement::X25519);
    // The library refuses a shared secret of zero: RFC 7748 section 6.1.
    point.len() == POINT_BYTES
        && any_key.is_ok_and(|key| agreement::agree(&key, peer, (), |_| Ok(())).is_err())
}

/// Bytes of an X25519 public key.
const POINT_BYTES: usize = 32;

/// Why a text is no age recipient.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RecipientError {
    /// A private key where the public one belongs. Not shown.
    #[error("this is the receiver's secret key, not its recipient (age1...): keep it secret")]
    Secret,
    /// A point that everybody shares a secret with.
    #[error("this age recipient has small order: anybody could open what is sealed for it")]
    SmallOrder,
    /// Neither kind of recipient.
    #[error("{text:?} is no hybrid (age1pq1...) or X25519 (age1...) age recipient: {why}")]
    Invalid {
        /// The text, or its beginning.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use age_core::primitives::bech32_encode;
    use bech32::Hrp;

    use super::*;
    use crate::keys::Identity;

    fn either_kind() -> [Identity; 2] {
        [SealKind::Hybrid, SealKind::Classic].map(Identity::generate)
    }

    /// Bech32 with a right checksum.
    fn bech32(hrp: &str, bytes: &[u8]) -> String {
        bech32_encode(Hrp::parse_unchecked(hrp), bytes)
    }

    fn why(text: &str) -> &'static str {
        match parse_recipient(text) {
            Err(RecipientError::Invalid { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_error_shows_no_part_of_an_identity() {
        for identity in either_kind() {
            let one = identity.to_secret_string();
            let one = age_core::secrecy::ExposeSecret::expose_secret(&one);
            let error = parse_recipient(one).expect_err("a secret key");
            assert_eq!(error, RecipientError::Secret);
            assert!(!format!("{error} {error:?}").contains(&one[20..30]));
        }
    }

    #[test]
    fn a_recipient_has_one_form() {
        for recipient in either_kind().map(|identity| identity.to_public()) {
            let text = recipient.to_string();
            assert_eq!(parse_recipient(&text).expect("valid"), recipient);
            assert_eq!(format!("{recipient:?}"), text);
            assert_eq!(why(&text.to_uppercase()), "not in the usual lower-case form");
            let cut = text[..60].to_owned();
            for other in [format!(" {text}"), format!("{text}\n"), cut, String::new()] {
                assert_eq!(why(&other), TYPO, "{other}");
            }
            let place = text.len() / 2;
            let other = if text.as_bytes()[place] == b'q' { "p" } else { "q" };
            let typo = [&text[..place], other, &text[place + 1..]].concat();
            assert_eq!(why(&typo), TYPO);
            let error = parse_recipient(&typo).expect_err("a typo").to_string();
            assert!(error.len() < 250, "not all of a long text: {error}");
        }
    }

    #[test]
    fn a_recipient_of_another_kind_or_length_is_refused() {
        let other = "it is of another kind, such as those for hardware keys";
        assert_eq!(why(&bech32("age1tagpq", &[4; 1249])), other);
        assert_eq!(why(&bech32("age1tag", &[2; 33])), other);
        assert_eq!(why(&bech32("bc", &[2; 33])), other);
        for len in [31, 33, 1216] {
            assert_eq!(why(&bech32("age", &vec![9; len])), "incorrect pubkey length");
        }
        for len in [0, 32, 1184, 1215, 1217] {
            assert_eq!(why(&bech32("age1pq", &vec![9; len])), "incorrect pubkey length");
        }
    }

    #[test]
    fn a_hybrid_recipient_whose_coefficients_are_not_below_the_modulus_is_refused() {
        let Recipient::Hybrid(valid) = Identity::generate(SealKind::Hybrid).to_public() else {
            panic!("hybrid");
        };
        let (_, mut bytes) = bech32_text(&valid.to_string()).expect("valid");
        bytes[..3].copy_from_slice(&[0xff; 3]);
        assert_eq!(why(&bech32("age1pq", &bytes)), "no ML-KEM-768 public key");
    }

    #[test]
    fn a_recipient_of_small_order_is_refused() {
        for first in [0, 1] {
            let mut point = [0; POINT_BYTES];
            point[0] = first;
            let classic = bech32("age", &point);
            assert!(x25519::Recipient::from_str(&classic).is_ok(), "its checksum is right");
            assert_eq!(parse_recipient(&classic).err(), Some(RecipientError::SmallOrder));
            let valid = Identity::generate(SealKind::Hybrid).to_public().to_string();
            let (_, mut bytes) = bech32_text(&valid).expect("valid");
            let place = bytes.len() - POINT_BYTES;
            bytes[place..].copy_from_slice(&point);
            let hybrid = bech32("age1pq", &bytes);
            assert_eq!(parse_recipient(&hybrid).err(), Some(RecipientError::SmallOrder));
        }
    }
}
