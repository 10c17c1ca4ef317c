//! AES-256 on counter blocks by the crate `aes`.

use aes::Aes256Enc;
use aes::cipher::array::Array;
use aes::cipher::consts::U16;
use aes::cipher::{
    BlockCipherEncBackend, BlockCipherEncClosure, BlockCipherEncrypt, BlockSizeUser, ParBlocks,
};

use super::counters::{BLOCK_BYTES, counter_block, write_counters};

/// Writes the cipher of `first`, `first + 1` and so on.
pub(super) fn encrypt_counters(cipher: &Aes256Enc, first: u64, blocks: &mut [[u8; BLOCK_BYTES]]) {
    let blocks = Array::cast_slice_from_core_mut(blocks);
    cipher.encrypt_with_backend(EncryptCounters { first, blocks });
}

/// Does so with the blocks that the cipher takes at once.
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
}
