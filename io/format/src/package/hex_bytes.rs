//! Bytes as manifests and receipts write them: in lower-case hexadecimal digits.

use reshare_engine::fingerprint::Fingerprint;
use serde::{Deserialize, Deserializer, Serializer, de};

/// A value that is written as `2 * N` digits.
pub(crate) trait HexBytes<const N: usize>: Sized {
    fn to_bytes(&self) -> [u8; N];
    fn from_bytes(bytes: [u8; N]) -> Self;
}

impl<const N: usize> HexBytes<N> for [u8; N] {
    fn to_bytes(&self) -> [u8; N] {
        *self
    }

    fn from_bytes(bytes: [u8; N]) -> Self {
        bytes
    }
}

impl HexBytes<32> for blake3::Hash {
    fn to_bytes(&self) -> [u8; 32] {
        *self.as_bytes()
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self::from_bytes(bytes)
    }
}

impl HexBytes<32> for Fingerprint {
    fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

pub(crate) fn serialize<const N: usize, T: HexBytes<N>, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex::encode(value.to_bytes()))
}

/// Accepts exactly the digits that [`serialize`] writes: no upper case, no other length.
pub(crate) fn deserialize<'de, const N: usize, T: HexBytes<N>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    if !lower || hex::decode_to_slice(&text, &mut bytes).is_err() {
        return Err(de::Error::custom(format_args!("{} lower-case hex digits expected", 2 * N)));
    }
    Ok(T::from_bytes(bytes))
}
