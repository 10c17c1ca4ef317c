//! TLS to a server: who is verified, and against which roots.
//!
//! The driver's own TLS is not used: it trusts other roots in addition to those that are given, and
//! refuses certificates of version 1 even where nothing is verified.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientConfig, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, OtherError, RootCertStore, SignatureScheme};

/// What is asked of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TlsMode {
    /// None.
    Off,
    /// If the server has it; the chain is verified if there is a root, and without TLS otherwise.
    Optional { chain: bool },
    /// TLS, with nobody verified.
    Required,
    /// TLS, with a chain to a root.
    Chain,
    /// A chain to a root, and the host's name.
    Full,
}

/// Which authorities are trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Roots {
    /// Those of the system, since none was given.
    Default,
    /// Those of the system, as was asked for.
    System,
    /// Those of a file, and no other.
    File(PathBuf),
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Version {
    Tls12,
    Tls13,
}

/// What holds for every server.
#[derive(Debug, Clone)]
pub(super) struct TlsPlan {
    pub(super) roots: Roots,
    /// A certificate and its key.
    pub(super) client: Option<(PathBuf, PathBuf)>,
    pub(super) sends_name: bool,
    pub(super) direct: bool,
    pub(super) lowest: Version,
    pub(super) highest: Version,
}

/// What is verified of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verify {
    Nothing,
    Chain,
    Full,
}

impl TlsPlan {
    /// The configuration of one connection; the error says which file is at fault.
    pub(super) fn config(&self, verify: Verify) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let versions = match (self.lowest, self.highest) {
            (Version::Tls13, _) => &[&rustls::version::TLS13][..],
            (_, Version::Tls12) => &[&rustls::version::TLS12][..],
            _ => rustls::ALL_VERSIONS,
        };
        let verifier = Verifier::new(verify, &self.roots, &provider)?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &self.client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|error| format!("{} is no private key: {error}", key.display()))?;
                config
                    .with_client_auth_cert(certificates(certificate)?, key)
                    .map_err(|error| format!("{}: {error}", certificate.display()))?
            }
        };
        config.enable_sni = self.sends_name;
        if self.direct {
            config.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(config)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = |error: rustls::pki_types::pem::Error| format!("{}: {error}", path.display());
    let all = CertificateDer::pem_file_iter(path).map_err(read)?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(read)?;
    if all.is_empty() { Err(format!("{} holds no certificate", path.display())) } else { Ok(all) }
}

fn roots(roots: &Roots) -> Result<Vec<CertificateDer<'static>>, String> {
    match roots {
        Roots::File(path) => certificates(path),
        Roots::Default | Roots::System => {
            let found = rustls_native_certs::load_native_certs().certs;
            if found.is_empty() {
                return Err("the system has no root certificates: give sslrootcert".into());
            }
            Ok(found)
        }
    }
}

#[derive(Debug)]
struct Verifier {
    verify: Verify,
    /// `None` where nothing is verified.
    chain: Option<Arc<WebPkiServerVerifier>>,
    roots: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn new(verify: Verify, from: &Roots, provider: &Arc<CryptoProvider>) -> Result<Self, String> {
        let mut this = Self { verify, chain: None, roots: vec![], provider: Arc::clone(provider) };
        if verify == Verify::Nothing {
            return Ok(this);
        }
        this.roots = roots(from)?;
        let mut store = RootCertStore::empty();
        let (taken, _) = store.add_parsable_certificates(this.roots.iter().cloned());
        if taken == 0 {
            return Err("no root certificate can be used: they must be X.509 of version 3".into());
        }
        let chain =
            WebPkiServerVerifier::builder_with_provider(Arc::new(store), Arc::clone(provider));
        this.chain = Some(chain.build().map_err(|error| error.to_string())?);
        Ok(this)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        let verified =
            chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // The chain is verified before the name.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.verify == Verify::Chain => Ok(ServerCertVerified::assertion()),
            // A certificate that signed itself and is a root itself. Its time is checked before.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(error)))
                if is_own_authority(&error) && self.roots.iter().any(|root| root == end_entity) =>
            {
                if self.verify == Verify::Full {
                    let parsed = webpki::EndEntityCert::try_from(end_entity).map_err(other)?;
                    parsed.verify_is_valid_for_subject_name(server_name).map_err(|_| {
                        rustls::Error::InvalidCertificate(CertificateError::NotValidForName)
                    })?;
                }
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.chain {
            // The key of a certificate that nobody verifies proves nothing.
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(chain) => chain.verify_tls12_signature(message, certificate, signed),
        }
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match &self.chain {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(chain) => chain.verify_tls13_signature(message, certificate, signed),
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_own_authority(error: &OtherError) -> bool {
    error.0.downcast_ref::<webpki::Error>() == Some(&webpki::Error::CaUsedAsEndEntity)
}

fn other(error: webpki::Error) -> rustls::Error {
    rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}
