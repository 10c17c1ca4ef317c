//! The receiver's age identity (X25519), in the file format of the `age` tools.

use reshare_files::fault::Refusable;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::secrecy::ExposeSecret;
use age::x25519::{Identity, Recipient};
use aws_lc_rs::agreement::{self, UnparsedPublicKey};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::permissions::{self, PrivateFileError};

/// The prefix of a line with a native X25519 identity.
const IDENTITY_PREFIX: &str = "AGE-SECRET-KEY-1";

/// Bytes of an X25519 public key.
const POINT_BYTES: usize = 32;

/// The characters of Bech32, by their value, and the length of its checksum.
const BECH32_CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const CHECKSUM_CHARS: usize = 6;

/// Generates an identity and writes it to a new file, mode 0600, as `age-keygen` does.
///
/// `created` appears only in a comment of the file.
///
/// # Errors
/// An [`IdentityError`] when the file exists already or cannot be written.
pub fn generate_identity(path: &Path, created: OffsetDateTime) -> Result<Recipient, IdentityError> {
    let identity = Identity::generate();
    let recipient = identity.to_public();
    let created = created.replace_nanosecond(0).unwrap_or(created);
    let created = created.format(&Rfc3339).map_err(|_| IdentityError::Created)?;
    let secret = identity.to_string();
    let comments = format!("# created: {created}\n# public key: {recipient}\n");
    let secret = secret.expose_secret();
    // Allocate the whole buffer at once: growing it would leave copies of the secret behind.
    let mut text = Zeroizing::new(String::with_capacity(comments.len() + secret.len() + 1));
    for part in [comments.as_str(), secret, "\n"] {
        text.push_str(part);
    }
    permissions::write_private(path, &text)?;
    Ok(recipient)
}

/// Reads the identity from a file that only its owner can read.
///
/// The file may also hold comments and empty lines, but only one identity, so that it is clear
/// which key opens a package.
///
/// # Errors
/// An [`IdentityError`] when the file is open to others, holds no identity or several, or has
/// any other line.
pub fn load_identity(path: &Path) -> Result<Identity, IdentityError> {
    let text = permissions::read_private(path)?;
    let mut found = None;
    for (index, line) in text.lines().enumerate() {
        let (line, number) = (line.trim(), index + 1);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if is_encrypted(line) {
            return Err(IdentityError::Encrypted { path: path.to_owned() });
        }
        let usual = line.starts_with(IDENTITY_PREFIX);
        let identity = Identity::from_str(line).ok().filter(|_| usual);
        let identity =
            identity.ok_or_else(|| IdentityError::Line { path: path.to_owned(), line: number })?;
        if found.replace(identity).is_some() {
            return Err(IdentityError::Several { path: path.to_owned() });
        }
    }
    found.ok_or_else(|| IdentityError::Missing { path: path.to_owned() })
}

/// Whether a file with this beginning is itself encrypted by age.
fn is_encrypted(line: &str) -> bool {
    line.starts_with("age-encryption.org/") || line.starts_with("-----BEGIN AGE ENCRYPTED FILE")
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
    let invalid = |why| RecipientError::Invalid { text: text.to_owned(), why };
    let recipient = Recipient::from_str(text).map_err(invalid)?;
    if recipient.to_string() != text {
        return Err(invalid("not in the usual lower-case form"));
    }
    let point = recipient_point(text).ok_or_else(|| invalid("incorrect pubkey length"))?;
    if has_small_order(&point) {
        return Err(RecipientError::SmallOrder);
    }
    Ok(recipient)
}

/// The 32 bytes of a recipient whose checksum has already been verified.
///
/// The age library does not expose them.
///
/// # Source
/// BIP 173: five bits a character after the last `1`, six characters of checksum.
fn recipient_point(text: &str) -> Option<[u8; POINT_BYTES]> {
    let (_, data) = text.rsplit_once('1')?;
    let data = data.as_bytes().get(..data.len().checked_sub(CHECKSUM_CHARS)?)?;
    let (mut point, mut len) = ([0; POINT_BYTES], 0);
    let (mut pending, mut pending_bits) = (0_u32, 0);
    for character in data {
        let value = BECH32_CHARSET.iter().position(|other| other == character)?;
        pending = (pending << 5 | u32::try_from(value).ok()?) & 0xfff;
        pending_bits += 5;
        if pending_bits >= 8 {
            pending_bits -= 8;
            *point.get_mut(len)? = (pending >> pending_bits) as u8;
            len += 1;
        }
    }
    (len == POINT_BYTES).then_some(point)
}

/// Whether every key's shared secret with this one is zero, and so not a secret.
///
/// The age library accepts such a recipient, and then panics when it seals for it.
fn has_small_order(point: &[u8; POINT_BYTES]) -> bool {
    let peer = UnparsedPublicKey::new(&agreement::X25519, point);
    let any_key = agreement::PrivateKey::generate(&agreement::X25519);
    // The library refuses a shared secret of zero: RFC 7748 section 6.1.
    any_key.is_ok_and(|key| agreement::agree(&key, peer, (), |_| Ok(())).is_err())
}

/// Why there is no age identity. Never holds any of it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The file is at fault.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The time cannot be written in a comment.
    #[error("the time of creation has no RFC 3339 form")]
    Created,
    /// No identity.
    #[error("{} holds no age identity (a line that begins with {IDENTITY_PREFIX})", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// More than one identity.
    #[error("{} holds several age identities: exactly one is expected", path.display())]
    Several {
        /// The file.
        path: PathBuf,
    },
    /// A line that is no native X25519 identity.
    #[error("line {line} of {} is no X25519 age identity", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
    },
    /// The file needs a passphrase or another key.
    #[error("{} is encrypted: an identity file without a passphrase is expected", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
}

impl Refusable for IdentityError {}

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
    /// Not `age1` and Bech32 of 32 bytes.
    #[error("{text:?} is no age X25519 recipient (age1...): {why}")]
    Invalid {
        /// The text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a temporary directory"))
        }

        fn file(&self, text: &str) -> PathBuf {
            let path = self.0.path().join(format!("{}", text.len()));
            permissions::write_private(&path, text).expect("written");
            path
        }

        fn refuse(&self, text: &str) -> IdentityError {
            load_identity(&self.file(text)).err().expect("must be refused")
        }
    }

    fn secret(identity: &Identity) -> String {
        identity.to_string().expose_secret().to_owned()
    }

    #[test]
    fn a_generated_identity_reads_back_and_has_the_recipient_that_was_returned() {
        let scratch = Scratch::new();
        let path = scratch.0.path().join("identity");
        let created = time::macros::datetime!(2026-08-21 01:02:03.5 UTC);
        let recipient = generate_identity(&path, created).expect("made");
        let identity = load_identity(&path).expect("read");
        assert_eq!(identity.to_public(), recipient);
        let text = permissions::read_private(&path).expect("read");
        let head = format!("# created: 2026-08-21T01:02:03Z\n# public key: {recipient}\nAGE-");
        assert!(text.starts_with(&head));
        assert!(matches!(generate_identity(&path, created), Err(IdentityError::File(_))));
        assert_eq!(secret(&load_identity(&path).expect("still there")), secret(&identity));
    }

    #[test]
    fn a_file_without_exactly_one_plain_identity_is_refused() {
        let scratch = Scratch::new();
        let one = secret(&Identity::generate());
        assert!(matches!(scratch.refuse("# nothing\n"), IdentityError::Missing { .. }));
        let two = format!("{one}\n\n{}\n", secret(&Identity::generate()));
        assert!(matches!(scratch.refuse(&two), IdentityError::Several { .. }));
        let garbled = format!("# c\n{}\n", one.replace('1', "2"));
        assert!(matches!(scratch.refuse(&garbled), IdentityError::Line { line: 2, .. }));
        let lower = one.to_lowercase();
        assert!(matches!(scratch.refuse(&lower), IdentityError::Line { line: 1, .. }));
        let sealed = "age-encryption.org/v1\n-> scrypt";
        assert!(matches!(scratch.refuse(sealed), IdentityError::Encrypted { .. }));
        let armored = "-----BEGIN AGE ENCRYPTED FILE-----\n";
        assert!(matches!(scratch.refuse(armored), IdentityError::Encrypted { .. }));
    }

    #[test]
    fn an_error_shows_no_part_of_an_identity() {
        let one = secret(&Identity::generate());
        let error = Scratch::new().refuse(&format!("{one}x\n"));
        assert!(!format!("{error} {error:?}").contains(&one[20..30]));
        let error = parse_recipient(&one).expect_err("a secret key");
        assert!(!format!("{error} {error:?}").contains(&one[20..30]));
    }

    #[test]
    fn a_recipient_has_one_form() {
        let text = Identity::generate().to_public().to_string();
        assert_eq!(parse_recipient(&text).expect("valid").to_string(), text);
        for other in [text.to_uppercase(), format!(" {text}"), text[..60].to_owned(), String::new()]
        {
            let refused = parse_recipient(&other).expect_err("must be refused");
            assert!(matches!(refused, RecipientError::Invalid { .. }), "{other}");
        }
    }

    #[test]
    fn the_bytes_of_a_recipient_are_those_of_its_bech32() {
        let text = Identity::generate().to_public().to_string();
        let point = recipient_point(&text).expect("valid");
        let groups = (0..52).map(|group| {
            (0..5).fold(0_usize, |value, bit| {
                let at = group * 5 + bit;
                let set = at < 256 && point[at / 8] >> (7 - at % 8) & 1 == 1;
                value << 1 | usize::from(set)
            })
        });
        let data: String = groups.map(|value| char::from(BECH32_CHARSET[value])).collect();
        assert_eq!(text[4..56], data);
    }

    #[test]
    fn a_recipient_of_small_order_is_refused() {
        // Bech32 of 32 zero bytes, and of the point 1.
        for text in SMALL_ORDER {
            assert!(Recipient::from_str(text).is_ok(), "its checksum is right");
            assert_eq!(parse_recipient(text).err(), Some(RecipientError::SmallOrder));
        }
    }

    const SMALL_ORDER: [&str; 2] = [
        "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
        "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya",
    ];
}
