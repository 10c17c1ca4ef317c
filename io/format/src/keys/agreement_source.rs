//! The location of a sender's agreement key, as written on a command line.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::kms_key_id::{KmsKeyId, KmsKeyIdError};

/// The location of a sender's private agreement key: `file:PATH`, a bare path, or `kms:ARN`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgreementKeySource {
    /// A PKCS#8 PEM file.
    File(PathBuf),
    /// A key in AWS KMS.
    Kms(KmsKeyId),
}

impl FromStr for AgreementKeySource {
    type Err = SourceError;

    fn from_str(text: &str) -> Result<Self, SourceError> {
        let path = match text.split_once(':') {
            Some(("file", path)) => path,
            Some(("kms", id)) => return Ok(Self::Kms(id.parse()?)),
            // A scheme is letters only; a path with a colon can always be written with `file:`.
            Some((scheme, _)) if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) => {
                return Err(SourceError::Scheme { scheme: scheme.to_owned() });
            }
            _ => text,
        };
        if path.is_empty() {
            return Err(SourceError::Empty);
        }
        Ok(Self::File(path.into()))
    }
}

impl fmt::Display for AgreementKeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::Kms(id) => write!(f, "kms:{id}"),
        }
    }
}

/// Why a text names no place of a key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// Nothing, or nothing after `file:`.
    #[error("an agreement key is named by file:PATH or kms:ARN, and the path is missing")]
    Empty,
    /// Another scheme.
    #[error("an agreement key is named by file:PATH or kms:ARN, not by {scheme}:")]
    Scheme {
        /// The scheme.
        scheme: String,
    },
    /// `kms:` and no name of a key.
    #[error(transparent)]
    Kms(#[from] KmsKeyIdError),
}
