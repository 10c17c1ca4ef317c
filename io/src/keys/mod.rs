//! Agreement keys of the senders, age identity of the receiver, certificates of all.
//!
//! Private keys lie in AWS KMS, or in files of their own that only the owner can read; they
//! never enter a session, an error or a log.

pub mod certificate;
pub mod pki;

mod agreement;
mod kms;
mod name_error;
mod pem;
mod permissions;
mod public_key;
mod recipient;
mod sender_key;

pub use age::x25519::Identity;

pub use agreement::{AgreementKey, AgreementKeyError};
pub use kms::{KmsAction, KmsError, KmsKey, KmsKeyId, KmsKeyIdError};
pub use name_error::NameError;
pub use pem::PemError;
pub use permissions::{PrivateFileError, read_private, write_private};
pub use public_key::{AgreementPublicKey, PublicKeyError};
pub use recipient::{
    IdentityError, RecipientError, generate_identity, load_identity, parse_recipient,
};
pub use sender_key::{AgreementKeySource, SenderKey, SourceError};
