//! What can be wrong with a certificate, its key or a signature.

use std::path::PathBuf;

use reshare_files::fault::Refusable;
use reshare_files::file_error::FileError;
use reshare_files::timestamp::Timestamp;
use time::OffsetDateTime;

use super::name::CertificateName;
use crate::keys::{PemError, PrivateFileError};

/// Why a certificate, its key or a signature is not accepted. Never holds any of a key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// A file is refused.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<CertificateError>,
    },
    /// No PEM text of certificates.
    #[error("it is no PEM text with a block \"CERTIFICATE\"")]
    NoCertificate,
    /// More text or certificates than any chain has.
    #[error("it is longer than a certificate chain of at most {max_certificates} can be")]
    TooLong {
        /// The most certificates of a chain.
        max_certificates: usize,
    },
    /// The right certificates in another text than the canonical one.
    #[error("it is not written in the canonical form of PEM")]
    NotCanonical,
    /// Bytes that are no certificate, or extensions that contradict each other.
    #[error("it holds no valid X.509 certificate")]
    Malformed,
    /// An authority's file with another number of certificates than one.
    #[error("it holds {count} certificates: the file of an authority holds one")]
    NotOne {
        /// How many there are.
        count: usize,
    },
    /// An authority that can vouch for no party.
    #[error(
        "the authority constrains URI names (nameConstraints), which cannot be evaluated: no certificate with the name {name} \
         would be accepted"
    )]
    UriConstraint {
        /// A name that is a URI.
        name: CertificateName,
    },
    /// A certificate that may not issue others.
    #[error("it is not the certificate of an authority (basicConstraints CA:TRUE)")]
    NotAnAuthority,
    /// Another authority than the session's.
    #[error("it is another authority: its SHA-256 is {got}, the session says {expected}")]
    OtherAuthority {
        /// The session's, in hexadecimal.
        expected: String,
        /// The file's, in hexadecimal.
        got: String,
    },
    /// The file of the private key is at fault.
    #[error(transparent)]
    KeyFile(#[from] PrivateFileError),
    /// The file of the private key is no PEM block of a key.
    #[error("{} is no private key of a certificate", path.display())]
    KeyPem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// A key of a sort that has no documented signature algorithm.
    #[error(
        "the key in {} is broken or of another sort than ECDSA P-256, ECDSA P-384, Ed25519 and \
         RSA of 2048 to 8192 bits",
        path.display()
    )]
    KeyKind {
        /// The file.
        path: PathBuf,
    },
    /// A private key of another certificate.
    #[error("the private key {} does not belong to the certificate {}", key.display(), certificate.display())]
    KeyMismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate that is over.
    #[error(
        "the certificate was valid until {}, and it is about {}",
        Timestamp::from(*not_after), Timestamp::from(*at)
    )]
    Expired {
        /// Its last moment.
        not_after: OffsetDateTime,
        /// The moment in question.
        at: OffsetDateTime,
    },
    /// A certificate that has not begun.
    #[error(
        "the certificate is valid from {} on, and it is about {}",
        Timestamp::from(*not_before), Timestamp::from(*at)
    )]
    NotYetValid {
        /// Its first moment.
        not_before: OffsetDateTime,
        /// The moment in question.
        at: OffsetDateTime,
    },
    /// A chain that does not lead to the authority.
    #[error("the certificate does not come from the session's authority")]
    OtherIssuer(#[source] webpki::Error),
    /// A chain with something else wrong.
    #[error("the certificate's chain is not valid")]
    Chain(#[source] webpki::Error),
    /// A chain with certificates that lead nowhere.
    #[error("the chain has {extra} certificates that the way to the authority does not need")]
    Superfluous {
        /// How many.
        extra: usize,
    },
    /// Another party's certificate, or nobody's.
    #[error("the certificate names {found:?}, not {expected}: one URI or DNS name must be equal")]
    OtherName {
        /// The name in the session.
        expected: CertificateName,
        /// The URI and DNS names in the certificate.
        found: Vec<String>,
    },
    /// A certificate with the names of several parties, or of none.
    #[error("the certificate names {found:?}, of which {parties} are parties of the session")]
    NotOneParty {
        /// The URI and DNS names in the certificate.
        found: Vec<String>,
        /// How many of them are parties.
        parties: usize,
    },
    /// A certificate that may not sign.
    #[error("the certificate's key usage does not name digitalSignature")]
    NoDigitalSignature,
    /// A certificate that may not open a connection, or not answer one.
    #[error("the certificate's extended key usage does not allow this use")]
    ExtendedKeyUsage(#[source] webpki::Error),
    /// A signature that is not one of this key over these bytes.
    #[error("the signature is not one of the certificate's key over these bytes")]
    Signature(#[source] webpki::Error),
    /// The cryptographic library gave no result.
    #[error("the cryptographic library refused to sign")]
    Library,
}

impl Refusable for CertificateError {}

impl CertificateError {
    pub(super) fn in_file(self, path: &std::path::Path) -> Self {
        Self::File { path: path.to_owned(), source: Box::new(self) }
    }
}
