//! A sender's agreement key, in a file or in KMS.

use reshare_engine::key_schedule::SharedSecret;
use reshare_engine::party::PartyId;
use reshare_files::fault::Refusable;
use reshare_format::keys::{
    AgreementKey, AgreementKeyError, AgreementKeySource, AgreementPublicKey, KmsKeyId,
};
use reshare_format::session::Sender;

use super::{KmsError, KmsKey};

/// An agreement key that is ready for use. Both kinds give the same secret.
#[derive(Debug)]
#[non_exhaustive]
pub enum SenderKey {
    /// From a file, in this process.
    File(AgreementKey),
    /// In KMS, which derives the secret.
    Kms(KmsKey),
}

impl SenderKey {
    /// Opens the key that a source names.
    ///
    /// # Errors
    /// As [`AgreementKey::load`] and [`KmsKey::open`].
    pub async fn open(source: &AgreementKeySource) -> Result<Self, SenderKeyError> {
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

    /// Derives the secret shared with another sender.
    ///
    /// `named` is the other sender's key in KMS, if the operator named it: it is compared with the
    /// session's.
    ///
    /// # Secrecy
    /// As [`AgreementKey::shared_secret`].
    ///
    /// # Errors
    /// [`SenderKeyError::NotTheOther`] when `named` is not the other sender's key in the session,
    /// before a secret is derived; otherwise as [`AgreementKey::shared_secret`] and
    /// [`KmsKey::shared_secret`].
    pub async fn shared_secret(
        &self,
        other: &Sender,
        named: Option<&KmsKey>,
    ) -> Result<SharedSecret, SenderKeyError> {
        if let Some(named) = named.filter(|key| *key.public_key() != other.agreement_key) {
            let arn = named.arn().clone();
            return Err(SenderKeyError::NotTheOther { arn, other: other.party });
        }
        Ok(match self {
            Self::File(key) => key.shared_secret(&other.agreement_key)?,
            Self::Kms(key) => key.shared_secret(&other.agreement_key).await?,
        })
    }
}

/// Why there is no key or no secret. Never holds any of the key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SenderKeyError {
    /// The key in a file is at fault.
    #[error(transparent)]
    File(#[from] AgreementKeyError),
    /// KMS gave no key or no secret.
    #[error(transparent)]
    Kms(#[from] KmsError),
    /// KMS has another key under the other sender's ARN.
    #[error("{arn} is not the agreement key of sender {other} in the session")]
    NotTheOther {
        /// The key that was named.
        arn: KmsKeyId,
        /// The other sender.
        other: PartyId,
    },
}

impl Refusable for SenderKeyError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::File(error) => error.is_refusal(),
            Self::Kms(error) => error.is_refusal(),
            Self::NotTheOther { .. } => true,
        }
    }
}
