//! The keystream of a row: AES-256-CTR under the row key.

use std::fmt;

use aes::Aes256;
use ctr::Ctr64BE;
use ctr::cipher::{KeyIvInit, StreamCipher};

/// AES-256 in counter mode from an all-zero counter block, read as little-endian `u16`.
///
/// A counter of 64 bits gives the same bytes as one of 128: it would take 2^64 blocks to see
/// the difference, a row has at most 2^21. It is the type for which the cipher keeps whole
/// vectors of counters (16 against 9 GB/s on one core).
///
/// # Secrecy
/// The state is wiped when dropped. A key is used for one row of one content.
///
/// # Source
/// NIST SP 800-38A section 6.5.
pub struct Keystream(Ctr64BE<Aes256>);

impl Keystream {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Ctr64BE::<Aes256>::new(key.into(), &[0; 16].into()))
    }

    /// Writes the next `out.len()` words and goes on behind them.
    pub fn fill(&mut self, out: &mut [u16]) {
        self.0.write_keystream(bytemuck::cast_slice_mut::<u16, u8>(out));
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream(..)")
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::BlockCipherEncrypt;
    use ctr::cipher::KeyInit;

    use super::*;

    /// Key and first counter block of NIST SP 800-38A, F.5.5 (CTR-AES256.Encrypt).
    const KEY: [u8; 32] = [
        0x60, 0x3d, 0xeb, 0x10, 0x15, 0xca, 0x71, 0xbe, 0x2b, 0x73, 0xae, 0xf0, 0x85, 0x7d, 0x77,
        0x81, 0x1f, 0x35, 0x2c, 0x07, 0x3b, 0x61, 0x08, 0xd7, 0x2d, 0x98, 0x10, 0xa3, 0x09, 0x14,
        0xdf, 0xf4,
    ];

    /// The counter blocks F.5.5 starts from, and its first two output blocks.
    const COUNTER: [u8; 16] = [
        0xf0, 0xf1, 0xf2, 0xf3, 0xf4, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe,
        0xff,
    ];
    const OUTPUT: [u8; 32] = [
        0x0b, 0xdf, 0x7d, 0xf1, 0x59, 0x17, 0x16, 0x33, 0x5e, 0x9a, 0x8b, 0x15, 0xc8, 0x60, 0xc5,
        0x02, 0x5a, 0x6e, 0x69, 0x9d, 0x53, 0x61, 0x19, 0x06, 0x54, 0x33, 0x86, 0x3c, 0x8f, 0x65,
        0x7b, 0x94,
    ];

    #[test]
    fn the_cipher_gives_the_output_blocks_of_sp_800_38a() {
        let mut stream = Ctr64BE::<Aes256>::new(&KEY.into(), &COUNTER.into());
        let mut out = [0; 32];
        stream.write_keystream(&mut out);
        assert_eq!(out, OUTPUT);
    }

    #[test]
    fn block_n_is_the_cipher_of_n_as_a_128_bit_big_endian_counter() {
        let cipher = Aes256::new(&KEY.into());
        let mut words = vec![0_u16; 8 * 300];
        Keystream::new(&KEY).fill(&mut words);
        for (n, block) in words.chunks(8).enumerate() {
            let mut expected = (n as u128).to_be_bytes().into();
            cipher.encrypt_block(&mut expected);
            let bytes: Vec<u8> = block.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(bytes[..], expected[..], "block {n}");
        }
    }

    #[test]
    fn pieces_of_any_length_run_on() {
        let mut whole = [0; 1000];
        Keystream::new(&KEY).fill(&mut whole);
        for piece in [1, 3, 4, 12, 100, 999] {
            let mut pieces = [0; 1000];
            let mut stream = Keystream::new(&KEY);
            pieces.chunks_mut(piece).for_each(|out| stream.fill(out));
            assert_eq!(pieces, whole, "pieces of {piece}");
        }
    }
}
