//! Identities: this party's certificate, key and authority, and the names of the others.

use std::path::PathBuf;
use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_files::fault::Refusable;
use reshare_format::keys::certificate::{
    self, CertificateError, CertificateName, PartyCertificate, Purpose, TrustAnchor, matches_name,
    names_in,
};
use reshare_format::session::{Session, SessionTrust, TrustError};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use time::OffsetDateTime;

/// Paths of a party's TLS files.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate in PEM, with the intermediate ones after it.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8 PEM of mode 0600.
    pub certificate_key: PathBuf,
    /// The certificate authority: one certificate in PEM, that of the session.
    pub ca_file: PathBuf,
}

/// What a party authenticates itself with, and which authority it trusts.
///
/// # Secrecy
/// Holds the private key; `Debug` prints nothing of it.
pub struct TlsIdentity {
    pub(super) certificate: PartyCertificate,
    pub(super) anchor: TrustAnchor,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) names: PartyNames,
}

impl TlsIdentity {
    /// Loads the three files and checks them against each other and the session.
    ///
    /// # Errors
    /// [`IdentityError`] when a file cannot be used, the authority is not the session's, the
    /// key is not that of the certificate, or the session was made without certificates.
    pub fn load(files: &TlsFiles, session: &Session) -> Result<Self, IdentityError> {
        let names = PartyNames::of(session).ok_or(IdentityError::NoNames)?;
        let anchor = TrustAnchor::load(&files.ca_file, session.ca_sha256())?;
        let mut roots = RootCertStore::empty();
        roots.add(anchor.certificate().clone()).map_err(IdentityError::Tls)?;
        let certificate = PartyCertificate::load(&files.certificate, &files.certificate_key)?;
        Ok(Self { certificate, anchor, roots: Arc::new(roots), names })
    }

    /// The session's authority, to verify packages.
    ///
    /// # Errors
    /// [`IdentityError`] when the session is not the one that this identity was loaded for.
    pub fn trust(&self, session: &Session) -> Result<SessionTrust, IdentityError> {
        Ok(SessionTrust::new(session, self.anchor.clone())?)
    }

    /// Checks that the other end will accept the certificate: name, authority, validity, purpose.
    ///
    /// # Errors
    /// [`IdentityError`] with the reason for which it would be refused.
    pub(super) fn check(
        &self,
        expected: &CertificateName,
        purpose: Purpose,
    ) -> Result<(), IdentityError> {
        let chain = self.certificate.chain();
        if matches_name(chain.leaf(), expected).is_err() {
            let (expected, got) = (expected.to_string(), names_of(chain.leaf()));
            return Err(IdentityError::OtherName { expected, got });
        }
        let now = OffsetDateTime::now_utc();
        Ok(certificate::verify(chain, &self.anchor, expected, now, purpose)?)
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

/// Why a party cannot prove who it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The session has no certificate names.
    #[error("the session names no certificates: nothing can be delivered over the network")]
    NoNames,
    /// A certificate, its key or the authority is not what it must be.
    #[error("this party's certificate, its key or the authority cannot be used")]
    Certificate(#[from] CertificateError),
    /// The authority is not the session's.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The certificate is for another name.
    #[error("this party's certificate must have the name {expected}; it has: {got}")]
    OtherName {
        /// The session's name.
        expected: String,
        /// The names it has.
        got: String,
    },
    /// The certificates make no TLS configuration.
    #[error("the certificates cannot be used for TLS")]
    Tls(#[source] rustls::Error),
}

impl Refusable for IdentityError {}

/// The certificate names of a session that has them.
#[derive(Debug, Clone)]
pub(super) struct PartyNames {
    pub(super) senders: [(PartyId, CertificateName); 2],
    pub(super) receiver: CertificateName,
}

impl PartyNames {
    /// The names; `None` when the session was made without certificates.
    pub(super) fn of(session: &Session) -> Option<Self> {
        let [lower, higher] = session.senders();
        let receiver = session.receiver().certificate_name.clone()?;
        let lower = (lower.party, lower.certificate_name.clone()?);
        let higher = (higher.party, higher.certificate_name.clone()?);
        Some(Self { senders: [lower, higher], receiver })
    }

    /// The sender whose certificate this is; `None` when it also has the name of another party.
    pub(super) fn sender_of(&self, certificate: &CertificateDer<'_>) -> Option<PartyId> {
        let named = |name| matches_name(certificate, name).is_ok();
        let [lower, higher] =
            self.senders.each_ref().map(|(party, name)| named(name).then_some(*party));
        match (lower, higher, named(&self.receiver)) {
            (Some(party), None, false) | (None, Some(party), false) => Some(party),
            _ => None,
        }
    }

    /// Whether this is the receiver's certificate, and no sender's.
    pub(super) fn is_receiver(&self, certificate: &CertificateDer<'_>) -> bool {
        let named = |name| matches_name(certificate, name).is_ok();
        named(&self.receiver) && !self.senders.iter().any(|(_, name)| named(name))
    }
}

/// All names of a certificate, for a message.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> String {
    match names_in(certificate) {
        Ok(names) if names.is_empty() => "none".to_owned(),
        Ok(names) => names.join(", "),
        Err(_) => "unreadable".to_owned(),
    }
}
