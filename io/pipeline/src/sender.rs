//! This sender's identity, and the keys that only the two senders have.

use std::fmt;
use std::time::Duration;

use reshare_engine::agreed_secrets::{AgreedSecrets, Encapsulated};
use reshare_engine::blind::Blinder;
use reshare_engine::key_schedule::{KeyCheck, KeySchedule, SharedSecret};
use reshare_engine::party::PartyId;
use reshare_engine::shamir::WeightError;
use reshare_files::memory::Locked;
use reshare_format::keys::certificate::{CertificateError, PartyCertificate, Purpose};
use reshare_format::keys::{
    AgreementKey, AgreementKeyError, AgreementPublicKey, EncapsulatedSecret, EncapsulationKey,
    SharedKey, SharedKeyId,
};
use reshare_format::package::Compression;
use reshare_format::package::PackageExpectations;
use reshare_format::session::{Approvals, Sender, Session, SessionMismatch, SessionTrust};
use time::OffsetDateTime;

use super::error::PipelineError;
use crate::ledger::{Ledger, LedgerDefect, LedgerError};

/// One sender of one session, with its blinding keys.
///
/// # Secrecy
/// Holds the blinding key; `Debug` prints only the parties.
pub struct SenderKeys {
    sender: PartyId,
    other: PartyId,
    key_check: KeyCheck,
    blinder: Locked<Blinder>,
    credentials: Option<SenderCredentials>,
}

/// What the two senders have agreed on besides ECDH, as far as the session asks for it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Agreed<'a> {
    /// The secret that the higher sender has encapsulated.
    pub encapsulated: Option<&'a EncapsulatedSecret>,
    /// The key that both have in a file.
    pub shared_key: Option<&'a SharedKey>,
}

/// What a sender of a session with certificates needs in addition to its keys.
#[derive(Debug, Clone)]
pub struct SenderCredentials {
    /// The authority and the names of the session.
    pub trust: SessionTrust,
    /// This sender's certificate, which signs the manifest.
    pub certificate: PartyCertificate,
    /// Proof that the receiver and the other sender approved the session.
    pub approvals: Approvals,
}

impl SenderKeys {
    /// Finds out which sender owns `key`, and derives the keys of the session with the other
    /// sender's and what else the session asks for.
    ///
    /// # Errors
    /// As [`SenderKeys::from_secret`].
    pub fn agree(
        session: &Session,
        key: &AgreementKey,
        more: Agreed<'_>,
    ) -> Result<Self, SenderKeysError> {
        let [_, other] = Self::owner_first(session, key.public_key())?;
        let secret = key.shared_secret(&other.agreement_key)?;
        Self::from_secret(session, key.public_key(), &secret, more)
    }

    /// Derives the session's keys from an ECDH secret that was derived elsewhere, such as in a KMS,
    /// and what else the session asks for.
    ///
    /// `own` is this sender's public key; `secret` is shared with the sender that
    /// [`SenderKeys::owner_first`] names second.
    ///
    /// # Errors
    /// [`SenderKeysError::NotASender`] when the key is neither sender's;
    /// [`SenderKeysError::Encapsulated`] and [`SenderKeysError::SharedKey`] when something is
    /// missing that the session asks for, or is there and it does not.
    pub fn from_secret(
        session: &Session,
        own: &AgreementPublicKey,
        secret: &SharedSecret,
        more: Agreed<'_>,
    ) -> Result<Self, SenderKeysError> {
        let [me, other] = Self::owner_first(session, own)?;
        let public_key = session.encapsulation_key().map(EncapsulationKey::to_der);
        let encapsulated = match (&public_key, more.encapsulated) {
            (None, None) => None,
            (Some(public_key), Some(EncapsulatedSecret { ciphertext, secret })) => {
                Some(Encapsulated { secret, public_key, ciphertext: ciphertext.bytes() })
            }
            (key, _) => return Err(SenderKeysError::Encapsulated { expected: key.is_some() }),
        };
        let (expected, got) = (session.shared_key_id(), more.shared_key.map(SharedKey::id));
        if expected != got {
            return Err(SenderKeysError::SharedKey { expected, got });
        }
        let agreed = AgreedSecrets {
            ecdh: secret,
            agreement_keys: session.senders().map(|sender| &sender.agreement_key.as_der()[..]),
            encapsulated,
            shared_key: more.shared_key.map(SharedKey::secret),
        };
        Self::derive(session, [me, other], &agreed.combine(&session.fingerprint()))
    }

    /// The owner of `own`, and the sender with which it shares a secret.
    ///
    /// # Errors
    /// [`SenderKeysError::NotASender`] when the key is neither sender's.
    pub fn owner_first<'a>(
        session: &'a Session,
        own: &AgreementPublicKey,
    ) -> Result<[&'a Sender; 2], SenderKeysError> {
        let owner = session.sender_with_key(own);
        let both = owner.and_then(|owner| Some([owner, session.other_sender(owner.party)?]));
        both.ok_or_else(|| {
            let [lower, higher] = session.senders().map(|sender| sender.party);
            SenderKeysError::NotASender { lower, higher }
        })
    }

    fn derive(
        session: &Session,
        [me, other]: [&Sender; 2],
        secret: &SharedSecret,
    ) -> Result<Self, SenderKeysError> {
        let fingerprint = session.fingerprint();
        let schedule = KeySchedule::derive(secret, session.id().as_str(), &fingerprint);
        let receiver = session.receiver().party;
        let blinder = Blinder::new(&schedule, &fingerprint, me.party, other.party, receiver)?;
        let key_check = schedule.key_check();
        let (sender, other) = (me.party, other.party);
        let blinder = Locked::new(blinder);
        Ok(Self { sender, other, key_check, blinder, credentials: None })
    }

    /// Adds what a session with certificates requires of a sender before it blinds anything.
    ///
    /// # Errors
    /// [`SenderKeysError::OtherCredentials`] when they are of another session or sender;
    /// [`SenderKeysError::Certificate`] when the certificate is not this sender's, or may not
    /// sign now.
    pub fn with_credentials(
        mut self,
        session: &Session,
        credentials: SenderCredentials,
        now: OffsetDateTime,
    ) -> Result<Self, SenderKeysError> {
        let SenderCredentials { trust, certificate, approvals } = &credentials;
        let fingerprint = session.fingerprint();
        let fits = approvals.fingerprint() == fingerprint
            && trust.fingerprint() == fingerprint
            && approvals.own() == self.sender;
        if !fits {
            return Err(SenderKeysError::OtherCredentials);
        }
        trust.verify(certificate.chain(), self.sender, now, Purpose::Signature)?;
        self.credentials = Some(credentials);
        Ok(self)
    }

    /// The certificate, the authority and the approvals, if the session uses certificates.
    #[must_use]
    pub fn credentials(&self) -> Option<&SenderCredentials> {
        self.credentials.as_ref()
    }

    /// This sender.
    #[must_use]
    pub fn sender(&self) -> PartyId {
        self.sender
    }

    /// The key check, which the receiver compares with the other sender's.
    #[must_use]
    pub fn key_check(&self) -> KeyCheck {
        self.key_check
    }

    /// What the session requires of this sender's package.
    ///
    /// # Errors
    /// [`PipelineError::NoCredentials`] when the session uses certificates and there are none.
    pub(crate) fn expectations(
        &self,
        session: &Session,
    ) -> Result<PackageExpectations, PipelineError> {
        if session.ca_sha256().is_some() && self.credentials.is_none() {
            return Err(PipelineError::NoCredentials);
        }
        let trust = self.credentials().map(|credentials| &credentials.trust);
        super::packages::expectations(session, self.sender, trust)
    }

    /// The blinder of this sender's shares.
    pub(crate) fn blinder(&self) -> &Blinder {
        &self.blinder
    }
}

/// A sender that may blind: its keys, and the ledger of what it has blinded.
#[derive(Debug)]
pub struct LedgeredSender {
    keys: SenderKeys,
    ledger: Ledger,
    compression: Compression,
    snapshot_max_age: Option<Duration>,
}

impl LedgeredSender {
    /// Combines a sender's keys and its ledger.
    ///
    /// # Errors
    /// A [`LedgerError`] when the ledger is another session's or sender's.
    pub fn new(session: &Session, keys: SenderKeys, ledger: Ledger) -> Result<Self, LedgerError> {
        let (sender, of) = (keys.sender(), ledger.sender());
        let same_session = SessionMismatch::check(session.fingerprint(), ledger.fingerprint());
        let defect = if let Err(mismatch) = same_session {
            LedgerDefect::OtherSession(mismatch)
        } else if sender != of {
            LedgerDefect::OtherSender { expected: sender, got: of }
        } else {
            let (compression, snapshot_max_age) = (Compression::Auto, None);
            return Ok(Self { keys, ledger, compression, snapshot_max_age });
        };
        Err(LedgerError { path: ledger.path().to_owned(), defect })
    }

    /// Sets how parts are compressed; the default is [`Compression::Auto`].
    #[must_use]
    pub fn compressing(self, compression: Compression) -> Self {
        Self { compression, ..self }
    }

    /// Reads rows in a series of snapshots instead of a single one. No part begins in a snapshot of
    /// this age.
    #[must_use]
    pub fn renewing_snapshots(self, max_age: Duration) -> Self {
        Self { snapshot_max_age: Some(max_age), ..self }
    }

    pub(crate) fn snapshot_max_age(&self) -> Option<Duration> {
        self.snapshot_max_age
    }

    pub(crate) fn compression(&self) -> Compression {
        self.compression
    }

    pub(crate) fn keys(&self) -> &SenderKeys {
        &self.keys
    }

    pub(crate) fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl fmt::Debug for SenderKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("SenderKeys");
        out.field("sender", &self.sender).field("other", &self.other).finish_non_exhaustive()
    }
}

fn shared_key_defect(expected: Option<SharedKeyId>, got: Option<SharedKeyId>) -> String {
    match (expected, got) {
        (Some(expected), None) => format!("the session's shared key {expected} is missing"),
        (Some(expected), Some(got)) => {
            format!("the shared key has id {got}, and the session's has {expected}")
        }
        (None, _) => "there is a shared key, and the session has none".to_owned(),
    }
}

/// Why there are no session keys for a sender.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SenderKeysError {
    /// The session names two other keys.
    #[error("the agreement key is neither that of sender {lower} nor that of sender {higher}")]
    NotASender {
        /// The sender with the lower party id.
        lower: PartyId,
        /// The sender with the higher party id.
        higher: PartyId,
    },
    /// The encapsulated secret is missing, or there is one without a key for it.
    #[error("{}", match expected {
        true => "the secret that the higher sender has encapsulated is missing",
        false => "there is an encapsulated secret, but the session has no key for it",
    })]
    Encapsulated {
        /// Whether the session asks for one.
        expected: bool,
    },
    /// The key in a file is another one than the session's, or one of the two is missing.
    #[error("{}", shared_key_defect(*expected, *got))]
    SharedKey {
        /// By the session.
        expected: Option<SharedKeyId>,
        /// The one in the file.
        got: Option<SharedKeyId>,
    },
    /// The two keys do not agree.
    #[error("the two senders' keys do not agree on a secret")]
    Agreement(#[from] AgreementKeyError),
    /// Approvals, or an authority, of another session or for another sender.
    #[error("the approvals or the authority are not those of this sender and session")]
    OtherCredentials,
    /// The certificate is not this sender's, or may not sign now.
    #[error("this sender's certificate is not accepted")]
    Certificate(#[from] CertificateError),
    /// The parties have no weights.
    #[error(transparent)]
    Weight(#[from] WeightError),
}
