//! A certificate authority for parties that have none of their own.

use std::fmt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData,
    SignatureAlgorithm,
};
use reshare_files::durable;
use reshare_files::fault::Refusable;
use reshare_files::file_error::{FileError, OnFile};
use time::{Duration, OffsetDateTime};
use zeroize::Zeroizing;

use super::certificate::{CertificateChain, CertificateError, Purpose, TrustAnchor, verify};
use super::certificate::{
    CertificateName, CertificateRequest, RequestError, alternative_name, common_name,
};
use super::permissions::{PrivateFileError, read_private, write_private};

/// The authority's certificate in its directory.
pub const CA_CERTIFICATE_NAME: &str = "ca.pem";
/// The authority's private key in its directory.
pub const CA_KEY_NAME: &str = "ca.key";
/// A party's certificate in its directory.
pub const CERTIFICATE_NAME: &str = "certificate.pem";
/// A party's private key in its directory.
pub const CERTIFICATE_KEY_NAME: &str = "certificate.key";

/// A certificate is valid from this long before it is made: clocks of other machines may be slow.
const BACKDATING: Duration = Duration::minutes(5);

/// The kind of a new key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum KeyKind {
    /// ECDSA on NIST P-256.
    #[default]
    EcdsaP256,
    /// ECDSA on NIST P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
}

/// An authority that issues certificates for parties.
///
/// # Secrecy
/// Holds the authority's private key; `Debug` prints only the digest of its certificate.
pub struct CertificateAuthority {
    issuer: Issuer<'static, KeyPair>,
    anchor: TrustAnchor,
}

impl CertificateAuthority {
    /// Creates an authority and writes certificate and key, mode 0600, into a directory.
    ///
    /// An existing key without a certificate, which a killed run leaves, is used.
    ///
    /// # Errors
    /// [`PkiError`] when the directory already has a certificate or a key of another kind, or when
    /// the files cannot be written.
    pub fn create(
        directory: &Path,
        common_name: &str,
        kind: KeyKind,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<Self, PkiError> {
        let mut params = params(common_name, lifetime, now)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let pair = Pair::in_directory(directory, CA_KEY_NAME, CA_CERTIFICATE_NAME);
        let key = pair.key(kind)?;
        let certificate = params.self_signed(&key)?;
        let anchor = TrustAnchor::from_pem(certificate.pem().as_bytes())?;
        pair.write(&key, &certificate.pem())?;
        Ok(Self { issuer: Issuer::new(params, key), anchor })
    }

    /// Opens the authority in a directory.
    ///
    /// # Errors
    /// [`PkiError`] when certificate or key is missing, open to others or does not match the other.
    pub fn load(directory: &Path) -> Result<Self, PkiError> {
        let path = directory.join(CA_CERTIFICATE_NAME);
        let anchor = TrustAnchor::load(&path, None)?;
        let pem = read_private(&directory.join(CA_KEY_NAME))?;
        let key = KeyPair::from_pem(&pem)?;
        let issuer = Issuer::from_ca_cert_der(anchor.certificate(), key)?;
        Ok(Self { issuer, anchor })
    }

    /// The authority's certificate. Sessions hold its digest.
    #[must_use]
    pub fn anchor(&self) -> &TrustAnchor {
        &self.anchor
    }

    /// Creates a key and a certificate for the name of a party in the session, and writes both,
    /// mode 0600, into a directory.
    ///
    /// The certificate is valid for signatures and for both ends of a TLS connection. An existing
    /// key without a certificate is used.
    ///
    /// # Errors
    /// [`PkiError`] when the directory already has a certificate or a key of another kind, or when
    /// the files cannot be written.
    pub fn issue(
        &self,
        directory: &Path,
        name: &CertificateName,
        kind: KeyKind,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<IssuedCertificate, PkiError> {
        let pair = Pair::in_directory(directory, CERTIFICATE_KEY_NAME, CERTIFICATE_NAME);
        let key = pair.key(kind)?;
        let certificate = self.certify(name, &key, lifetime, now)?;
        pair.write(&key, &certificate)?;
        Ok(IssuedCertificate { certificate: pair.certificate, key: pair.key })
    }

    /// Makes a certificate for the key and the one name of a request. Returns it in PEM.
    ///
    /// Nothing but key and name is taken from the request.
    ///
    /// # Errors
    /// [`PkiError`] when the authority cannot issue certificates, or none that live so long.
    pub fn issue_for(
        &self,
        request: &CertificateRequest,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<String, PkiError> {
        self.certify(request.name(), request.key(), lifetime, now)
    }

    fn certify(
        &self,
        name: &CertificateName,
        key: &impl PublicKeyData,
        lifetime: Duration,
        now: OffsetDateTime,
    ) -> Result<String, PkiError> {
        let mut params = params(&common_name(name), lifetime, now)?;
        params.subject_alt_names = vec![alternative_name(name)?];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(key, &self.issuer)?;
        // An authority whose key does not match its certificate issues nothing.
        let chain = CertificateChain::new([certificate.der().clone()])?;
        verify(&chain, &self.anchor, name, now, Purpose::Signature)?;
        Ok(certificate.pem())
    }
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("anchor", &self.anchor).finish_non_exhaustive()
    }
}

/// Creates the key of a party's certificate, and a request for the certificate. Writes the key,
/// mode 0600, to a new file.
///
/// # Errors
/// [`PkiError`] when something has that name already, or the file cannot be written.
pub fn create_request(
    key: &Path,
    name: &CertificateName,
    kind: KeyKind,
) -> Result<CertificateRequest, PkiError> {
    let pair = KeyPair::generate_for(kind.algorithm())?;
    let request = CertificateRequest::new(name, &pair)?;
    write_private(key, &Zeroizing::new(pair.serialize_pem()))?;
    Ok(request)
}

/// The paths of a new certificate and its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedCertificate {
    /// The certificate, PEM.
    pub certificate: PathBuf,
    /// The private key, PKCS#8 PEM.
    pub key: PathBuf,
}

impl KeyKind {
    fn algorithm(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &PKCS_ED25519,
        }
    }
}

fn params(
    common_name: &str,
    lifetime: Duration,
    now: OffsetDateTime,
) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, common_name);
    params.not_before = now.checked_sub(BACKDATING).ok_or(PkiError::Lifetime)?;
    params.not_after = now.checked_add(lifetime).ok_or(PkiError::Lifetime)?;
    Ok(params)
}

/// The paths of a key and its certificate.
struct Pair {
    directory: PathBuf,
    key: PathBuf,
    certificate: PathBuf,
}

impl Pair {
    fn in_directory(directory: &Path, key: &str, certificate: &str) -> Self {
        let (key, certificate) = (directory.join(key), directory.join(certificate));
        Self { directory: directory.to_owned(), key, certificate }
    }

    /// An existing key without a certificate, or a new key.
    fn key(&self, kind: KeyKind) -> Result<KeyPair, PkiError> {
        let exists = |path: &Path| PrivateFileError::Exists { path: path.to_owned() };
        if self.certificate.symlink_metadata().is_ok() {
            return Err(exists(&self.certificate).into());
        }
        if self.key.symlink_metadata().is_err() {
            return Ok(KeyPair::generate_for(kind.algorithm())?);
        }
        let key = KeyPair::from_pem(&read_private(&self.key)?)?;
        if key.is_compatible(kind.algorithm()) { Ok(key) } else { Err(exists(&self.key).into()) }
    }

    /// Writes the files that are missing, the key first: a certificate must never be without one.
    fn write(&self, key: &KeyPair, certificate: &str) -> Result<(), PkiError> {
        durable::create_directory(&self.directory).on("create", &self.directory)?;
        if self.key.symlink_metadata().is_err() {
            write_private(&self.key, &Zeroizing::new(key.serialize_pem()))?;
        }
        write_private(&self.certificate, certificate)?;
        Ok(())
    }
}

/// Why there is no authority or certificate. Never holds any of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The directory cannot be made.
    #[error(transparent)]
    Directory(#[from] FileError),
    /// A file is at fault.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// The authority's certificate is at fault.
    #[error("the authority's certificate is not accepted")]
    Authority(#[from] CertificateError),
    /// A life that ends after the calendar.
    #[error("a certificate cannot live that long")]
    Lifetime,
    /// Key or certificate cannot be made.
    #[error("the certificate cannot be made")]
    Make(#[from] rcgen::Error),
    /// The request for it cannot be made.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Refusable for PkiError {}
