//! What to do about errors of AWS KMS.

use reshare_format::keys::KmsKeyId;
use reshare_kms::{KmsAction, KmsError};

use crate::failure::Failure;

impl From<KmsError> for Failure {
    fn from(error: KmsError) -> Self {
        let hint = kms_hint(&error);
        Self::of(error).hint_if(hint)
    }
}

fn kms_hint(error: &KmsError) -> Option<String> {
    Some(match error {
        KmsError::NoRegion => "name the key by its ARN, or set AWS_REGION".to_owned(),
        KmsError::NoCredentials(_) | KmsError::CredentialsFailed(_) => {
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where AWS \
             gives a role; after `aws sso login`: eval \"$(aws configure export-credentials \
             --format env)\""
                .to_owned()
        }
        KmsError::CredentialsRejected { .. } => {
            "log in to AWS again, and check this machine's clock".to_owned()
        }
        KmsError::Unreachable { .. } | KmsError::TimedOut { .. } => {
            "check the network, the region and AWS_ENDPOINT_URL; AWS_MAX_ATTEMPTS says how often \
             it is tried"
                .to_owned()
        }
        KmsError::Throttled { .. } | KmsError::Unavailable { .. } => {
            "run it again in a while; AWS_MAX_ATTEMPTS says how often it is tried".to_owned()
        }
        KmsError::AccessDenied { action: KmsAction::CreateKey, .. } => {
            "the identity's policy must allow kms:CreateKey and kms:GetPublicKey".to_owned()
        }
        KmsError::AccessDenied { action, .. } => format!(
            "the key's policy, and for a key of the same account the identity's, must allow \
             {action}"
        ),
        KmsError::NotFound { .. } => "check the ARN: its region, account and key".to_owned(),
        KmsError::Disabled { key } => {
            format!("enable it: aws kms enable-key --key-id {}", key_text(key))
        }
        KmsError::State { key, .. } => {
            let key = key_text(key);
            format!(
                "where it waits to be deleted: aws kms cancel-key-deletion --key-id {key}, then \
                 aws kms enable-key --key-id {key}"
            )
        }
        KmsError::Usage { .. } | KmsError::Curve { .. } => {
            "usage and curve of a key never change: make another one with `reshare kms create-key`"
                .to_owned()
        }
        KmsError::Created { arn, .. } => {
            format!("keep the ARN; later: reshare kms public-key {arn}")
        }
        _ => return None,
    })
}

fn key_text(key: &Option<KmsKeyId>) -> &str {
    key.as_ref().map_or("KEY", KmsKeyId::as_str)
}
