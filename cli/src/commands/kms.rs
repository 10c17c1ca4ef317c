//! `reshare kms`, and what to do about errors of KMS.

use clap::{Args, Subcommand};
use reshare_format::keys::KmsKeyId;
use reshare_kms::{KmsAction, KmsError, KmsKey};

use crate::args::OutputArgs;
use crate::exit::{Exit, Outcome};
use crate::failure::Failure;
use crate::run::block_on;

#[derive(Debug, Args)]
pub(crate) struct KmsCommand {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Make an agreement key (KEY_AGREEMENT, ECC_NIST_P256): prints its ARN and public half
    CreateKey {
        /// What the AWS console shows beside the key
        #[arg(long, value_name = "TEXT", default_value = "Agreement key of a reshare sender")]
        description: String,
    },
    /// Print the public half of an agreement key, PEM, for `session new --sender`
    PublicKey {
        /// The key: its ARN, or an alias' ARN, a key id or alias/NAME
        #[arg(value_name = "ARN")]
        key: KmsKeyId,
    },
}

impl KmsCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let key = block_on(async {
            let key = match &self.kind {
                Kind::CreateKey { description } => KmsKey::create(Some(description)).await,
                Kind::PublicKey { key } => KmsKey::open(key).await,
            };
            key.map_err(failure)
        })?;
        let (arn, pem) = (key.arn().as_str(), key.public_key().to_pem());
        if output.json {
            let public_key = pem.trim_end();
            println!("{}", serde_json::json!({ "arn": arn, "public_key": public_key }));
            return Ok(Exit::Done);
        }
        if matches!(self.kind, Kind::CreateKey { .. }) {
            println!("{arn}");
        }
        print!("{pem}");
        Ok(Exit::Done)
    }
}

/// A failure with what to do about it.
pub(crate) fn failure(error: KmsError) -> Failure {
    let hint = hint(&error);
    let failure = if error.is_refusal() { Failure::refused(error) } else { Failure::failed(error) };
    match hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

fn hint(error: &KmsError) -> Option<String> {
    Some(match error {
        KmsError::NoRegion => "name the key by its ARN, or set AWS_REGION".to_owned(),
        KmsError::NoCredentials(_) | KmsError::CredentialsFailed(_) => {
            "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where AWS \
             gives a role; after `aws sso login`: eval \"$(aws configure export-credentials \
             --format env)\""
                .to_owned()
        }
        KmsError::CredentialsRejected { .. } => {
            "log in to AWS anew, and check this machine's clock".to_owned()
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
