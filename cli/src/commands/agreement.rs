//! A sender's agreement key: the flags that name it, and the session's keys from it.

use clap::{ArgGroup, Args};
use reshare_io::keys::{AgreementKeyError, AgreementKeySource, KmsKey, KmsKeyId, SenderKey};
use reshare_io::pipeline::sender::{SenderKeys, SenderKeysError};
use reshare_io::session::Session;

use super::kms;
use crate::failure::Failure;
use crate::run::block_on;

/// Where the agreement key is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys", group = ArgGroup::new("own_key").required(true))]
pub(crate) struct AgreementKeyArgs {
    /// This sender's agreement key: file:PATH, a PKCS#8 PEM file of mode 0600, or kms:ARN, a key
    /// in AWS KMS
    #[arg(long, value_name = "KEY", env = "RESHARE_AGREEMENT_KEY", group = "own_key")]
    agreement_key: Option<AgreementKeySource>,

    /// The same as --agreement-key kms:ARN
    #[arg(long, value_name = "ARN", group = "own_key")]
    my_kms_key_arn: Option<KmsKeyId>,

    /// The other sender's key in AWS KMS: refused unless it is the one in the session
    #[arg(long, value_name = "ARN")]
    other_kms_key_arn: Option<KmsKeyId>,
}

impl AgreementKeyArgs {
    /// Whether there is a key to open.
    pub(crate) fn is_given(&self) -> bool {
        self.agreement_key.is_some() || self.my_kms_key_arn.is_some()
    }

    /// Opens the key, and agrees with the other sender on the session's keys.
    pub(crate) fn agree(&self, session: &Session) -> Result<SenderKeys, Failure> {
        let own = match (&self.agreement_key, &self.my_kms_key_arn) {
            (Some(source), _) => source.clone(),
            (None, Some(id)) => AgreementKeySource::Kms(id.clone()),
            (None, None) => return Err(Failure::usage("an agreement key is needed")),
        };
        block_on(async {
            let key = SenderKey::open(&own).await.map_err(key_failure)?;
            let other = match &self.other_kms_key_arn {
                Some(id) => Some(KmsKey::open(id).await.map_err(kms::failure)?),
                None => None,
            };
            let keys = SenderKeys::agree_with(session, &key, other.as_ref()).await;
            keys.map_err(agree_failure)
        })
    }
}

fn key_failure(error: AgreementKeyError) -> Failure {
    match error {
        AgreementKeyError::Kms(error) => kms::failure(error),
        error => Failure::of_file(error, "--agreement-key"),
    }
}

fn agree_failure(error: SenderKeysError) -> Failure {
    match error {
        SenderKeysError::Agreement(AgreementKeyError::Kms(error)) => kms::failure(error),
        SenderKeysError::NotTheOther { .. } => Failure::refused(error).hint(
            "ask the other sender for its ARN; `reshare kms public-key ARN` must print the key \
             that is in the session file",
        ),
        error => Failure::refused(error),
    }
}
