//! TLS at both ends: who may be at the other end of a connection.
//!
//! Both ends check the chain up to the session's authority, its validity and the certificate's, its
//! purpose, then the one exact name. TLS 1.3 only, without resumption: every connection
//! authenticates again. The key exchange is hybrid, ML-KEM-768 and X25519, unless X25519 alone is asked
//! for.

use std::sync::{Arc, OnceLock};

use reshare_files::timestamp::Timestamp;
use reshare_format::keys::certificate::{self, CertificateName, Purpose, TrustAnchor};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::aws_lc_rs::{default_provider, kx_group};
use rustls::crypto::{
    CryptoProvider, SupportedKxGroup, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{NoServerSessionStorage, ParsedCertificate, WebPkiClientVerifier};
use rustls::sign::SingleCertAndKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    RootCertStore, ServerConfig, SignatureScheme,
};
use time::OffsetDateTime;

use super::identity::{IdentityError, PartyNames, TlsIdentity, names_of};
use super::log::Shown;

const VERSIONS: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS13];

/// Which key exchanges an end of a connection offers or takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyExchange {
    /// X25519MLKEM768 alone: who stores the connection's bytes cannot read them with a quantum computer.
    Hybrid,
    /// X25519 too, where the other end knows no better.
    HybridOrClassic,
}

impl KeyExchange {
    /// The groups, the preferred one first. Nothing that another crate turns on changes them.
    fn groups(self) -> Vec<&'static dyn SupportedKxGroup> {
        match self {
            Self::Hybrid => vec![kx_group::X25519MLKEM768],
            Self::HybridOrClassic => vec![kx_group::X25519MLKEM768, kx_group::X25519],
        }
    }

    fn provider(self) -> Arc<CryptoProvider> {
        Arc::new(CryptoProvider { kx_groups: self.groups(), ..default_provider() })
    }
}

/// Whether the key exchange of a connection was X25519 alone.
pub(super) fn is_classic(group: Option<&'static dyn SupportedKxGroup>) -> bool {
    group.is_none_or(|group| group.name() != kx_group::X25519MLKEM768.name())
}

/// The receiver's side: accepts the two senders of the session.
pub(super) fn server_config(
    identity: &TlsIdentity,
    key_exchange: KeyExchange,
) -> Result<ServerConfig, IdentityError> {
    let TlsIdentity { certificate, anchor, roots, names, .. } = identity;
    let provider = key_exchange.provider();
    identity.check(&names.receiver, Purpose::TlsServer)?;
    let chain = WebPkiClientVerifier::builder_with_provider(roots.clone(), provider.clone());
    let chain =
        chain.build().map_err(|error| IdentityError::Tls(Error::General(error.to_string())))?;
    let (anchor, names) = (anchor.clone(), names.clone());
    let verifier = Arc::new(SenderVerifier { chain, anchor, names });
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(VERSIONS)
        .map_err(IdentityError::Tls)?
        .with_client_cert_verifier(verifier);
    let mut config =
        builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.certified_key())));
    config.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1_1.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    Ok(config)
}

impl TlsIdentity {
    /// Checks that senders will accept the certificate as the receiver's, as
    /// [`super::Endpoint::bind`] does.
    ///
    /// # Errors
    /// [`IdentityError`] with the reason for which it would be refused.
    pub fn check_receiver(&self) -> Result<(), IdentityError> {
        server_config(self, KeyExchange::Hybrid).map(drop)
    }
}

/// A sender's side: accepts the receiver of the session on any host.
pub(super) fn client_config(
    identity: &TlsIdentity,
    key_exchange: KeyExchange,
) -> Result<ClientConfig, IdentityError> {
    let TlsIdentity { certificate, anchor, roots, names, .. } = identity;
    let provider = key_exchange.provider();
    let verifier = ReceiverVerifier {
        provider: provider.clone(),
        anchor: anchor.clone(),
        roots: roots.clone(),
        names: names.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(VERSIONS)
        .map_err(IdentityError::Tls)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let mut config = builder
        .with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certificate.certified_key())));
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    Ok(config)
}

pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1_1: &[u8] = b"http/1.1";

tokio::task_local! {
    /// The names in the certificate that the client sent in this task's handshake.
    static CLAIMED: Arc<OnceLock<String>>;
}

/// Does a handshake. Also returns the names that the client's certificate claims: when it is refused
/// they are only for the log, and not verified.
pub(super) async fn with_claimed_names<T>(
    handshake: impl Future<Output = T>,
) -> (T, Option<String>) {
    let claimed = Arc::<OnceLock<String>>::default();
    let done = CLAIMED.scope(Arc::clone(&claimed), handshake).await;
    (done, claimed.get().cloned())
}

/// Accepts certificates of the two senders and no others.
#[derive(Debug)]
struct SenderVerifier {
    chain: Arc<dyn ClientCertVerifier>,
    anchor: TrustAnchor,
    names: PartyNames,
}

impl ClientCertVerifier for SenderVerifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.chain.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        // Only called in a handshake of the server.
        let _ = CLAIMED.try_with(|claimed| claimed.set(names_of(end_entity)));
        let verified = self.chain.verify_client_cert(end_entity, intermediates, now)?;
        check_authority(&self.anchor, now)?;
        if self.names.sender_of(end_entity).is_none() {
            return Err(CertificateError::ApplicationVerificationFailure.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.chain.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.supported_verify_schemes()
    }
}

/// Accepts the receiver's certificate by its name in the session, not by the URL's host.
#[derive(Debug)]
struct ReceiverVerifier {
    provider: Arc<CryptoProvider>,
    anchor: TrustAnchor,
    roots: Arc<RootCertStore>,
    names: PartyNames,
}

impl ServerCertVerifier for ReceiverVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(
            &certificate,
            &self.roots,
            intermediates,
            now,
            algorithms,
        )?;
        check_authority(&self.anchor, now)?;
        if !self.names.is_receiver(end_entity) {
            return Err(not_receiver(&self.names.receiver, end_entity).into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

/// Refuses every certificate of an authority that is not valid now. webpki takes a trust anchor as
/// valid for good; documents are verified in this way, too.
fn check_authority(anchor: &TrustAnchor, now: UnixTime) -> Result<(), CertificateError> {
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let at = OffsetDateTime::from_unix_timestamp(seconds);
    let at = at.map_err(|_| CertificateError::BadEncoding)?;
    anchor
        .check_time(at)
        .map_err(|error| CertificateError::Other(OtherError(Arc::new(AuthorityNotValid(error)))))
}

/// An authority whose own certificate is not valid now.
#[derive(Debug, thiserror::Error)]
#[error("the session's authority is not valid now: {0}")]
struct AuthorityNotValid(certificate::CertificateError);

/// A valid certificate that names another party than the receiver.
#[derive(Debug, thiserror::Error)]
#[error("the session calls it {expected}, its certificate has: {found}")]
struct NotReceiver {
    expected: CertificateName,
    found: String,
}

/// The error of a certificate that does not name the receiver.
fn not_receiver(expected: &CertificateName, certificate: &CertificateDer<'_>) -> CertificateError {
    let found = Shown(&names_of(certificate)).to_string();
    CertificateError::Other(OtherError(Arc::new(NotReceiver { expected: expected.clone(), found })))
}

/// A time of TLS, as messages write it.
fn moment(time: rustls::pki_types::UnixTime) -> Timestamp {
    let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    let moment = time::OffsetDateTime::from_unix_timestamp(seconds);
    Timestamp::from(moment.unwrap_or(time::OffsetDateTime::UNIX_EPOCH))
}

/// Describes what is wrong with a server's certificate.
pub(super) fn server_certificate_defect(error: &CertificateError) -> String {
    use CertificateError as E;
    match error {
        E::Other(OtherError(other)) => return other.to_string(),
        E::ExpiredContext { time, not_after } => {
            let (until, here) = (moment(*not_after), moment(*time));
            return format!(
                "its certificate has expired: it is valid until {until}, and here it is {here}"
            );
        }
        E::NotValidYetContext { time, not_before } => {
            let (from, here) = (moment(*not_before), moment(*time));
            return format!(
                "its certificate is not valid yet: it is from {from} on, and here it is {here}"
            );
        }
        E::Expired => "its certificate has expired",
        E::NotValidYet => "its certificate is not valid yet",
        E::UnknownIssuer => "another authority than the session's made its certificate",
        // Another authority with the same name as the session's.
        E::BadSignature => "the session's authority did not sign its certificate",
        E::InvalidPurpose | E::InvalidPurposeContext { .. } => {
            "its certificate is not for servers (extended key usage serverAuth)"
        }
        other => return format!("its certificate is not accepted ({other:?})"),
    }
    .to_owned()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use reshare_engine::party::PartyId;
    use reshare_format::keys::certificate::PartyCertificate;
    use reshare_format::keys::pki::{CertificateAuthority, KeyKind};
    use time::Duration;

    use super::*;

    const NAMES: [&str; 3] = ["spiffe://mpc.example/0", "spiffe://mpc.example/1", "r.mpc.example"];

    /// An authority that ends long before the certificates that it has issued.
    fn identities(directory: &Path) -> [TlsIdentity; 3] {
        let now = OffsetDateTime::now_utc();
        let (kind, day) = (KeyKind::EcdsaP256, Duration::days(1));
        let make = CertificateAuthority::create(&directory.join("ca"), "ca", kind, day, now);
        let authority = make.expect("an authority");
        let [lower, higher, receiver] = NAMES.map(|name| name.parse().expect("a name"));
        let party = |index| PartyId::new(index).expect("a party");
        let names = PartyNames { senders: [(party(0), lower), (party(1), higher)], receiver };
        let mut roots = RootCertStore::empty();
        roots.add(authority.anchor().certificate().clone()).expect("an authority");
        let roots = Arc::new(roots);
        NAMES.map(|name| {
            let directory = directory.join(name.replace('/', "-"));
            let name = name.parse().expect("a name");
            let issued = authority.issue(&directory, &name, kind, Duration::days(9), now);
            let issued = issued.expect("issued");
            let certificate = PartyCertificate::load(&issued.certificate, &issued.key);
            TlsIdentity {
                certificate: certificate.expect("a certificate"),
                anchor: authority.anchor().clone(),
                roots: Arc::clone(&roots),
                names: names.clone(),
            }
        })
    }

    fn at(days: i64) -> UnixTime {
        let moment = OffsetDateTime::now_utc() + Duration::days(days);
        let seconds = moment.unix_timestamp().unsigned_abs();
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds))
    }

    #[test]
    fn peers_of_an_authority_that_has_ended_are_refused_at_both_ends() {
        let directory = tempfile::tempdir().expect("a directory");
        let [sender, _, receiver] = identities(directory.path());
        let chain = WebPkiClientVerifier::builder_with_provider(
            Arc::clone(&receiver.roots),
            KeyExchange::Hybrid.provider(),
        );
        let chain = chain.build().expect("an authority");
        let (anchor, names) = (receiver.anchor.clone(), receiver.names.clone());
        let of_sender = SenderVerifier { chain, anchor, names };
        let of_receiver = ReceiverVerifier {
            provider: KeyExchange::Hybrid.provider(),
            anchor: sender.anchor.clone(),
            roots: Arc::clone(&sender.roots),
            names: sender.names.clone(),
        };
        let [client, server] = [&sender, &receiver].map(|party| party.certificate.chain().leaf());
        let host = ServerName::try_from("r.mpc.example").expect("a name");
        let check = |now| {
            let client = of_sender.verify_client_cert(client, &[], now).map(drop);
            [client, of_receiver.verify_server_cert(server, &[], &host, &[], now).map(drop)]
        };
        assert_eq!(check(at(0)), [Ok(()), Ok(())]);
        for verified in check(at(2)) {
            let Err(Error::InvalidCertificate(error)) = verified else { panic!("{verified:?}") };
            let defect = server_certificate_defect(&error);
            assert!(defect.contains("the session's authority is not valid now"), "{defect}");
        }
    }
}
