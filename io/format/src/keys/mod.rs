//! The senders' agreement keys, the receiver's age identity, the certificates of all parties.
//!
//! A private key is in AWS KMS, or in a file of its own that only its owner can read. It never
//! appears in a session, an error or a log.

pub mod certificate;
pub mod pki;

mod agreement;
mod agreement_source;
mod encapsulation;
mod hybrid_kem;
mod hybrid_recipient;
mod identity;
mod kms_key_id;
mod ml_kem;
mod name_error;
mod pem;
mod permissions;
mod public_key;
mod recipient;
mod shared_key;

pub use agreement::{AgreementKey, AgreementKeyError};
pub use agreement_source::{AgreementKeySource, SourceError};
pub use encapsulation::{
    Ciphertext, DecapsulationKey, EncapsulatedSecret, EncapsulationKey, EncapsulationKeyError,
};
pub use hybrid_recipient::{HybridIdentity, HybridRecipient};
pub use identity::{Identity, IdentityError, generate_identity, load_identity};
pub use kms_key_id::{KmsKeyId, KmsKeyIdError};
pub use name_error::NameError;
pub use pem::PemError;
pub use permissions::{PrivateFileError, read_private, write_private};
pub use public_key::{AgreementPublicKey, AgreementPublicKeys, PublicKeyError};
pub use recipient::{Recipient, RecipientError, SealKind, parse_recipient};
pub use shared_key::{SharedKey, SharedKeyError, SharedKeyId, SharedKeyIdError};
