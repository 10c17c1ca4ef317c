//! A sender's agreement key: the flags that name it, and the session's keys from it.

use clap::{ArgGroup, Args};
#[cfg(not(feature = "kms"))]
use reshare_format::keys::AgreementKey;
use reshare_format::keys::{AgreementKeySource, KmsKeyId};
use reshare_format::session::Session;
#[cfg(feature = "kms")]
use reshare_kms::{KmsKey, SenderKey, SenderKeyError};
use reshare_pipeline::sender::SenderKeys;

#[cfg(feature = "kms")]
use super::kms;
use crate::failure::Failure;
#[cfg(feature = "kms")]
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
        agree(&own, self.other_kms_key_arn.as_ref(), session)
    }
}

#[cfg(feature = "kms")]
fn agree(
    own: &AgreementKeySource,
    other: Option<&KmsKeyId>,
    session: &Session,
) -> Result<SenderKeys, Failure> {
    block_on(async {
        let key = SenderKey::open(own).await.map_err(key_failure)?;
        let named = match other {
            Some(id) => Some(KmsKey::open(id).await.map_err(kms::failure)?),
            None => None,
        };
        let other =
            SenderKeys::other_sender(session, key.public_key()).map_err(Failure::refused)?;
        let secret = key.shared_secret(other, named.as_ref()).await.map_err(agree_failure)?;
        SenderKeys::from_secret(session, key.public_key(), &secret).map_err(Failure::refused)
    })
}

#[cfg(not(feature = "kms"))]
fn agree(
    own: &AgreementKeySource,
    other: Option<&KmsKeyId>,
    session: &Session,
) -> Result<SenderKeys, Failure> {
    let AgreementKeySource::File(path) = own else { return Err(no_kms()) };
    if other.is_some() {
        return Err(no_kms());
    }
    let key =
        AgreementKey::load(path).map_err(|error| Failure::of_file(error, "--agreement-key"))?;
    SenderKeys::agree(session, &key).map_err(Failure::refused)
}

#[cfg(not(feature = "kms"))]
fn no_kms() -> Failure {
    Failure::usage("this build of reshare cannot use keys in AWS KMS")
        .hint("build it with the feature `kms`, which is on by default")
}

#[cfg(feature = "kms")]
fn key_failure(error: SenderKeyError) -> Failure {
    match error {
        SenderKeyError::Kms(error) => kms::failure(error),
        error => Failure::of_file(error, "--agreement-key"),
    }
}

#[cfg(feature = "kms")]
fn agree_failure(error: SenderKeyError) -> Failure {
    match error {
        SenderKeyError::Kms(error) => kms::failure(error),
        SenderKeyError::NotTheOther { .. } => Failure::refused(error).hint(
            "ask the other sender for its ARN; `reshare kms public-key ARN` must print the key \
             that is in the session file",
        ),
        error => Failure::refused(error),
    }
}
