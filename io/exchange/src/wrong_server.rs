//! Why a server is not taken for the session's receiver, for people.

use std::sync::Arc;

use reshare_format::keys::certificate::CertificateName;
use rustls::pki_types::CertificateDer;
use rustls::{CertificateError, OtherError};

use super::logging::Shown;
use super::names::names_of;

/// A certificate of the session's authority that is another party's.
#[derive(Debug, thiserror::Error)]
#[error("the session calls it {expected}, its certificate has: {found}")]
struct OtherName {
    expected: CertificateName,
    found: String,
}

/// The certificate names somebody else than the receiver.
pub(super) fn other_name(
    expected: &CertificateName,
    certificate: &CertificateDer<'_>,
) -> CertificateError {
    let found = Shown(&names_of(certificate)).to_string();
    CertificateError::Other(OtherError(Arc::new(OtherName { expected: expected.clone(), found })))
}

/// Says what is wrong with a server's certificate.
pub(super) fn why(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::Other(OtherError(other)) => return other.to_string(),
        E::Expired | E::ExpiredContext { .. } => "its certificate has expired",
        E::NotValidYet | E::NotValidYetContext { .. } => "its certificate is not valid yet",
        E::UnknownIssuer => "another authority than the session's made its certificate",
        // An authority that only has the name of the session's.
        E::BadSignature => "the session's authority did not sign its certificate",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "its certificate is not for servers (extended key usage serverAuth)"
        }
        other => return format!("its certificate is not accepted ({other:?})"),
    }
    .to_owned()
}
