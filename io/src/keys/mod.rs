//! Agreement keys of the senders, age identity of the receiver, certificates of all.
//!
//! Private keys lie in files of their own that only the owner can read; they never enter a
//! session, an error or a log.

pub mod certificate;

mod agreement;
mod pem;
mod permissions;
mod public_key;
mod recipient;

pub use agreement::{AgreementKey, AgreementKeyError, AgreementKeySource, SourceError};
pub use pem::PemError;
pub use permissions::{PrivateFileError, read_private, write_private};
pub use public_key::{AgreementPublicKey, PublicKeyError};
pub use recipient::{
    IdentityError, RecipientError, generate_identity, load_identity, parse_recipient,
};
