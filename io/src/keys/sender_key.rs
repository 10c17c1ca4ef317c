//! A sender's agreement key, wherever its private half is.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use reshare_engine::key_schedule::SharedSecret;

use super::agreement::{AgreementKey, AgreementKeyError};
use super::kms::{KmsKey, KmsKeyId, KmsKeyIdError};
use super::public_key::AgreementPublicKey;

/// An agreement key that can be used: both kinds come to the same secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum SenderKey {
    /// Out of a file, in this process.
    File(AgreementKey),
    /// In KMS, which is asked.
    Kms(KmsKey),
}

impl SenderKey {
    /// Opens the key that a source names.
    ///
    /// # Errors
    /// As [`AgreementKey::load`] and [`KmsKey::open`].
    pub async fn open(source: &AgreementKeySource) -> Result<Self, AgreementKeyError> {
        match source {
            AgreementKeySource::File(path) => Ok(Self::File(AgreementKey::load(path)?)),
            AgreementKeySource::Kms(id) => Ok(Self::Kms(KmsKey::open(id).await?)),
        }
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &AgreementPublicKey {
        match self {
            Self::File(key) => key.public_key(),
            Self::Kms(key) => key.public_key(),
        }
    }

    /// Agrees with the owner of another key on a secret.
    ///
    /// # Secrecy
    /// As [`AgreementKey::shared_secret`].
    ///
    /// # Errors
    /// As [`AgreementKey::shared_secret`] and [`KmsKey::shared_secret`].
    pub async fn shared_secret(
        &self,
        peer: &AgreementPublicKey,
    ) -> Result<SharedSecret, AgreementKeyError> {
        match self {
            Self::File(key) => key.shared_secret(peer),
            Self::Kms(key) => Ok(key.shared_secret(peer).await?),
        }
    }
}

/// Where a sender's private agreement key is: `file:PATH`, a bare path, or `kms:ARN`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
            // A scheme is letters alone; a path with a colon can always be said with `file:`.
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
