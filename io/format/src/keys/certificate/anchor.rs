//! The one certificate authority that a session trusts.

use std::fmt;
use std::path::Path;

use aws_lc_rs::digest;
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

use super::CertificateError;
use super::chain::{read_file, read_pem};
use super::extensions::{check_time, constrains_uris, is_authority, parse};
use super::name::CertificateName;
use crate::keys::pem;

/// The certificate of an authority. All other certificates are verified against it.
#[derive(Clone, PartialEq, Eq)]
pub struct TrustAnchor {
    certificate: CertificateDer<'static>,
    sha256: [u8; 32],
}

impl TrustAnchor {
    /// Reads the one certificate of a PEM file; its SHA-256 must be the expected one, if any.
    ///
    /// # Errors
    /// [`CertificateError::OtherAuthority`] for another certificate; another [`CertificateError`]
    /// when the file holds no certificate of an authority.
    pub fn load(ca_file: &Path, expected: Option<&[u8; 32]>) -> Result<Self, CertificateError> {
        let text = read_file(ca_file)?;
        let anchor = Self::from_pem(&text).map_err(|error| error.in_file(ca_file))?;
        if let Some(sha256) = expected {
            anchor.check_sha256(sha256).map_err(|error| error.in_file(ca_file))?;
        }
        Ok(anchor)
    }

    /// Reads the one certificate of a PEM text.
    ///
    /// # Errors
    /// [`CertificateError`] unless it holds exactly one certificate, of an authority.
    pub fn from_pem(text: &[u8]) -> Result<Self, CertificateError> {
        let certificates = read_pem(text)?;
        let count = certificates.len();
        let [certificate] = certificates.try_into().map_err(|_: Vec<_>| {
            if count == 0 {
                CertificateError::NoCertificate
            } else {
                CertificateError::NotOne { count }
            }
        })?;
        if !is_authority(&parse(&certificate)?)? {
            return Err(CertificateError::NotAnAuthority);
        }
        let hash = digest::digest(&digest::SHA256, &certificate);
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(hash.as_ref());
        Ok(Self { certificate, sha256 })
    }

    /// Checks that this is the authority of a session.
    ///
    /// # Errors
    /// [`CertificateError::OtherAuthority`].
    pub fn check_sha256(&self, expected: &[u8; 32]) -> Result<(), CertificateError> {
        if self.sha256 == *expected {
            return Ok(());
        }
        let (expected, got) = (hex::encode(expected), hex::encode(self.sha256));
        Err(CertificateError::OtherAuthority { expected, got })
    }

    /// The SHA-256 of the certificate in DER, as a session holds it.
    #[must_use]
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }

    /// The certificate in PEM.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(super::chain::LABEL, &self.certificate).to_string()
    }

    /// The certificate in DER.
    #[must_use]
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// Checks that certificates with these names can be verified by this authority.
    ///
    /// The verifier of certificates evaluates no constraint on URI names: it refuses each
    /// certificate that has one.
    ///
    /// # Errors
    /// [`CertificateError::UriConstraint`] when the authority has such a constraint and a name is a
    /// URI.
    pub fn check_names<'a>(
        &self,
        mut names: impl Iterator<Item = &'a CertificateName>,
    ) -> Result<(), CertificateError> {
        let uri = names.find(|name| matches!(name, CertificateName::Uri(_)));
        match uri {
            Some(name) if constrains_uris(&parse(&self.certificate)?)? => {
                Err(CertificateError::UriConstraint { name: name.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Checks that the authority itself is valid at a moment.
    ///
    /// # Errors
    /// [`CertificateError::Expired`] and [`CertificateError::NotYetValid`].
    pub fn check_time(&self, at: OffsetDateTime) -> Result<(), CertificateError> {
        check_time(&parse(&self.certificate)?, at)
    }
}

impl fmt::Debug for TrustAnchor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TrustAnchor").field(&hex::encode(self.sha256)).finish()
    }
}
