//! What to do about a certificate, its key or an authority that is not accepted.

use reshare_exchange::IdentityError;
use reshare_format::keys::certificate::CertificateError;
use reshare_format::session::TrustError;

use crate::failure::Failure;

/// What to do about a party's own certificate.
pub(crate) fn certificate_hint(error: &CertificateError) -> &'static str {
    match error {
        CertificateError::File { source, .. } => certificate_hint(source),
        CertificateError::Unreadable(_) | CertificateError::KeyPem { .. } => {
            "see `reshare pki issue`: a PEM chain, and its key of mode 0600"
        }
        CertificateError::KeyFile(_) => {
            "the key is for this party alone: a PEM file of mode 0600 that no other user can read"
        }
        CertificateError::KeyMismatch { .. } => {
            "give --certificate and --certificate-key of one pair"
        }
        CertificateError::Expired { .. } => "have it issued again, with the same name",
        CertificateError::NotYetValid { .. } => "check this machine's clock",
        CertificateError::OtherName { .. } | CertificateError::NotOneParty { .. } => OTHER_NAME,
        CertificateError::OtherAuthority { .. } => OTHER_AUTHORITY,
        CertificateError::UriConstraint { .. } => {
            "give the parties DNS names, or take an authority without constraints on URI names: `reshare pki ca` makes \
             one"
        }
        CertificateError::Chain(error) if error.to_string().contains("NameConstraint") => {
            "the authority, or one between it and the certificate, constrains names: an authority without constraints on URI \
             names has to issue it"
        }
        CertificateError::OtherIssuer(_) => "the session's authority must issue it",
        CertificateError::NoDigitalSignature => "have it issued with key usage digitalSignature",
        CertificateError::ExtendedKeyUsage(_) => {
            "have it issued for clientAuth (senders) or serverAuth (the receiver)"
        }
        _ => "have it issued again by the session's authority",
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let hint = identity_hint(&error);
        let flags = "--certificate, --certificate-key and --ca-file";
        Self::of_file(error, flags).hint_if(hint)
    }
}

/// What to do about a party that cannot authenticate.
pub(super) fn identity_hint(error: &IdentityError) -> Option<&'static str> {
    Some(match error {
        IdentityError::NoNames => "make a session with --certificate-name",
        IdentityError::OtherName { .. } => OTHER_NAME,
        IdentityError::Certificate(error) => certificate_hint(error),
        IdentityError::Trust(TrustError::Authority(_)) => OTHER_AUTHORITY,
        _ => return None,
    })
}

const OTHER_NAME: &str =
    "give this party's certificate: one name must equal the session's, see `session show`";
const OTHER_AUTHORITY: &str =
    "give the certificate of the authority that the session was made with";
