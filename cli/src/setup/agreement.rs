//! The session's keys, from a sender's agreement key.

use reshare_engine::party::PartyId;
#[cfg(not(feature = "kms"))]
use reshare_format::keys::AgreementKey;
use reshare_format::keys::{AgreementKeySource, AgreementPublicKey, KmsKeyId};
use reshare_format::session::Session;
#[cfg(feature = "kms")]
use reshare_kms::{KmsKey, SenderKey, SenderKeyError};
use reshare_pipeline::sender::SenderKeys;

use crate::args::AgreementKeyArgs;
use crate::failure::Failure;
#[cfg(feature = "kms")]
use crate::run::block_on;

/// Opens the key, and agrees with the other sender on the session's keys.
pub(crate) fn agree(args: &AgreementKeyArgs, session: &Session) -> Result<SenderKeys, Failure> {
    let Some(own) = args.source() else {
        return Err(Failure::usage("an agreement key is needed"));
    };
    agree_with(&own, args.other_kms_key_arn.as_ref(), session)
}

/// The sender of a session whose key this is.
pub(crate) fn sender_of_key(
    source: &AgreementKeySource,
    session: &Session,
) -> Result<PartyId, Failure> {
    let key = public_key(source)?;
    let mut senders = session.senders().into_iter();
    match senders.find(|sender| sender.agreement_key == key) {
        Some(sender) => Ok(sender.party),
        None => Err(Failure::refused(format!("{source} is not a key of this session"))
            .hint("each session has keys of its own: name the one that it was made with")),
    }
}

#[cfg(feature = "kms")]
fn public_key(source: &AgreementKeySource) -> Result<AgreementPublicKey, Failure> {
    block_on(async { Ok(*SenderKey::open(source).await.map_err(key_failure)?.public_key()) })
}

#[cfg(not(feature = "kms"))]
fn public_key(source: &AgreementKeySource) -> Result<AgreementPublicKey, Failure> {
    match source {
        AgreementKeySource::File(path) => {
            let key =
                AgreementKey::load(path).map_err(|error| Failure::of_file(error, "--keys"))?;
            Ok(*key.public_key())
        }
        AgreementKeySource::Kms(_) => Err(without_kms()),
    }
}

#[cfg(not(feature = "kms"))]
fn without_kms() -> Failure {
    Failure::usage("this build of reshare cannot use keys in AWS KMS")
        .hint("build it with the feature `kms`, which is on by default")
}

#[cfg(feature = "kms")]
fn agree_with(
    own: &AgreementKeySource,
    other: Option<&KmsKeyId>,
    session: &Session,
) -> Result<SenderKeys, Failure> {
    block_on(async {
        let key = SenderKey::open(own).await.map_err(key_failure)?;
        let named = match other {
            Some(id) => Some(KmsKey::open(id).await.map_err(Failure::from)?),
            None => None,
        };
        let other =
            SenderKeys::other_sender(session, key.public_key()).map_err(Failure::refused)?;
        let secret = key.shared_secret(other, named.as_ref()).await.map_err(agree_failure)?;
        SenderKeys::from_secret(session, key.public_key(), &secret).map_err(Failure::refused)
    })
}

#[cfg(not(feature = "kms"))]
fn agree_with(
    own: &AgreementKeySource,
    other: Option<&KmsKeyId>,
    session: &Session,
) -> Result<SenderKeys, Failure> {
    let (AgreementKeySource::File(path), None) = (own, other) else {
        return Err(without_kms());
    };
    let key =
        AgreementKey::load(path).map_err(|error| Failure::of_file(error, "--agreement-key"))?;
    SenderKeys::agree(session, &key).map_err(Failure::refused)
}

#[cfg(feature = "kms")]
fn key_failure(error: SenderKeyError) -> Failure {
    match error {
        SenderKeyError::Kms(error) => error.into(),
        error => Failure::of_file(error, "--agreement-key"),
    }
}

#[cfg(feature = "kms")]
fn agree_failure(error: SenderKeyError) -> Failure {
    match error {
        SenderKeyError::Kms(error) => error.into(),
        SenderKeyError::NotTheOther { .. } => Failure::refused(error).hint(
            "ask the other sender for its ARN; `reshare kms public-key ARN` must print the key \
             that is in the session file",
        ),
        error => Failure::refused(error),
    }
}
