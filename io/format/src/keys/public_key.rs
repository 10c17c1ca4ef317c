//! The public halves of a sender's agreement keys: a point on P-256, and a key of ML-KEM-768.

use std::fmt;

use aws_lc_rs::agreement::{self, ParsedPublicKey, UnparsedPublicKey};
use aws_lc_rs::digest::{SHA256, digest};

use super::encapsulation::EncapsulationKey;
use super::pem::{self, PemError};

/// A valid point on P-256 as its SubjectPublicKeyInfo (RFC 5480), in the one encoding that
/// a named curve and an uncompressed point have.
///
/// A key has one encoding, so equal keys are equal bytes, also in a fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AgreementPublicKey {
    der: [u8; AgreementPublicKey::DER_BYTES],
}

/// The label of a public key's PEM block.
const LABEL: &str = "PUBLIC KEY";

/// The bytes before the point: id-ecPublicKey, prime256v1, a bit string of 65 bytes.
///
/// Source: RFC 5480 sections 2.1.1 and 2.2.
const DER_PREFIX: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Bytes of an uncompressed point: 4, X, Y.
const POINT_BYTES: usize = 65;

const _: () = assert!(DER_PREFIX.len() + POINT_BYTES == AgreementPublicKey::DER_BYTES);

impl AgreementPublicKey {
    /// The length of every key's SubjectPublicKeyInfo.
    pub const DER_BYTES: usize = 91;

    /// Reads a PEM block `PUBLIC KEY`.
    ///
    /// # Errors
    /// A [`PublicKeyError`] when the text is not one such block or the key not a point on P-256.
    pub fn from_pem(text: &str) -> Result<Self, PublicKeyError> {
        Self::from_der(&pem::decode(text, LABEL)?)
    }

    /// Reads a SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// A [`PublicKeyError`] when the curve is another, the point is not on the curve, or the
    /// encoding is not the one of this type.
    pub fn from_der(der: &[u8]) -> Result<Self, PublicKeyError> {
        if let Some(curve) = other_curve(der) {
            return Err(PublicKeyError::Curve { curve });
        }
        let der: [u8; Self::DER_BYTES] = der.try_into().map_err(|_| PublicKeyError::Encoding)?;
        if !der.starts_with(&DER_PREFIX) || der[DER_PREFIX.len()] != 4 {
            return Err(PublicKeyError::Encoding);
        }
        let key = UnparsedPublicKey::new(&agreement::ECDH_P256, &der);
        ParsedPublicKey::try_from(key).map_err(|_| PublicKeyError::NotOnCurve)?;
        Ok(Self { der })
    }

    /// Takes the point of a key that the library generated.
    pub(super) fn from_point(point: &[u8]) -> Option<Self> {
        let point: [u8; POINT_BYTES] = point.try_into().ok()?;
        let mut der = [0; Self::DER_BYTES];
        der[..DER_PREFIX.len()].copy_from_slice(&DER_PREFIX);
        der[DER_PREFIX.len()..].copy_from_slice(&point);
        Some(Self { der })
    }

    /// The SubjectPublicKeyInfo.
    #[must_use]
    pub fn as_der(&self) -> &[u8; Self::DER_BYTES] {
        &self.der
    }

    /// SHA-256 of [`Self::as_der`], for people to compare. Also printed by
    /// `openssl pkey -pubin -outform DER | sha256sum`.
    #[must_use]
    pub fn sha256(&self) -> [u8; 32] {
        let mut sha256 = [0; 32];
        sha256.copy_from_slice(digest(&SHA256, self.as_der()).as_ref());
        sha256
    }

    /// The key as a PEM block that ends with a new line.
    #[must_use]
    pub fn to_pem(&self) -> String {
        pem::encode(LABEL, &self.der).to_string()
    }
}

/// What a sender gives to the maker of a session: its public keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreementPublicKeys {
    /// The one on P-256.
    pub agreement: AgreementPublicKey,
    /// The one of ML-KEM-768, if there is one.
    pub encapsulation: Option<EncapsulationKey>,
}

impl AgreementPublicKeys {
    /// Reads one or two PEM blocks `PUBLIC KEY`, the key on P-256 first.
    ///
    /// # Errors
    /// A [`PublicKeyError`] that says which of the keys is at fault.
    pub fn from_pem(text: &str) -> Result<Self, PublicKeyError> {
        let (first, second) = pem::first_block(text);
        let agreement = AgreementPublicKey::from_pem(first)?;
        let encapsulation = (!second.is_empty()).then(|| EncapsulationKey::from_pem(second));
        Ok(Self { agreement, encapsulation: encapsulation.transpose()? })
    }

    /// The keys as PEM blocks, each of which ends with a new line.
    #[must_use]
    pub fn to_pem(&self) -> String {
        let second = self.encapsulation.as_ref().map(EncapsulationKey::to_pem);
        self.agreement.to_pem() + &second.unwrap_or_default()
    }
}

/// Names the curve of a valid key on another curve than P-256.
fn other_curve(der: &[u8]) -> Option<&'static str> {
    let curves = [
        (&agreement::ECDH_P384, "P-384"),
        (&agreement::ECDH_P521, "P-521"),
        (&agreement::X25519, "X25519"),
    ];
    let parses = |algorithm| ParsedPublicKey::try_from(UnparsedPublicKey::new(algorithm, der));
    // A bare point is not a SubjectPublicKeyInfo: only that form names a curve.
    let is = |key: ParsedPublicKey| key.format() == agreement::ParsedPublicKeyFormat::X509;
    curves.into_iter().find(|(algorithm, _)| parses(*algorithm).is_ok_and(is)).map(|found| found.1)
}

impl fmt::Debug for AgreementPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementPublicKey({})", hex::encode(&self.der[DER_PREFIX.len()..]))
    }
}

/// Why a text or bytes are no public agreement key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublicKeyError {
    /// The PEM text is at fault.
    #[error(transparent)]
    Pem(#[from] PemError),
    /// A key on another curve.
    #[error("the key is on {curve}, an agreement key is on P-256")]
    Curve {
        /// The curve.
        curve: &'static str,
    },
    /// No elliptic curve key, or not its usual encoding.
    #[error(
        "this is not the usual encoding of a P-256 public key (named curve, uncompressed point)"
    )]
    Encoding,
    /// Two numbers that are no point of the curve.
    #[error("the key's point does not lie on P-256")]
    NotOnCurve,
    /// No key of ML-KEM-768, where one belongs.
    #[error("this is no public key of ML-KEM-768")]
    MlKem,
}
