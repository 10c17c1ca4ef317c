//! A party's certificate, its key and the certificate authority, as files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use super::names::{PartyNames, is_named, names_of};
use crate::keys::{PrivateFileError, read_private};
use crate::session::{CertificateName, Session};

/// Where a party's TLS files lie.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// The certificate in PEM, with the intermediate ones after it.
    pub certificate: PathBuf,
    /// Its private key: PKCS#8 PEM of mode 0600.
    pub certificate_key: PathBuf,
    /// The certificate authority: one certificate in PEM, that of the session.
    pub ca_file: PathBuf,
}

/// What a party proves its name with, and whom it believes.
///
/// # Secrecy
/// Holds the private key: `Debug` prints nothing of it.
pub struct TlsIdentity {
    pub(super) provider: Arc<CryptoProvider>,
    pub(super) certified: Arc<CertifiedKey>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) names: PartyNames,
}

impl TlsIdentity {
    /// Loads the three files and checks them against each other and the session.
    ///
    /// # Errors
    /// [`IdentityError`] when a file cannot be read, the authority is not the session's, the
    /// key is not that of the certificate, or the session was made without certificates.
    pub fn load(files: &TlsFiles, session: &Session) -> Result<Self, IdentityError> {
        let names = PartyNames::of(session).ok_or(IdentityError::NoNames)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let authority = authority(&files.ca_file, session)?;
        let mut roots = RootCertStore::empty();
        roots
            .add(authority)
            .map_err(|source| IdentityError::Authority { path: files.ca_file.clone(), source })?;
        let chain = certificates(&files.certificate)?;
        let path = &files.certificate_key;
        let pem = read_private(path)
            .map_err(|source| IdentityError::Private { path: path.clone(), source })?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| IdentityError::NotAKey { path: path.clone() })?;
        let certified = CertifiedKey::from_der(chain, key, &provider).map_err(|source| {
            let (certificate, key) = (files.certificate.clone(), path.clone());
            IdentityError::KeyMismatch { certificate, key, source }
        })?;
        let (certified, roots) = (Arc::new(certified), Arc::new(roots));
        Ok(Self { provider, certified, roots, names })
    }

    /// Checks that the certificate is that of a name.
    ///
    /// # Errors
    /// [`IdentityError::OtherName`].
    pub(super) fn check_name(&self, expected: &CertificateName) -> Result<(), IdentityError> {
        let own = self.certified.end_entity_cert().map_err(|_| IdentityError::NoNames)?;
        if is_named(own, expected) {
            return Ok(());
        }
        Err(IdentityError::OtherName { expected: expected.to_string(), got: names_of(own) })
    }
}

impl std::fmt::Debug for TlsIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TlsIdentity").finish_non_exhaustive()
    }
}

/// Why a party cannot prove who it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The session has no certificate names.
    #[error("the session names no certificates: nothing can be delivered over the network")]
    NoNames,
    /// A certificate file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the file system says.
        #[source]
        source: std::io::Error,
    },
    /// A file holds no certificates in PEM.
    #[error("{}: no certificates in PEM", path.display())]
    NotCertificates {
        /// The file.
        path: PathBuf,
    },
    /// The authority's file holds several certificates.
    #[error("{}: {got} certificates where one authority is expected", path.display())]
    SeveralAuthorities {
        /// The file.
        path: PathBuf,
        /// How many there are.
        got: usize,
    },
    /// The authority is not the one all parties agreed on.
    #[error("{}: SHA-256 {got} is not the session's trust.ca_sha256 {expected}", path.display())]
    OtherAuthority {
        /// The file.
        path: PathBuf,
        /// The session's digest.
        expected: String,
        /// The file's digest.
        got: String,
    },
    /// The authority's certificate cannot be used.
    #[error("{}: not a certificate authority's certificate", path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: rustls::Error,
    },
    /// The private key's file cannot be used.
    #[error("cannot use the certificate's key {}", path.display())]
    Private {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: PrivateFileError,
    },
    /// The private key's file holds no key.
    #[error("{}: no private key in PEM", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// Certificate and key do not belong together, or are of an unknown sort.
    #[error("{} is not the key of certificate {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls says.
        #[source]
        source: rustls::Error,
    },
    /// The certificate is for another name.
    #[error("this party's certificate must have the one name {expected}; it has: {got}")]
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

/// Reads the authority and compares it with the session's digest.
fn authority(path: &Path, session: &Session) -> Result<CertificateDer<'static>, IdentityError> {
    let expected = session.ca_sha256().ok_or(IdentityError::NoNames)?;
    let mut found = certificates(path)?;
    let got = found.len();
    let (Some(authority), true) = (found.pop(), got == 1) else {
        return Err(IdentityError::SeveralAuthorities { path: path.to_owned(), got });
    };
    let digest = ::aws_lc_rs::digest::digest(&::aws_lc_rs::digest::SHA256, &authority);
    if digest.as_ref() != expected {
        let (expected, got) = (hex::encode(expected), hex::encode(digest));
        return Err(IdentityError::OtherAuthority { path: path.to_owned(), expected, got });
    }
    Ok(authority)
}

/// Reads all certificates of a PEM file, at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, IdentityError> {
    let pem = std::fs::read(path)
        .map_err(|source| IdentityError::Read { path: path.to_owned(), source })?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(IdentityError::NotCertificates { path: path.to_owned() }),
    }
}
