//! Which party a certificate belongs to.

use reshare_engine::party::PartyId;
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::session::{CertificateName, Session};

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

    /// The sender whose certificate this is.
    pub(super) fn sender_of(&self, certificate: &CertificateDer<'_>) -> Option<PartyId> {
        let found = self.senders.iter().find(|(_, name)| is_named(certificate, name));
        found.map(|(party, _)| *party)
    }
}

/// Whether a certificate has exactly one DNS or URI name, and this one.
///
/// Compared byte by byte: no wildcard, no common name, no case folding.
pub(super) fn is_named(certificate: &CertificateDer<'_>, name: &CertificateName) -> bool {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else { return false };
    let dns: Vec<&str> = certificate.valid_dns_names().collect();
    let uris: Vec<&str> = certificate.valid_uri_names().collect();
    match name {
        CertificateName::Dns(name) => dns == [name] && uris.is_empty(),
        CertificateName::Uri(name) => uris == [name] && dns.is_empty(),
    }
}

/// All DNS and URI names of a certificate, to be told in a message.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> String {
    let Ok(certificate) = EndEntityCert::try_from(certificate) else {
        return "unreadable".to_owned();
    };
    let names = certificate.valid_dns_names().chain(certificate.valid_uri_names());
    let names: Vec<String> = names.map(|name| name.escape_debug().to_string()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
