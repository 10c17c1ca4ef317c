//! The receiver's age identity, in the file format of the `age` tools.

use reshare_files::fault::Refusable;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::{DecryptError, x25519};
use age_core::format::{FileKey, Stanza};
use age_core::primitives::bech32_decode;
use age_core::secrecy::{ExposeSecret, SecretString};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use zeroize::Zeroizing;

use super::hybrid_recipient::{self, HybridIdentity};
use super::permissions::{self, PrivateFileError};
use super::recipient::{Recipient, SealKind, TYPO};

/// What every identity of age begins with, those of its plugins excepted.
const IDENTITY_PREFIX: &str = "AGE-SECRET-KEY-";
/// What an X25519 identity begins with.
const CLASSIC_PREFIX: &str = "AGE-SECRET-KEY-1";
/// What a hybrid identity begins with.
const HYBRID_PREFIX: &str = "AGE-SECRET-KEY-PQ-1";
/// Bytes of an identity of either kind.
const SECRET_BYTES: usize = 32;

/// An age identity, of the kinds that `reshare` seals for.
///
/// # Secrecy
/// Wiped when the last copy is dropped.
#[derive(Clone)]
pub enum Identity {
    /// `AGE-SECRET-KEY-PQ-1...`
    Hybrid(HybridIdentity),
    /// `AGE-SECRET-KEY-1...`
    Classic(x25519::Identity),
}

impl Identity {
    /// Makes a new one, from the operating system's random numbers.
    #[must_use]
    pub fn generate(kind: SealKind) -> Self {
        match kind {
            SealKind::Hybrid => Self::Hybrid(HybridIdentity::generate()),
            SealKind::Classic => Self::Classic(x25519::Identity::generate()),
        }
    }

    /// Its public half.
    #[must_use]
    pub fn to_public(&self) -> Recipient {
        match self {
            Self::Hybrid(identity) => Recipient::Hybrid(identity.to_public()),
            Self::Classic(identity) => Recipient::Classic(identity.to_public()),
        }
    }

    /// The text that an identity file holds.
    #[must_use]
    pub fn to_secret_string(&self) -> SecretString {
        match self {
            Self::Hybrid(identity) => identity.to_secret_string(),
            Self::Classic(identity) => identity.to_string(),
        }
    }

    /// Reads the line of an identity file, exactly as `age` writes it; or what is wrong with it.
    fn parse(line: &str) -> Result<Self, &'static str> {
        let identity = if line.starts_with(HYBRID_PREFIX) {
            Self::Hybrid(parse_hybrid(line)?)
        } else if line.starts_with(CLASSIC_PREFIX) {
            Self::Classic(x25519::Identity::from_str(line).map_err(|_| TYPO)?)
        } else if line.starts_with(IDENTITY_PREFIX) {
            return Err("it is of a kind that this version does not know");
        } else if line.starts_with("AGE-PLUGIN-") {
            return Err("it belongs to a plugin of age, and not to a key in this file");
        } else if line.starts_with("age1") {
            return Err("it is a recipient, the public half");
        } else {
            return Err("it does not begin with AGE-SECRET-KEY-");
        };
        match identity.to_secret_string().expose_secret() == line {
            true => Ok(identity),
            false => Err("it is not in the usual upper-case form"),
        }
    }
}

fn parse_hybrid(line: &str) -> Result<HybridIdentity, &'static str> {
    let of_its_kind = hybrid_recipient::IDENTITY_HRP;
    let mut seed = Zeroizing::new([0; SECRET_BYTES]);
    let len = bech32_decode(
        line,
        |_| TYPO,
        |kind| (kind.to_string() == of_its_kind).then_some(()).ok_or(TYPO),
        // Collected, the bytes would leave copies behind.
        |_, bytes| {
            let len = bytes.len();
            seed.iter_mut().zip(bytes).for_each(|(place, byte)| *place = byte);
            Ok(len)
        },
    )?;
    let identity = HybridIdentity::from_bytes(&*seed).filter(|_| len == SECRET_BYTES);
    identity.ok_or("it has another length")
}

impl age::Identity for Identity {
    fn unwrap_stanza(&self, stanza: &Stanza) -> Option<Result<FileKey, DecryptError>> {
        match self {
            Self::Hybrid(identity) => identity.unwrap_stanza(stanza),
            Self::Classic(identity) => identity.unwrap_stanza(stanza),
        }
    }
}

/// Generates an identity and writes it to a new file, mode 0600, as `age-keygen` does.
///
/// `created` appears only in a comment of the file.
///
/// # Errors
/// An [`IdentityError`] when the file exists already or cannot be written.
pub fn generate_identity(
    path: &Path,
    kind: SealKind,
    created: OffsetDateTime,
) -> Result<Recipient, IdentityError> {
    let identity = Identity::generate(kind);
    let recipient = identity.to_public();
    let created = created.replace_nanosecond(0).unwrap_or(created);
    let created = created.format(&Rfc3339).map_err(|_| IdentityError::Created)?;
    let secret = identity.to_secret_string();
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
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if is_encrypted(line) {
            return Err(IdentityError::Encrypted { path: path.to_owned() });
        }
        let identity = Identity::parse(line).map_err(|why| {
            let (path, line) = (path.to_owned(), index + 1);
            IdentityError::Line { path, line, why }
        })?;
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
    /// A line that is no identity of either kind.
    #[error(
        "line {line} of {} is no hybrid ({HYBRID_PREFIX}...) or X25519 ({CLASSIC_PREFIX}...) age \
         identity: {why}",
        path.display()
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The file needs a passphrase or another key.
    #[error("{} is encrypted: an identity file without a passphrase is expected", path.display())]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
}

impl Refusable for IdentityError {}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    const KINDS: [SealKind; 2] = [SealKind::Hybrid, SealKind::Classic];

    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a temporary directory"))
        }

        fn file(&self, text: &str) -> PathBuf {
            let path = self.0.path().join(format!("{}", blake3::hash(text.as_bytes())));
            permissions::write_private(&path, text).expect("written");
            path
        }

        fn refuse(&self, text: &str) -> IdentityError {
            load_identity(&self.file(text)).err().expect("must be refused")
        }

        /// What is wrong with the only line.
        fn why(&self, line: &str) -> &'static str {
            match self.refuse(&format!("# c\n{line}\n")) {
                IdentityError::Line { line: 2, why, .. } => why,
                other => panic!("{other:?}"),
            }
        }
    }

    fn secret(identity: &Identity) -> String {
        identity.to_secret_string().expose_secret().to_owned()
    }

    #[test]
    fn a_generated_identity_reads_back_and_has_the_recipient_that_was_returned() {
        for kind in KINDS {
            let scratch = Scratch::new();
            let path = scratch.0.path().join("identity");
            let created = time::macros::datetime!(2026-08-21 01:02:03.5 UTC);
            let recipient = generate_identity(&path, kind, created).expect("made");
            assert_eq!(recipient.kind(), kind);
            let identity = load_identity(&path).expect("read");
            assert_eq!(identity.to_public(), recipient);
            let text = permissions::read_private(&path).expect("read");
            let head = format!("# created: 2026-08-21T01:02:03Z\n# public key: {recipient}\nAGE-");
            assert!(text.starts_with(&head));
            let again = generate_identity(&path, kind, created);
            assert!(matches!(again, Err(IdentityError::File(_))));
            assert_eq!(secret(&load_identity(&path).expect("still there")), secret(&identity));
        }
    }

    #[test]
    fn a_file_without_exactly_one_plain_identity_is_refused() {
        let scratch = Scratch::new();
        assert!(matches!(scratch.refuse("# nothing\n"), IdentityError::Missing { .. }));
        for kind in KINDS {
            let one = secret(&Identity::generate(kind));
            for other in KINDS {
                let two = format!("{one}\n\n{}\n", secret(&Identity::generate(other)));
                assert!(matches!(scratch.refuse(&two), IdentityError::Several { .. }));
            }
        }
        let sealed = "age-encryption.org/v1\n-> scrypt";
        assert!(matches!(scratch.refuse(sealed), IdentityError::Encrypted { .. }));
        let armored = "-----BEGIN AGE ENCRYPTED FILE-----\n";
        assert!(matches!(scratch.refuse(armored), IdentityError::Encrypted { .. }));
    }

    #[test]
    fn a_line_that_is_no_identity_is_refused_with_what_is_wrong_with_it() {
        let scratch = Scratch::new();
        for kind in KINDS {
            let one = secret(&Identity::generate(kind));
            let other = if one.ends_with('Q') { "P" } else { "Q" };
            assert_eq!(scratch.why(&format!("{}{other}", &one[..one.len() - 1])), TYPO);
            assert_eq!(scratch.why(&one[..one.len() - 1]), TYPO);
            assert_eq!(scratch.why(&format!("{one}Q")), TYPO);
            let lower = one.to_lowercase();
            assert_eq!(scratch.why(&lower), "it does not begin with AGE-SECRET-KEY-");
            let public = Identity::generate(kind).to_public().to_string();
            assert_eq!(scratch.why(&public), "it is a recipient, the public half");
        }
        let unknown = "it is of a kind that this version does not know";
        assert_eq!(scratch.why("AGE-SECRET-KEY-X-1QQQQ"), unknown);
        let plugin = "it belongs to a plugin of age, and not to a key in this file";
        assert_eq!(scratch.why("AGE-PLUGIN-YUBIKEY-1QQQQ"), plugin);
        let hrp = bech32::Hrp::parse_unchecked(hybrid_recipient::IDENTITY_HRP);
        for len in [0, 31, 33, 64] {
            let text = age_core::primitives::bech32_encode(hrp, &vec![7; len]).to_uppercase();
            assert_eq!(scratch.why(&text), "it has another length", "{len} bytes");
        }
    }

    #[test]
    fn an_error_shows_no_part_of_an_identity() {
        for kind in KINDS {
            let one = secret(&Identity::generate(kind));
            let error = Scratch::new().refuse(&format!("{one}x\n"));
            assert!(!format!("{error} {error:?}").contains(&one[20..30]));
        }
    }
}
