//! Which party a certificate belongs to.

use reshare_engine::party::PartyId;
use reshare_format::keys::certificate::CertificateName;
use reshare_format::keys::certificate::{matches_name, names_in};
use reshare_format::session::Session;
use rustls::pki_types::CertificateDer;

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

    /// The sender whose certificate this is; none when it has the name of another party too.
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

/// All names of a certificate, to be told in a message.
pub(super) fn names_of(certificate: &CertificateDer<'_>) -> String {
    match names_in(certificate) {
        Ok(names) if names.is_empty() => "none".to_owned(),
        Ok(names) => names.join(", "),
        Err(_) => "unreadable".to_owned(),
    }
}
