//! Agreement keys in AWS KMS: the private half never leaves KMS.
//!
//! Each sender has an agreement key, and the two derive one secret from which all blinding keys
//! follow. A key in a file is read into this process (`reshare_format::keys`). A key in KMS stays
//! there: KMS takes the other sender's public key (`DeriveSharedSecret`) and returns the same 32
//! bytes that a key in a file would give. So one sender may use KMS and the other one a file.
//!
//! Credentials, endpoint and retries come from the AWS environment (`AWS_PROFILE`,
//! `AWS_ENDPOINT_URL`, `AWS_MAX_ATTEMPTS` ...).
//!
//! # Reading order
//! * `sender_key`: [`SenderKey`], a key in a file or in KMS behind one interface. Callers that only
//!   derive secrets need nothing else.
//! * `key`: [`KmsKey`], one key in KMS: found, created, used.
//! * `client`: region and time limits of a connection.
//! * `error`: [`KmsError`] keeps the facts of a failed request. It drops the answer, which may hold
//!   a secret.
//!
//! # What is absent
//! No key derivation: what follows from the secret is in `reshare_engine::key_schedule`. No setting
//! of AWS is stored, and no secret is logged. Nothing in KMS is changed, except that
//! [`KmsKey::create`] adds a key.
//!
//! # Example
//! A sender with a key in KMS derives the secret that it shares with the other sender:
//!
//! ```no_run
//! use std::path::Path;
//!
//! use reshare_engine::key_schedule::KeySchedule;
//! use reshare_engine::party::PartyId;
//! use reshare_format::keys::AgreementKeySource;
//! use reshare_format::session::Session;
//! use reshare_kms::SenderKey;
//!
//! # async fn derive() -> Result<(), Box<dyn std::error::Error>> {
//! let session = Session::load(Path::new("session.toml"))?;
//! let other = session.other_sender(PartyId::new(0)?).ok_or("party 0 is not a sender")?;
//!
//! // `file:PATH` works in the same way.
//! let source: AgreementKeySource =
//!     "kms:arn:aws:kms:eu-west-1:111122223333:alias/reshare".parse()?;
//! let key = SenderKey::open(&source).await?;
//! let secret = key.shared_secret(other, None).await?;
//! let keys = KeySchedule::derive(&secret, session.id().as_str(), &session.fingerprint());
//!
//! // The manifests of both senders must hold the same value.
//! println!("{}", keys.key_check());
//! # Ok(())
//! # }
//! ```

mod client;
mod error;
mod key;
mod sender_key;

pub use error::{KmsAction, KmsError};
pub use key::KmsKey;
pub use sender_key::{SenderKey, SenderKeyError};
