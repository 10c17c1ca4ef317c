//! Certificates of the parties: the chain, its key, the authority that issued it, and
//! what is signed with it.
//!
//! A certificate is verified against one authority, one exact name, one moment and one
//! purpose at a time. `docs/format.md` says which algorithm signs, and how to check a signature
//! with other programs.

mod anchor;
mod chain;
mod error;
mod extensions;
mod name;
mod party;
mod request;
mod verify;

pub use anchor::TrustAnchor;
pub use chain::CertificateChain;
pub use error::CertificateError;
pub use extensions::{matches_name, names_in, not_after};
pub use name::CertificateName;
pub use party::PartyCertificate;
pub use request::{CertificateRequest, RequestError};
pub(crate) use request::{alternative_name, common_name};
pub use verify::{Purpose, SignatureContext, verify, verify_signature};
