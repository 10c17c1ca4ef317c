//! ML-KEM-768 from its seed.
//!
//! ML-KEM is AWS-LC's, which is verified formally and takes the same time for any secret. AWS-LC
//! has no way in for a seed, so the crate `ml-kem` expands that, once for a key; nothing that an
//! attacker sends reaches it.
//!
//! # Source
//! NIST FIPS 203, section 7.1.

use aws_lc_rs::kem::{DecapsulationKey, ML_KEM_768};
use ml_kem::{EncodedSizeUser, KemCore, MlKem768};
use zeroize::Zeroize;

/// Bytes of a public key.
pub(super) const PUBLIC_BYTES: usize = 1184;
/// Bytes of a ciphertext.
pub(super) const CIPHERTEXT_BYTES: usize = 1088;
/// Bytes of the two seeds, `d` and `z`.
pub(super) const SEED_BYTES: usize = 64;
/// Bytes of a secret.
pub(super) const SECRET_BYTES: usize = 32;

/// Expands the seeds into AWS-LC's private key and the public one. `None` when AWS-LC fails; any
/// seed is one.
pub(super) fn expand(seed: &[u8; SEED_BYTES]) -> Option<(DecapsulationKey, [u8; PUBLIC_BYTES])> {
    let (d, z) = seed.split_at(SEED_BYTES / 2);
    let [mut d, mut z] = [d, z].map(|half| {
        let mut array = ml_kem::B32::default();
        array.copy_from_slice(half);
        array
    });
    let (private, public) = MlKem768::generate_deterministic(&d, &z);
    d.as_mut_slice().zeroize();
    z.as_mut_slice().zeroize();
    let mut bytes = private.as_bytes();
    let key = DecapsulationKey::new(&ML_KEM_768, &bytes);
    bytes.as_mut_slice().zeroize();
    Some((key.ok()?, public.as_bytes().as_slice().try_into().ok()?))
}
