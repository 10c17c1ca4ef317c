//! One agreement key in KMS.

use std::fmt;

use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_kms::Client;
use aws_sdk_kms::operation::derive_shared_secret::DeriveSharedSecretOutput;
use aws_sdk_kms::operation::get_public_key::GetPublicKeyOutput;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{KeyAgreementAlgorithmSpec, KeySpec, KeyUsageType};
use reshare_engine::key_schedule::SharedSecret;
use reshare_format::keys::{AgreementPublicKey, KmsKeyId};
use zeroize::Zeroizing;

use super::client::connect;
use super::error::{KmsAction, KmsError};

/// A P-256 agreement key in KMS whose public half has been read.
#[derive(Clone)]
pub struct KmsKey {
    client: Client,
    arn: KmsKeyId,
    public: AgreementPublicKey,
}

impl KmsKey {
    /// Finds a key and reads its public half (`GetPublicKey`).
    ///
    /// # Errors
    /// A [`KmsError`] when the request fails, or the key is not a P-256 key for key agreement.
    pub async fn open(id: &KmsKeyId) -> Result<Self, KmsError> {
        Self::open_with(environment(), id).await
    }

    /// As [`KmsKey::open`], with these AWS settings instead of the environment's.
    ///
    /// # Errors
    /// As [`KmsKey::open`].
    pub async fn open_with(settings: ConfigLoader, id: &KmsKeyId) -> Result<Self, KmsError> {
        Self::find(connect(settings, id.region()).await?, id.clone()).await
    }

    /// Creates a key (`CreateKey`: usage KEY_AGREEMENT, ECC_NIST_P256) in the region that the
    /// environment names.
    ///
    /// # Errors
    /// A [`KmsError`]; [`KmsError::Created`] when the key was created but its public half could
    /// not be read.
    pub async fn create(description: Option<&str>) -> Result<Self, KmsError> {
        Self::create_with(environment(), description).await
    }

    /// As [`KmsKey::create`], with these AWS settings instead of the environment's.
    ///
    /// # Errors
    /// As [`KmsKey::create`].
    pub async fn create_with(
        settings: ConfigLoader,
        description: Option<&str>,
    ) -> Result<Self, KmsError> {
        const ACTION: KmsAction = KmsAction::CreateKey;
        let client = connect(settings, None).await?;
        let request = client
            .create_key()
            .key_usage(KeyUsageType::KeyAgreement)
            .key_spec(KeySpec::EccNistP256)
            .set_description(description.map(str::to_owned));
        let answer = request.send().await.map_err(|error| KmsError::of(error, ACTION, None))?;
        let arn = answer.key_metadata.and_then(|metadata| metadata.arn?.parse().ok());
        let arn: KmsKeyId = arn.ok_or(KmsError::Answer { action: ACTION, what: "no ARN" })?;
        let found = Self::find(client, arn.clone()).await;
        found.map_err(|source| KmsError::Created { arn, source: Box::new(source) })
    }

    async fn find(client: Client, id: KmsKeyId) -> Result<Self, KmsError> {
        const ACTION: KmsAction = KmsAction::GetPublicKey;
        let answer = client.get_public_key().key_id(id.as_str()).send().await;
        let answer = answer.map_err(|error| KmsError::of(error, ACTION, Some(&id)))?;
        let public = checked_public_key(&answer, &id)?;
        // An alias may point to another key a moment later: from here on use the key's own name.
        let arn = answer.key_id.as_deref().and_then(|arn| arn.parse().ok());
        let arn = arn.ok_or(KmsError::Answer { action: ACTION, what: "no ARN" })?;
        Ok(Self { client, arn, public })
    }

    /// The key's ARN.
    #[must_use]
    pub fn arn(&self) -> &KmsKeyId {
        &self.arn
    }

    /// The public half.
    #[must_use]
    pub fn public_key(&self) -> &AgreementPublicKey {
        &self.public
    }

    /// Derives the secret shared with the owner of another key, in KMS (`DeriveSharedSecret`): the
    /// X coordinate of the common point.
    ///
    /// # Secrecy
    /// The result is wiped when dropped. The TLS buffers that it passed through are not.
    ///
    /// # Errors
    /// A [`KmsError`]; [`KmsError::OwnKey`] when the other key is this one.
    pub async fn shared_secret(&self, peer: &AgreementPublicKey) -> Result<SharedSecret, KmsError> {
        if *peer == self.public {
            return Err(KmsError::OwnKey);
        }
        let request = self
            .client
            .derive_shared_secret()
            .key_id(self.arn.as_str())
            .key_agreement_algorithm(KeyAgreementAlgorithmSpec::Ecdh)
            .public_key(Blob::new(peer.as_der().as_slice()));
        let answer = request.send().await;
        let action = KmsAction::DeriveSharedSecret;
        self.secret_of(answer.map_err(|error| KmsError::of(error, action, Some(&self.arn)))?)
    }

    fn secret_of(&self, mut answer: DeriveSharedSecretOutput) -> Result<SharedSecret, KmsError> {
        let refused = |what| KmsError::Answer { action: KmsAction::DeriveSharedSecret, what };
        let secret = answer.shared_secret.take().ok_or_else(|| refused("no secret"))?;
        let secret = Zeroizing::new(secret.into_inner());
        if answer.key_id() != Some(self.arn.as_str()) {
            return Err(refused("a secret of another key"));
        }
        let bytes = <[u8; 32]>::try_from(secret.as_slice());
        let bytes = Zeroizing::new(bytes.map_err(|_| refused("a secret that is not 32 bytes"))?);
        Ok(SharedSecret::new(*bytes))
    }
}

/// The settings in the environment variables and files of AWS.
fn environment() -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
}

/// Checks that an answer is about a P-256 key for key agreement; returns its public key.
fn checked_public_key(
    answer: &GetPublicKeyOutput,
    id: &KmsKeyId,
) -> Result<AgreementPublicKey, KmsError> {
    match &answer.key_usage {
        Some(KeyUsageType::KeyAgreement) => {}
        other => {
            let usage = other.as_ref().map_or("of no usage", |usage| usage.as_str());
            return Err(KmsError::Usage { key: id.clone(), usage: usage.to_owned() });
        }
    }
    match &answer.key_spec {
        Some(KeySpec::EccNistP256) => {}
        other => {
            let spec = other.as_ref().map_or("of no curve", |spec| spec.as_str());
            return Err(KmsError::Curve { key: id.clone(), spec: spec.to_owned() });
        }
    }
    let der = answer.public_key.as_ref().map_or(&[][..], |blob| blob.as_ref());
    AgreementPublicKey::from_der(der)
        .map_err(|source| KmsError::PublicKey { key: id.clone(), source })
}

impl fmt::Debug for KmsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("KmsKey");
        out.field("arn", &self.arn).field("public", &self.public).finish_non_exhaustive()
    }
}
