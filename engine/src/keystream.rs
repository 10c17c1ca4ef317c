//! The keystream of a row: AES-256-CTR under the row key.

use std::fmt;

use zeroize::Zeroize;

use crate::cipher::{BLOCK_BYTES, Cipher, KeyedCipher};

/// Words of a block of the cipher.
const BLOCK_WORDS: usize = BLOCK_BYTES / 2;

/// AES-256 in counter mode from an all-zero counter block, read as little-endian `u16`.
///
/// # Secrecy
/// The state is wiped when dropped. Copies that the cipher, or a move of this value, leaves on the
/// stack are not. A key is used for one row of one content.
///
/// # Source
/// NIST SP 800-38A section 6.5.
pub struct Keystream {
    cipher: KeyedCipher,
    /// The counter of the next block. A row has at most 2^21 blocks.
    next: u64,
    /// The last block that was made. Its last `unused` words are not written yet.
    block: [u16; BLOCK_WORDS],
    unused: usize,
}

impl Keystream {
    /// Starts at the first byte, with the fastest cipher.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self::with_cipher(key, Cipher::detect())
    }

    /// Starts at the first byte.
    #[must_use]
    pub fn with_cipher(key: &[u8; 32], cipher: Cipher) -> Self {
        let cipher = KeyedCipher::new(cipher, key);
        Self { cipher, next: 0, block: [0; BLOCK_WORDS], unused: 0 }
    }

    /// Writes the next `out.len()` words of the keystream, `u16` read as little-endian from its
    /// bytes. The next call continues after them: many calls give what one would.
    pub fn fill(&mut self, out: &mut [u16]) {
        let (begun, out) = out.split_at_mut(self.unused.min(out.len()));
        begun.copy_from_slice(&self.block[BLOCK_WORDS - self.unused..][..begun.len()]);
        self.unused -= begun.len();
        let (blocks, rest) = out.as_chunks_mut::<BLOCK_WORDS>();
        self.next_blocks(bytemuck::cast_slice_mut(blocks));
        if !rest.is_empty() {
            let mut block = [[0; BLOCK_BYTES]];
            self.next_blocks(&mut block);
            self.block = bytemuck::cast(block);
            block.zeroize();
            rest.copy_from_slice(&self.block[..rest.len()]);
            self.unused = BLOCK_WORDS - rest.len();
        }
    }

    fn next_blocks(&mut self, blocks: &mut [[u8; BLOCK_BYTES]]) {
        let first = self.next;
        self.next += blocks.len() as u64;
        self.cipher.encrypt_counters(first, blocks);
    }
}

impl Drop for Keystream {
    /// The cipher wipes its keys itself.
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream(..)")
    }
}

#[cfg(test)]
mod tests {
    use aes::Aes256Enc;
    use aes::cipher::{BlockCipherEncrypt, KeyInit};

    use crate::cipher::CipherBackend;
    use crate::cipher::tests::KEY;

    use super::*;

    #[test]
    fn block_n_is_the_cipher_of_n_as_a_128_bit_big_endian_counter() {
        let reference = Aes256Enc::new(&KEY.into());
        let mut words = vec![0_u16; 8 * 300];
        Keystream::new(&KEY).fill(&mut words);
        for (n, block) in words.chunks(8).enumerate() {
            let mut expected = (n as u128).to_be_bytes().into();
            reference.encrypt_block(&mut expected);
            let bytes: Vec<u8> = block.iter().flat_map(|word| word.to_le_bytes()).collect();
            assert_eq!(bytes[..], expected[..], "block {n}");
        }
    }

    #[test]
    fn pieces_of_any_length_run_on() {
        let mut whole = [0; 1000];
        Keystream::new(&KEY).fill(&mut whole);
        for backend in CipherBackend::available() {
            let cipher = Cipher::new(backend).expect("it is available");
            for piece in [1, 3, 4, 12, 100, 999, 1000] {
                let mut pieces = [0; 1000];
                let mut stream = Keystream::with_cipher(&KEY, cipher);
                pieces.chunks_mut(piece).for_each(|out| stream.fill(out));
                assert_eq!(pieces, whole, "pieces of {piece}, {backend}");
            }
        }
    }
}
