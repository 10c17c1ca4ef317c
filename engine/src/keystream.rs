//! The keystream of a row: AES-256-CTR under the row key.

use std::fmt;

use aes::Aes256Enc;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, KeyInit,
    ParBlocks,
};
use zeroize::Zeroize;

use crate::counters::{BLOCK_BYTES, counter_block, write_counters};

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
    cipher: Aes256Enc,
    /// The counter of the next block. A row has at most 2^21 blocks.
    next: u64,
    /// The last block that was made. Its last `unused` words are not written yet.
    block: [u16; BLOCK_WORDS],
    unused: usize,
}

impl Keystream {
    /// Starts at the first byte.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self { cipher: Aes256Enc::new(key.into()), next: 0, block: [0; BLOCK_WORDS], unused: 0 }
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
        let blocks = Array::cast_slice_from_core_mut(blocks);
        self.cipher.encrypt_with_backend(EncryptCounters { first, blocks });
    }
}

impl Drop for Keystream {
    /// The cipher wipes its keys itself.
    fn drop(&mut self) {
        self.block.zeroize();
    }
}

/// Writes the cipher of `first`, `first + 1` and so on.
struct EncryptCounters<'a> {
    first: u64,
    blocks: &'a mut [Array<u8, U16>],
}

impl BlockSizeUser for EncryptCounters<'_> {
    type BlockSize = U16;
}

impl BlockCipherEncClosure for EncryptCounters<'_> {
    /// Compiled for the vectors of each kind of cipher that a CPU may have.
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = U16>>(self, cipher: &B) {
        let mut next = self.first;
        let (wide, rest) = ParBlocks::<B>::slice_as_chunks_mut(self.blocks);
        for blocks in wide {
            let mut counters = ParBlocks::<B>::default();
            write_counters(next, Array::cast_slice_to_core_mut(&mut counters));
            next += counters.len() as u64;
            cipher.encrypt_par_blocks((&counters, blocks).into());
        }
        for block in rest {
            let counter = counter_block(next).into();
            next += 1;
            cipher.encrypt_block((&counter, block).into());
        }
    }
}

impl fmt::Debug for Keystream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keystream(..)")
    }
}

#[cfg(test)]
mod tests {
    use aes::cipher::array::ArraySize;
    use aes::cipher::consts::{U1, U2, U4, U8, U9, U30, U64};
    use aes::cipher::inout::InOut;
    use aes::cipher::{Block, ParBlocksSizeUser};

    use super::*;

    /// A cipher that changes nothing, and takes `N` blocks at once.
    struct Identity<N>(std::marker::PhantomData<N>);

    impl<N> BlockSizeUser for Identity<N> {
        type BlockSize = U16;
    }

    impl<N: ArraySize> ParBlocksSizeUser for Identity<N> {
        type ParBlocksSize = N;
    }

    impl<N: ArraySize> BlockCipherEncBackend for Identity<N> {
        fn encrypt_block(&self, mut block: InOut<'_, '_, Block<Self>>) {
            let counter = *block.get_in();
            *block.get_out() = counter;
        }
    }

    fn assert_counts<N: ArraySize>() {
        for first in [0, 1, 3, 4, 60, 250, 65_530, (1 << 32) - 9] {
            for count in [0, 1, 2, 3, 7, 8, 9, 29, 30, 31, 63, 64, 65, 200] {
                let mut blocks = vec![Array([7; BLOCK_BYTES]); count];
                let counters = EncryptCounters { first, blocks: &mut blocks };
                counters.call(&Identity::<N>(std::marker::PhantomData));
                let expected = (u128::from(first)..).map(|n| Array(n.to_be_bytes()));
                assert!(
                    blocks.iter().copied().eq(expected.take(count)),
                    "{count} from {first} on, {} at once",
                    N::USIZE
                );
            }
        }
    }

    #[test]
    fn counters_run_on_however_many_blocks_a_cipher_takes_at_once() {
        assert_counts::<U1>();
        assert_counts::<U2>();
        assert_counts::<U4>();
        assert_counts::<U8>();
        assert_counts::<U9>();
        assert_counts::<U30>();
        assert_counts::<U64>();
    }

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
        let cipher = Aes256Enc::new(&KEY.into());
        for (n, expected) in OUTPUT.chunks(BLOCK_BYTES).enumerate() {
            let mut block = (u128::from_be_bytes(COUNTER) + n as u128).to_be_bytes().into();
            cipher.encrypt_block(&mut block);
            assert_eq!(block[..], *expected, "block {n}");
        }
    }

    #[test]
    fn block_n_is_the_cipher_of_n_as_a_128_bit_big_endian_counter() {
        let cipher = Aes256Enc::new(&KEY.into());
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
