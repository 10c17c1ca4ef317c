//! A request for a certificate: PKCS#10 (RFC 2986), signed with the key that the certificate is
//! for.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ED25519, UnparsedPublicKey,
    VerificationAlgorithm,
};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKey, PublicKeyData,
    SanType,
};

use super::name::CertificateName;

/// A request whose signature was verified, and that asks for one name.
pub struct CertificateRequest {
    pem: String,
    name: CertificateName,
    key: PublicKey,
}

impl CertificateRequest {
    /// The largest text of a request, in bytes: one with a key of RSA has some 2,000.
    pub const MAX_BYTES: u64 = 16 << 10;

    /// Asks for a certificate with a name, for a key.
    ///
    /// # Errors
    /// [`RequestError::Library`].
    pub(crate) fn new(name: &CertificateName, key: &KeyPair) -> Result<Self, RequestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, common_name(name));
        params.subject_alt_names = vec![alternative_name(name)?];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        Self::from_pem(&params.serialize_request(key)?.pem()?)
    }

    /// Reads a request in PEM and verifies its signature.
    ///
    /// # Errors
    /// A [`RequestError`] when the text is no request, when it is not signed by its own key, when
    /// it asks for another number of alternative names than one, or for a name that is no party's.
    pub fn from_pem(text: &str) -> Result<Self, RequestError> {
        let CertificateSigningRequestParams { params, public_key, .. } =
            CertificateSigningRequestParams::from_pem(text.trim()).map_err(
                |error| match error {
                    rcgen::Error::InvalidCertificationRequestSignature => RequestError::Signature,
                    error => RequestError::Malformed(error),
                },
            )?;
        let name = match params.subject_alt_names.as_slice() {
            [SanType::URI(name)] => name.as_str().to_owned(),
            [SanType::DnsName(name)] => name.as_str().to_owned(),
            [_] => return Err(RequestError::NameKind),
            names => return Err(RequestError::Names { count: names.len() }),
        };
        let name = name.parse().map_err(RequestError::Name)?;
        Ok(Self { pem: format!("{}\n", text.trim()), name, key: public_key })
    }

    /// The one alternative name that it asks for.
    #[must_use]
    pub fn name(&self) -> &CertificateName {
        &self.name
    }

    /// The request in PEM.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// The key that the certificate is for.
    pub(crate) fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Checks that a message was signed with the key of this request.
    ///
    /// # Errors
    /// [`RequestError::KeyKind`] for a key that signs no such message, or
    /// [`RequestError::Message`].
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), RequestError> {
        let kinds: [(_, &dyn VerificationAlgorithm); 3] = [
            (&PKCS_ECDSA_P256_SHA256, &ECDSA_P256_SHA256_ASN1),
            (&PKCS_ECDSA_P384_SHA384, &ECDSA_P384_SHA384_ASN1),
            (&PKCS_ED25519, &ED25519),
        ];
        let kind = kinds.into_iter().find(|(kind, _)| *kind == self.key.algorithm());
        let (_, algorithm) = kind.ok_or(RequestError::KeyKind)?;
        let key = UnparsedPublicKey::new(algorithm, self.key.der_bytes());
        key.verify(message, signature).map_err(|_| RequestError::Message)
    }
}

impl fmt::Debug for CertificateRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateRequest").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The name as a certificate's alternative name.
pub(crate) fn alternative_name(name: &CertificateName) -> Result<SanType, rcgen::Error> {
    Ok(match name {
        CertificateName::Uri(uri) => SanType::URI(uri.as_str().try_into()?),
        CertificateName::Dns(dns) => SanType::DnsName(dns.as_str().try_into()?),
    })
}

/// A common name has at most 64 characters. Nothing reads it.
pub(crate) fn common_name(name: &CertificateName) -> String {
    name.as_str().chars().take(64).collect()
}

/// Why something is no request for a certificate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// It cannot be read.
    #[error("it is no certificate request (PKCS#10, PEM)")]
    Malformed(#[source] rcgen::Error),
    /// Who made it does not have the key.
    #[error("the request is not signed with its own key: it was changed")]
    Signature,
    /// A party has one name.
    #[error("the request asks for {count} alternative names: exactly one is expected")]
    Names {
        /// How many there are.
        count: usize,
    },
    /// A party's name is a URI or a DNS name.
    #[error("the request's alternative name is neither a URI nor a DNS name")]
    NameKind,
    /// As [`Self::NameKind`].
    #[error("the request's alternative name is not usable")]
    Name(#[source] crate::keys::NameError),
    /// Its key signs nothing but certificates here.
    #[error("the request's key is neither on P-256 nor on P-384 nor Ed25519")]
    KeyKind,
    /// A message was signed by somebody else, or changed.
    #[error("it is not signed with the key of its certificate request: it was changed")]
    Message,
    /// The library cannot make one.
    #[error("a certificate request cannot be made")]
    Library(#[from] rcgen::Error),
}
