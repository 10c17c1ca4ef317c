//! The operations of a backend.

use crate::kernel::stream::Line;

/// The words of one cache line: eight ring elements.
pub(super) type Strip = [u16; Line::WORDS];

/// The arithmetic of one backend, laid out for one weight.
///
/// Every function of an implementation must be `#[inline(always)]`: only what is inlined into a
/// function with target features is compiled for them.
///
/// # Secrecy
/// No branch or index depends on a share, a key or a sum.
pub(super) trait Arithmetic: Sized + 'static {
    /// Lays out the diagonals of a [`Weighting`](crate::kernel::Weighting).
    fn new(diagonals: &[[u16; 4]; 4]) -> Self;

    /// Weights a strip and blinds it: `w * shares + keys`, or `w * shares - keys` unless `ADD`.
    fn blind<const ADD: bool>(&self, shares: Strip, keys: &Strip) -> Strip;

    /// Adds word by word: `sums[i] = first[i] + second[i]`. The lengths are equal.
    fn sum(sums: &mut [u16], first: &[u16], second: &[u16]);
}

/// Weights one element and blinds it. For the end of a slice, which fills no strip.
#[inline(always)]
pub(super) fn blind_element<const ADD: bool>(
    diagonals: &[[u16; 4]; 4],
    share: [u16; 4],
    key: &[u16; 4],
) -> [u16; 4] {
    std::array::from_fn(|j| {
        let product = |d: usize| diagonals[d][j].wrapping_mul(share[(4 + j - d) % 4]);
        let weighted = (0..4).map(product).fold(0, u16::wrapping_add);
        if ADD { weighted.wrapping_add(key[j]) } else { weighted.wrapping_sub(key[j]) }
    })
}

/// Adds word by word, in a loop that LLVM turns into vectors: `sums[i] = first[i] + second[i]`.
#[inline(always)]
pub(super) fn sum_in_loop(sums: &mut [u16], first: &[u16], second: &[u16]) {
    for ((sum, first), second) in sums.iter_mut().zip(first).zip(second) {
        *sum = first.wrapping_add(*second);
    }
}
