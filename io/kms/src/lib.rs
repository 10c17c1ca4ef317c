//! Agreement keys in AWS KMS: the private half never leaves it.
//!
//! KMS agrees with the other sender's public key (`DeriveSharedSecret`) and answers with the
//! same 32 bytes that a key in a file comes to, so one sender may use KMS and the other a
//! file. Credentials, endpoint and retries are those of the AWS environment
//! (`AWS_PROFILE`, `AWS_ENDPOINT_URL`, `AWS_MAX_ATTEMPTS` ...).

mod client;
mod error;
mod key;
mod sender_key;

pub use error::{KmsAction, KmsError};
pub use key::KmsKey;
pub use sender_key::{SenderKey, SenderKeyError};
