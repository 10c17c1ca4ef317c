//! Identifies the parties of a session by their certificates.

use std::path::Path;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::fault::Refusable;
use time::OffsetDateTime;

use super::Session;
use crate::keys::certificate::CertificateName;
use crate::keys::certificate::{
    self, CertificateChain, CertificateError, Purpose, SignatureContext, TrustAnchor, names_in,
};

/// The authority of a session, and the certificate name of each party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionTrust {
    anchor: TrustAnchor,
    names: [(PartyId, CertificateName); 3],
    fingerprint: Fingerprint,
    not_before: OffsetDateTime,
    not_after: OffsetDateTime,
}

impl SessionTrust {
    /// Takes the authority of a session with certificates.
    ///
    /// # Errors
    /// [`TrustError`] when the session has no certificates, or another authority.
    pub fn new(session: &Session, anchor: TrustAnchor) -> Result<Self, TrustError> {
        let sha256 = session.ca_sha256().ok_or(TrustError::NoCertificates)?;
        anchor.check_sha256(sha256)?;
        let [lower, higher] = session.senders();
        let receiver = session.receiver();
        let name = |party, name: &Option<CertificateName>| {
            Ok::<_, TrustError>((party, name.clone().ok_or(TrustError::NoCertificates)?))
        };
        Ok(Self {
            anchor,
            names: [
                name(lower.party, &lower.certificate_name)?,
                name(higher.party, &higher.certificate_name)?,
                name(receiver.party, &receiver.certificate_name)?,
            ],
            fingerprint: session.fingerprint(),
            not_before: session.not_before(),
            not_after: session.not_after(),
        })
    }

    /// Reads the authority's certificate, which must be the session's.
    ///
    /// # Errors
    /// As [`Self::new`], and when the file cannot be read or holds no certificate of an authority.
    pub fn load(session: &Session, ca_file: &Path) -> Result<Self, TrustError> {
        let sha256 = session.ca_sha256().ok_or(TrustError::NoCertificates)?;
        Self::new(session, TrustAnchor::load(ca_file, Some(sha256))?)
    }

    /// The authority.
    #[must_use]
    pub fn anchor(&self) -> &TrustAnchor {
        &self.anchor
    }

    /// The fingerprint of the session.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// When the session is valid, both ends included.
    #[must_use]
    pub fn period(&self) -> (OffsetDateTime, OffsetDateTime) {
        (self.not_before, self.not_after)
    }

    /// The name of a party of the session.
    #[must_use]
    pub fn name_of(&self, party: PartyId) -> Option<&CertificateName> {
        self.names.iter().find(|(named, _)| *named == party).map(|(_, name)| name)
    }

    /// The one party whose name is in a certificate. This alone proves nothing: see
    /// [`Self::verify`].
    ///
    /// # Errors
    /// [`CertificateError::NotOneParty`] when it holds the name of no party or of several.
    pub fn party_of(&self, chain: &CertificateChain) -> Result<PartyId, CertificateError> {
        let matches = |name| certificate::matches_name(chain.leaf(), name).is_ok();
        let mut parties = self.names.iter().filter(|(_, name)| matches(name));
        match (parties.next(), parties.count()) {
            (Some((party, _)), 0) => Ok(*party),
            (first, more) => Err(CertificateError::NotOneParty {
                found: names_in(chain.leaf())?,
                parties: usize::from(first.is_some()) + more,
            }),
        }
    }

    /// Verifies that a certificate belongs to exactly this party, for a purpose at a moment.
    ///
    /// # Errors
    /// A [`CertificateError`] that names the check that failed.
    pub fn verify(
        &self,
        chain: &CertificateChain,
        party: PartyId,
        at: OffsetDateTime,
        purpose: Purpose,
    ) -> Result<(), CertificateError> {
        let name = self.expected_name(chain, party)?;
        certificate::verify(chain, &self.anchor, name, at, purpose)?;
        self.party_of(chain).map(|_| ())
    }

    /// Verifies a party's signature and its certificate.
    ///
    /// # Errors
    /// A [`CertificateError`] that names the check that failed.
    pub fn verify_signature(
        &self,
        chain: &CertificateChain,
        party: PartyId,
        at: OffsetDateTime,
        (context, message): (SignatureContext, &[u8]),
        signature: &[u8],
    ) -> Result<(), CertificateError> {
        let (name, anchor) = (self.expected_name(chain, party)?, &self.anchor);
        certificate::verify_signature(chain, anchor, name, at, context, message, signature)?;
        self.party_of(chain).map(|_| ())
    }

    fn expected_name(
        &self,
        chain: &CertificateChain,
        party: PartyId,
    ) -> Result<&CertificateName, CertificateError> {
        match self.name_of(party) {
            Some(name) => Ok(name),
            None => {
                let found = names_in(chain.leaf())?;
                Err(CertificateError::NotOneParty { found, parties: 0 })
            }
        }
    }
}

/// Why a session and an authority do not go together.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A session that names no authority.
    #[error("this session uses no certificates")]
    NoCertificates,
    /// The authority's file is at fault, or is another authority's.
    #[error("the certificate authority is not accepted")]
    Authority(#[from] CertificateError),
}

impl Refusable for TrustError {}
