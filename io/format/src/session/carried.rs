//! Certificates that travel with a session file, so that one file is all that a party gets.

use super::{Session, SessionError};
use crate::keys::certificate::{CertificateChain, CertificateError, TrustAnchor};

/// The certificates of the authority and of the parties. They are no agreed facts: the session's
/// names and the authority's digest say which ones are right.
#[derive(Clone, PartialEq, Eq)]
pub struct CarriedCertificates {
    /// The authority's.
    pub authority: TrustAnchor,
    /// The parties', each for its owner.
    pub parties: Vec<CertificateChain>,
}

/// The most certificates of parties that a session carries.
const MAX_PARTIES: usize = 3;

impl CarriedCertificates {
    /// Reads both parts of a session file, which come together.
    pub(super) fn parse(
        authority: Option<&str>,
        parties: &[String],
        ca_sha256: Option<&[u8; 32]>,
    ) -> Result<Option<Self>, SessionError> {
        let at = |key: &'static str| move |source| SessionError::Carried { key, source };
        let Some(authority) = authority else {
            return match parties.is_empty() {
                true => Ok(None),
                false => Err(at("transport.authority")(CertificateError::NoCertificate)),
            };
        };
        let key = "transport.authority";
        let authority = TrustAnchor::from_pem(authority.as_bytes()).map_err(at(key))?;
        authority.check_sha256(ca_sha256.unwrap_or(&[0; 32])).map_err(at(key))?;
        let key = "transport.certificates";
        if parties.len() > MAX_PARTIES {
            let max_certificates = MAX_PARTIES;
            return Err(at(key)(CertificateError::TooLong { max_certificates }));
        }
        let chains = parties.iter().map(|text| CertificateChain::from_pem(text.as_bytes()));
        let parties = chains.collect::<Result<_, _>>().map_err(at(key))?;
        Ok(Some(Self { authority, parties }))
    }
}

impl Session {
    /// The same session, with certificates that travel with its file.
    #[must_use]
    pub fn carrying(self, certificates: CarriedCertificates) -> Self {
        Self { carried: Some(certificates), ..self }
    }

    /// The certificates that have come with its file. Not agreed facts, so not covered by the
    /// fingerprint: what is taken from here must be verified.
    #[must_use]
    pub fn carried(&self) -> Option<&CarriedCertificates> {
        self.carried.as_ref()
    }
}
