//! Verifies one certificate for one authority, one name, one moment and one purpose.

use std::fmt;
use std::time::Duration;

use rustls::pki_types::{SignatureVerificationAlgorithm, UnixTime};
use time::OffsetDateTime;
use webpki::aws_lc_rs as algorithms;
use webpki::{EndEntityCert, ExtendedKeyUsageValidator, KeyPurposeIdIter, KeyUsage, VerifiedPath};

use super::extensions::may_sign;
use super::name::CertificateName;
use super::{CertificateChain, CertificateError, TrustAnchor, matches_name};

/// What a certificate is used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Signing: the key usage must name digitalSignature.
    Signature,
    /// Opening a TLS connection: the extended key usage, where there is one, must name clientAuth.
    TlsClient,
    /// Answering a TLS connection: likewise serverAuth.
    TlsServer,
}

/// What a signature is for. Signed bytes begin with it, so a signature never counts for anything
/// else, nor for a TLS handshake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignatureContext {
    /// The manifest of a package.
    Manifest,
    /// The record of one part.
    Part,
    /// A party's approval of a session.
    Approval,
    /// The receiver's statement that it loaded what was delivered.
    Receipt,
}

impl SignatureContext {
    /// The bytes before the message.
    #[must_use]
    pub const fn prefix(self) -> &'static [u8] {
        match self {
            Self::Manifest => b"reshare/v1/manifest\0",
            Self::Part => b"reshare/v1/part\0",
            Self::Approval => b"reshare/v1/approval\0",
            Self::Receipt => b"reshare/v1/receipt\0",
        }
    }

    /// What signing it is called.
    pub(crate) const fn deed(self) -> &'static str {
        match self {
            Self::Manifest => "sign a manifest",
            Self::Part => "sign a part record",
            Self::Approval => "approve the session",
            Self::Receipt => "sign a receipt",
        }
    }

    pub(super) fn signed_bytes(self, message: &[u8]) -> Vec<u8> {
        [self.prefix(), message].concat()
    }
}

impl fmt::Display for SignatureContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Manifest => "manifest",
            Self::Part => "part record",
            Self::Approval => "approval",
            Self::Receipt => "receipt",
        })
    }
}

/// Verifies that an authority vouches for a certificate with a name, for a purpose, at a
/// moment.
///
/// # Errors
/// A [`CertificateError`] that says which of these fails.
///
/// # Source
/// RFC 5280 section 6, as rustls-webpki does it.
pub fn verify(
    chain: &CertificateChain,
    anchor: &TrustAnchor,
    name: &CertificateName,
    at: OffsetDateTime,
    purpose: Purpose,
) -> Result<(), CertificateError> {
    anchor.check_time(at)?;
    let end_entity = EndEntityCert::try_from(chain.leaf()).map_err(CertificateError::Chain)?;
    let anchors =
        [webpki::anchor_from_trusted_cert(anchor.certificate())
            .map_err(CertificateError::Chain)?];
    let path = end_entity
        .verify_for_usage(
            CHAIN_ALGORITHMS,
            &anchors,
            chain.intermediates(),
            unix_time(at),
            purpose,
            None,
            None,
        )
        .map_err(|error| chain_error(error, at))?;
    if purpose == Purpose::Signature {
        check_all_needed(chain, &path)?;
        if !may_sign(chain.leaf())? {
            return Err(CertificateError::NoDigitalSignature);
        }
    }
    matches_name(chain.leaf(), name)
}

/// Verifies a signature and the certificate that made it.
///
/// # Errors
/// As [`verify`] for [`Purpose::Signature`], and [`CertificateError::Signature`].
pub fn verify_signature(
    chain: &CertificateChain,
    anchor: &TrustAnchor,
    name: &CertificateName,
    at: OffsetDateTime,
    context: SignatureContext,
    message: &[u8],
    signature: &[u8],
) -> Result<(), CertificateError> {
    verify(chain, anchor, name, at, Purpose::Signature)?;
    let end_entity = EndEntityCert::try_from(chain.leaf()).map_err(CertificateError::Chain)?;
    let signed = context.signed_bytes(message);
    let mut result = Err(webpki::Error::UnknownIssuer);
    for algorithm in SIGNATURE_ALGORITHMS {
        result = end_entity.verify_signature(algorithm, &signed, signature);
        // The key decides the algorithm: only one of the four can fit it.
        if !matches!(
            result,
            Err(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_))
        ) {
            break;
        }
    }
    result.map_err(CertificateError::Signature)
}

/// The one algorithm for each kind of key: docs/format.md, "Signatures".
const SIGNATURE_ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 4] = [
    algorithms::ECDSA_P256_SHA256,
    algorithms::ECDSA_P384_SHA384,
    algorithms::ED25519,
    algorithms::RSA_PKCS1_2048_8192_SHA256,
];

/// The algorithms with which authorities may sign certificates.
static CHAIN_ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = webpki::ALL_VERIFICATION_ALGS;

impl ExtendedKeyUsageValidator for Purpose {
    fn validate(&self, usages: KeyPurposeIdIter<'_, '_>) -> Result<(), webpki::Error> {
        match self {
            Self::Signature => Ok(()),
            Self::TlsClient => KeyUsage::client_auth().validate(usages),
            Self::TlsServer => KeyUsage::server_auth().validate(usages),
        }
    }
}

/// A certificate that nothing verifies could be changed unnoticed.
fn check_all_needed(
    chain: &CertificateChain,
    path: &VerifiedPath<'_>,
) -> Result<(), CertificateError> {
    let needed = path.intermediate_certificates().count();
    match chain.intermediates().len().saturating_sub(needed) {
        0 => Ok(()),
        extra => Err(CertificateError::Superfluous { extra }),
    }
}

fn chain_error(error: webpki::Error, at: OffsetDateTime) -> CertificateError {
    use webpki::Error as E;
    match error {
        E::CertExpired { not_after, .. } => {
            CertificateError::Expired { not_after: moment(not_after), at }
        }
        E::CertNotValidYet { not_before, .. } => {
            CertificateError::NotYetValid { not_before: moment(not_before), at }
        }
        E::UnknownIssuer | E::InvalidSignatureForPublicKey => CertificateError::OtherIssuer(error),
        E::RequiredEkuNotFoundContext(_) => CertificateError::ExtendedKeyUsage(error),
        _ => CertificateError::Chain(error),
    }
}

/// Moments before 1970 count as 1970, when none of our certificates was valid.
fn unix_time(at: OffsetDateTime) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(at.unix_timestamp().max(0).unsigned_abs()))
}

fn moment(time: UnixTime) -> OffsetDateTime {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
