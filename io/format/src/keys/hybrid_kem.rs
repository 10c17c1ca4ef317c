//! The key encapsulation of hybrid recipients: ML-KEM-768 and X25519 in one.
//!
//! The secret is `SHA3-256(ML-KEM secret || X25519 secret || X25519 share || X25519 key || label)`:
//! it stays secret while either of the two does. A private key is a seed of 32 bytes.
//!
//! ML-KEM, X25519 and SHA-3 are AWS-LC's.
//!
//! # Source
//! <https://datatracker.ietf.org/doc/draft-connolly-cfrg-xwing-kem/>, X-Wing;
//! <https://datatracker.ietf.org/doc/draft-ietf-hpke-pq/>, *MLKEM768-X25519* and `DeriveKeyPair`.

use std::fmt;
use std::sync::Arc;

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{self, SHA3_256};
use aws_lc_rs::kem::{Ciphertext, DecapsulationKey, EncapsulationKey, ML_KEM_768};
use hpke::generic_array::typenum::{Sum, U32, U96, U192, U1024};
use hpke::kem::{Kem, SharedSecret};
use hpke::rand_core::{CryptoRng, RngCore};
use hpke::{Deserializable, HpkeError, Serializable};
use sha3::Shake256;
use sha3::digest::{ExtendableOutput, Update, XofReader};
use zeroize::Zeroizing;

use super::ml_kem;

/// Bytes of a private key.
pub(super) const SEED_BYTES: usize = 32;
/// Bytes of a public key: ML-KEM's, then X25519's.
pub(super) const PUBLIC_BYTES: usize = ML_KEM_PUBLIC_BYTES + POINT_BYTES;
/// Bytes of an encapsulated key: ML-KEM's ciphertext, then an X25519 share.
pub(super) const ENCAPPED_BYTES: usize = ML_KEM_CIPHERTEXT_BYTES + POINT_BYTES;

const ML_KEM_PUBLIC_BYTES: usize = ml_kem::PUBLIC_BYTES;
const ML_KEM_CIPHERTEXT_BYTES: usize = ml_kem::CIPHERTEXT_BYTES;
const POINT_BYTES: usize = 32;

/// What ends the input of the hash.
const LABEL: &[u8; 6] = br"\.//^\";

/// MLKEM768-X25519, also called X-Wing.
pub(super) struct HybridKem;

/// A public key, of which only the length was checked.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PublicKey(Box<[u8; PUBLIC_BYTES]>);

impl PublicKey {
    pub(super) fn bytes(&self) -> &[u8; PUBLIC_BYTES] {
        &self.0
    }

    fn ml_kem(&self) -> &[u8] {
        &self.0[..ML_KEM_PUBLIC_BYTES]
    }

    fn point(&self) -> &[u8] {
        &self.0[ML_KEM_PUBLIC_BYTES..]
    }

    /// Whether anyone can encapsulate for the key, and what is wrong with it otherwise.
    pub(super) fn check(&self) -> Result<(), PublicKeyDefect> {
        let made = EncapsulationKey::new(&ML_KEM_768, self.ml_kem()).ok();
        if made.and_then(|key| key.encapsulate().ok()).is_none() {
            return Err(PublicKeyDefect::MlKem);
        }
        let own = agreement::PrivateKey::generate(&X25519);
        let point = own.ok().and_then(|own| agree(&own, self.point()));
        point.map(drop).ok_or(PublicKeyDefect::SmallOrder)
    }
}

/// What is wrong with a public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PublicKeyDefect {
    /// A coefficient is not below the modulus.
    MlKem,
    /// Every X25519 secret with this key is zero.
    SmallOrder,
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublicKey(..)")
    }
}

impl Serializable for PublicKey {
    type OutputSize = Sum<U1024, U192>;

    fn write_exact(&self, buf: &mut [u8]) {
        buf.copy_from_slice(&*self.0);
    }
}

impl Deserializable for PublicKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        Ok(Self(exactly(encoded)?))
    }
}

/// An encapsulated key, of which only the length was checked.
#[derive(Clone)]
pub(super) struct EncappedKey(Box<[u8; ENCAPPED_BYTES]>);

impl EncappedKey {
    fn ciphertext(&self) -> &[u8] {
        &self.0[..ML_KEM_CIPHERTEXT_BYTES]
    }

    fn share(&self) -> &[u8] {
        &self.0[ML_KEM_CIPHERTEXT_BYTES..]
    }
}

impl Serializable for EncappedKey {
    type OutputSize = Sum<U1024, U96>;

    fn write_exact(&self, buf: &mut [u8]) {
        buf.copy_from_slice(&*self.0);
    }
}

impl Deserializable for EncappedKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        Ok(Self(exactly(encoded)?))
    }
}

fn exactly<const N: usize>(encoded: &[u8]) -> Result<Box<[u8; N]>, HpkeError> {
    let got = encoded.len();
    Box::try_from(Box::<[u8]>::from(encoded)).map_err(|_| HpkeError::IncorrectInputLength(N, got))
}

/// A private key.
///
/// # Secrecy
/// The seed and what follows from it are wiped when the last copy is dropped.
#[derive(Clone)]
pub(super) struct PrivateKey(Arc<Expanded>);

/// A seed, and the keys that follow from it.
struct Expanded {
    seed: Zeroizing<[u8; SEED_BYTES]>,
    ml_kem: DecapsulationKey,
    x25519: agreement::PrivateKey,
    public: PublicKey,
}

impl PrivateKey {
    /// Expands a seed.
    ///
    /// # Errors
    /// When AWS-LC fails; any seed is one.
    pub(super) fn new(seed: Zeroizing<[u8; SEED_BYTES]>) -> Result<Self, HpkeError> {
        let mut xof = Shake256::default().chain(seed.as_slice()).finalize_xof();
        let mut ml_kem_seed = Zeroizing::new([0; ml_kem::SEED_BYTES]);
        let mut scalar = Zeroizing::new([0; POINT_BYTES]);
        xof.read(&mut *ml_kem_seed);
        xof.read(&mut *scalar);
        let expanded = ml_kem::expand(&ml_kem_seed).ok_or(HpkeError::ValidationError)?;
        let (ml_kem, ml_kem_public) = expanded;
        let x25519 = agreement::PrivateKey::from_private_key(&X25519, &*scalar);
        let x25519 = x25519.map_err(|_| HpkeError::ValidationError)?;
        let point = x25519.compute_public_key().map_err(|_| HpkeError::ValidationError)?;
        let public = PublicKey(exactly(&[&ml_kem_public[..], point.as_ref()].concat())?);
        Ok(Self(Arc::new(Expanded { seed, ml_kem, x25519, public })))
    }

    pub(super) fn seed(&self) -> &[u8; SEED_BYTES] {
        &self.0.seed
    }
}

impl PartialEq for PrivateKey {
    fn eq(&self, other: &Self) -> bool {
        verify_slices_are_equal(self.seed(), other.seed()).is_ok()
    }
}

impl Eq for PrivateKey {}

impl Serializable for PrivateKey {
    type OutputSize = U32;

    fn write_exact(&self, buf: &mut [u8]) {
        buf.copy_from_slice(self.seed());
    }
}

impl Deserializable for PrivateKey {
    fn from_bytes(encoded: &[u8]) -> Result<Self, HpkeError> {
        let seed = <[u8; SEED_BYTES]>::try_from(encoded).map(Zeroizing::new);
        Self::new(seed.map_err(|_| HpkeError::IncorrectInputLength(SEED_BYTES, encoded.len()))?)
    }
}

impl Kem for HybridKem {
    type PublicKey = PublicKey;
    type PrivateKey = PrivateKey;
    type EncappedKey = EncappedKey;
    type NSecret = U32;

    const KEM_ID: u16 = 0x647a;

    fn sk_to_pk(private: &PrivateKey) -> PublicKey {
        private.0.public.clone()
    }

    /// `SHAKE256(ikm || "HPKE-v1" || "KEM" || id || label || length)`, 32 bytes: the seed.
    fn derive_keypair(ikm: &[u8]) -> (PrivateKey, PublicKey) {
        const PURPOSE: &[u8; 13] = b"DeriveKeyPair";
        let mut seed = Zeroizing::new([0; SEED_BYTES]);
        Shake256::default()
            .chain(ikm)
            .chain(b"HPKE-v1KEM")
            .chain(Self::KEM_ID.to_be_bytes())
            .chain((PURPOSE.len() as u16).to_be_bytes())
            .chain(PURPOSE)
            .chain((SEED_BYTES as u16).to_be_bytes())
            .finalize_xof_into(&mut *seed);
        let private = PrivateKey::new(seed).expect("AWS-LC takes any seed that is expanded");
        let public = Self::sk_to_pk(&private);
        (private, public)
    }

    fn decap(
        private: &PrivateKey,
        sender: Option<&PublicKey>,
        encapped: &EncappedKey,
    ) -> Result<SharedSecret<Self>, HpkeError> {
        let Expanded { ml_kem, x25519, public, .. } = &*private.0;
        // A wrong ciphertext gives a secret that nobody knows: FIPS 203 section 6.3.
        let secret = ml_kem.decapsulate(Ciphertext::from(encapped.ciphertext()));
        let (Ok(secret), None) = (secret, sender) else { return Err(HpkeError::DecapError) };
        let point = agree(x25519, encapped.share()).ok_or(HpkeError::DecapError)?;
        Ok(combine(secret.as_ref(), &*point, encapped.share(), public.point()))
    }

    /// The random numbers are AWS-LC's own.
    fn encap<R: CryptoRng + RngCore>(
        public: &PublicKey,
        sender: Option<(&PrivateKey, &PublicKey)>,
        _: &mut R,
    ) -> Result<(SharedSecret<Self>, EncappedKey), HpkeError> {
        encapsulate(public).filter(|_| sender.is_none()).ok_or(HpkeError::EncapError)
    }
}

/// Encapsulates a new secret. `None` for a key that [`PublicKey::check`] refuses.
fn encapsulate(public: &PublicKey) -> Option<(SharedSecret<HybridKem>, EncappedKey)> {
    let ml_kem = EncapsulationKey::new(&ML_KEM_768, public.ml_kem()).ok()?;
    let (ciphertext, secret) = ml_kem.encapsulate().ok()?;
    let own = agreement::PrivateKey::generate(&X25519).ok()?;
    let share = own.compute_public_key().ok()?;
    let point = agree(&own, public.point())?;
    let secret = combine(secret.as_ref(), &*point, share.as_ref(), public.point());
    let encapped = exactly(&[ciphertext.as_ref(), share.as_ref()].concat()).ok()?;
    Some((secret, EncappedKey(encapped)))
}

/// The X25519 secret; `None` where it is zero, as for a point of small order.
///
/// # Source
/// RFC 7748, section 6.1.
fn agree(own: &agreement::PrivateKey, point: &[u8]) -> Option<Zeroizing<[u8; POINT_BYTES]>> {
    let peer = UnparsedPublicKey::new(&X25519, point);
    let agreed = agreement::agree(own, peer, (), |secret| {
        secret.try_into().map(Zeroizing::new).map_err(|_| ())
    });
    agreed.ok()
}

fn combine(ml_kem: &[u8], x25519: &[u8], share: &[u8], point: &[u8]) -> SharedSecret<HybridKem> {
    let mut hash = digest::Context::new(&SHA3_256);
    [ml_kem, x25519, share, point, LABEL].iter().for_each(|piece| hash.update(piece));
    let mut secret = SharedSecret::default();
    secret.0.copy_from_slice(hash.finish().as_ref());
    secret
}
