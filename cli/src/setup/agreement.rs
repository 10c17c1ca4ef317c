//! The session's keys, from all that a sender has agreed on with the other one.

use std::path::{Path, PathBuf};

use reshare_engine::key_schedule::SharedSecret;
use reshare_engine::party::PartyId;
#[cfg(not(feature = "kms"))]
use reshare_format::keys::AgreementKey;
use reshare_format::keys::{
    AgreementKeySource, AgreementPublicKey, DecapsulationKey, EncapsulatedSecret,
    EncapsulationKeyError, KmsKeyId, PrivateFileError, SharedKey,
};
use reshare_format::session::{Approval, Approvals, Session};
#[cfg(feature = "kms")]
use reshare_kms::{KmsKey, SenderKey, SenderKeyError};
use reshare_pipeline::sender::{Agreed, SenderKeys};

use crate::args::{AgreementKeyArgs, StateArgs};
use crate::failure::Failure;
#[cfg(feature = "kms")]
use crate::run::block_on;

/// A sender's agreement key, opened: it says which of the two senders this is.
pub(crate) struct OwnKey {
    sender: PartyId,
    public: AgreementPublicKey,
    /// The secret with the other sender's key on P-256.
    ecdh: SharedSecret,
    /// The key of ML-KEM-768, where there is one.
    decapsulation: Option<DecapsulationKey>,
    /// The key that both senders have, where the session names one.
    shared_key: Option<SharedKey>,
}

/// Opens the key, and derives the secret with the other sender's on P-256.
pub(crate) fn open_key(args: &AgreementKeyArgs, session: &Session) -> Result<OwnKey, Failure> {
    let Some(own) = args.source() else {
        return Err(Failure::usage("an agreement key is needed"));
    };
    let shared_key = shared_key(args.shared_key.as_deref(), session)?;
    let mut key = agree_with(&own, args.other_kms_key_arn.as_ref(), session)?;
    key.shared_key = shared_key;
    if let Some(path) = &args.kem_key {
        let own = DecapsulationKey::load(path);
        key.decapsulation = Some(own.map_err(|error| Failure::of_file(error, "--kem-key"))?);
    }
    Ok(key)
}

impl OwnKey {
    /// The sender whose key it is.
    pub(crate) fn sender(&self) -> PartyId {
        self.sender
    }

    /// Derives the session's keys, with what the other sender has encapsulated or this one has.
    pub(crate) fn derive(
        &self,
        session: &Session,
        approvals: Option<&Approvals>,
        state: &StateArgs,
    ) -> Result<SenderKeys, Failure> {
        let encapsulated = match session.encapsulation_key() {
            None => None,
            Some(_) if Approval::encapsulates(session, self.sender) => {
                Some(kept(session, self.sender, state)?)
            }
            Some(_) => Some(self.decapsulated(session, approvals)?),
        };
        let agreed =
            Agreed { encapsulated: encapsulated.as_ref(), shared_key: self.shared_key.as_ref() };
        SenderKeys::from_secret(session, &self.public, &self.ecdh, agreed).map_err(Failure::refused)
    }

    /// Takes the secret out of the other sender's approval.
    fn decapsulated(
        &self,
        session: &Session,
        approvals: Option<&Approvals>,
    ) -> Result<EncapsulatedSecret, Failure> {
        let (Some(key), expected) = (&self.decapsulation, session.encapsulation_key()) else {
            let error = "this session needs this sender's key of ML-KEM-768";
            return Err(Failure::usage(error).hint(
                "`reshare keygen agreement` writes it into the file of the agreement key; for a key \
                 in AWS KMS give its own file with --kem-key",
            ));
        };
        if expected != Some(key.public_key()) {
            let error = "the session has another key of ML-KEM-768 for this sender";
            return Err(Failure::refused(error).hint(
                "each session has keys of its own: give the file that its public keys came from",
            ));
        }
        let Some(ciphertext) = approvals.and_then(Approvals::ciphertext) else {
            let error =
                "the other sender's approval is needed: it carries a secret for this sender";
            return Err(Failure::usage(error).hint("give it with --approval FILE"));
        };
        key.decapsulate(ciphertext).map_err(Failure::failed)
    }
}

/// The key that both senders have in a file: the flag must be there where the session names one, and
/// else not.
fn shared_key(path: Option<&Path>, session: &Session) -> Result<Option<SharedKey>, Failure> {
    let (id, path) = match (session.shared_key_id(), path) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            let error = "--shared-key is given, but this session names no such key";
            return Err(
                Failure::usage(error).hint("drop it, or make a session with --shared-key-id")
            );
        }
        (Some(id), None) => {
            let error = "this session names a key that both senders have: --shared-key is needed";
            return Err(Failure::usage(error).hint(format!(
                "give the file that `reshare keygen shared` wrote with the id {id}"
            )));
        }
        (Some(id), Some(path)) => (id, path),
    };
    let key = SharedKey::load(path).map_err(|error| Failure::of_file(error, "--shared-key"))?;
    match key.id() == id {
        true => Ok(Some(key)),
        false => {
            let (path, got) = (path.display(), key.id());
            let error = format!("{path} has the id {got}, and the session's key has {id}");
            Err(Failure::refused(error).hint(
                "each session has keys of its own: one sender makes this one, and the other one gets \
                 it by hand",
            ))
        }
    }
}

/// The secret that this sender has encapsulated when it approved the session.
fn kept(
    session: &Session,
    sender: PartyId,
    state: &StateArgs,
) -> Result<EncapsulatedSecret, Failure> {
    let path = secret_path(session, sender, state)?;
    EncapsulatedSecret::load(&path, &session.fingerprint()).map_err(|error| {
        Failure::refused(error).hint(
            "`reshare session approve` makes it, and it is never made twice: if it is lost, agree on \
             a new session",
        )
    })
}

/// The secret that a sender encapsulates when it approves a session; an existing one is kept. `None`
/// where this party encapsulates nothing.
pub(crate) fn encapsulate(
    session: &Session,
    party: PartyId,
    state: &StateArgs,
) -> Result<Option<EncapsulatedSecret>, Failure> {
    let Some(key) = session.encapsulation_key().filter(|_| Approval::encapsulates(session, party))
    else {
        return Ok(None);
    };
    let path = secret_path(session, party, state)?;
    if path.exists() {
        return kept(session, party, state).map(Some);
    }
    let made = key.encapsulate().map_err(Failure::failed)?;
    if let Some(directory) = path.parent() {
        reshare_files::durable::create_directory(directory).map_err(Failure::failed)?;
    }
    match made.write(&path, &session.fingerprint()) {
        Ok(()) => Ok(Some(made)),
        Err(EncapsulationKeyError::Private(PrivateFileError::Exists { .. })) => {
            kept(session, party, state).map(Some)
        }
        Err(error) => Err(Failure::of(error)),
    }
}

/// In the directory of the ledger: who loses one loses both.
fn secret_path(session: &Session, sender: PartyId, state: &StateArgs) -> Result<PathBuf, Failure> {
    let directory = state.directory()?.join(session.fingerprint().to_string());
    Ok(directory.join(format!("secret-{sender}")))
}

/// The sender of a session whose key this is.
pub(crate) fn sender_of_key(
    source: &AgreementKeySource,
    session: &Session,
) -> Result<PartyId, Failure> {
    let key = public_key(source)?;
    match session.sender_with_key(&key) {
        Some(sender) => Ok(sender.party),
        None => Err(Failure::refused(format!("{source} is not a key of this session"))
            .hint("each session has keys of its own: name the one that it was made with")),
    }
}

/// The public half of an agreement key on P-256.
#[cfg(feature = "kms")]
pub(crate) fn public_key(source: &AgreementKeySource) -> Result<AgreementPublicKey, Failure> {
    block_on(async { Ok(*SenderKey::open(source).await.map_err(key_failure)?.public_key()) })
}

/// The public half of an agreement key on P-256.
#[cfg(not(feature = "kms"))]
pub(crate) fn public_key(source: &AgreementKeySource) -> Result<AgreementPublicKey, Failure> {
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

/// Agrees with the other sender on P-256; the keys that other files hold are added later.
#[cfg(feature = "kms")]
fn agree_with(
    own: &AgreementKeySource,
    other: Option<&KmsKeyId>,
    session: &Session,
) -> Result<OwnKey, Failure> {
    block_on(async {
        let key = SenderKey::open(own).await.map_err(key_failure)?;
        let named = match other {
            Some(id) => Some(KmsKey::open(id).await.map_err(Failure::from)?),
            None => None,
        };
        let public = *key.public_key();
        let [own, other] = SenderKeys::owner_first(session, &public).map_err(Failure::refused)?;
        let ecdh = key.shared_secret(other, named.as_ref()).await.map_err(agree_failure)?;
        let decapsulation = match key {
            SenderKey::File(key) => key.into_decapsulation_key(),
            _ => None,
        };
        Ok(OwnKey { sender: own.party, public, ecdh, decapsulation, shared_key: None })
    })
}

/// Agrees with the other sender on P-256; the keys that other files hold are added later.
#[cfg(not(feature = "kms"))]
fn agree_with(
    own: &AgreementKeySource,
    other: Option<&KmsKeyId>,
    session: &Session,
) -> Result<OwnKey, Failure> {
    let (AgreementKeySource::File(path), None) = (own, other) else {
        return Err(without_kms());
    };
    let key =
        AgreementKey::load(path).map_err(|error| Failure::of_file(error, "--agreement-key"))?;
    let public = *key.public_key();
    let [own, other] = SenderKeys::owner_first(session, &public).map_err(Failure::refused)?;
    let ecdh = key.shared_secret(&other.agreement_key).map_err(Failure::refused)?;
    let decapsulation = key.into_decapsulation_key();
    Ok(OwnKey { sender: own.party, public, ecdh, decapsulation, shared_key: None })
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
