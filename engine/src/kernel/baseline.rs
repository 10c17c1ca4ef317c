//! The arithmetic for every CPU, in the vectors of `wide`: SSE2 on x86-64, NEON on AArch64.
//!
//! The types say which vectors multiply and add, whether or not LLVM would find them in a loop.
//! AVX2 and AVX-512 keep their `loops`: `wide` fixes the width of its vectors when it is compiled,
//! here at 128 bits.
//!
//! Measured on a 2-core AMD EPYC (Zen 3: AVX2, no AVX-512) on one core, in GB/s of share data,
//! against the code of `loops` compiled for SSE2 in the same run. Weight and blind: 15.7 against
//! 13.8 at 3 KiB, 16.1 against 13.8 at a row of 76,800 bytes. Sum: 36.4 against 34.5 and 32.7
//! against 29.1. Inlined into another crate, those loops fall to 3.3. An element rotated by shifts
//! of lanes of 64 bits makes 14.4; `std::array::from_fn` in place of [`Baseline::weight`] makes 4.4
//! when the crate is compiled in 16 units. Run the benches `kernel/*` after any change here.

use wide::u16x16;

use crate::kernel::arithmetic::{Arithmetic, Strip, sum_in_loop};

/// The diagonals of a weight in vectors.
///
/// Let `R` rotate an element by one coefficient, and `D_d` be the diagonals. Then
/// `w * s = D_0 s + D_1 R(s) + D_2 R^2(s) + D_3 R^3(s)`, lane by lane. Rotating a product of lanes
/// rotates its factors, and `R^4 = 1`, so two rotations are enough:
/// `w * s = D_0 s + D_1 R(s) + R^2(R^2(D_2) s + R^2(D_3) R(s))`.
pub(super) struct Baseline {
    /// `D_0` and `D_1`.
    low: [u16x16; 2],
    /// `R^2(D_2)` and `R^2(D_3)`.
    high: [u16x16; 2],
}

impl Arithmetic for Baseline {
    #[inline(always)]
    fn new(diagonals: &[[u16; 4]; 4]) -> Self {
        let widen = |d: usize| u16x16::new(std::array::from_fn(|lane| diagonals[d][lane % 4]));
        Self { low: [widen(0), widen(1)], high: [rotate::<2>(widen(2)), rotate::<2>(widen(3))] }
    }

    #[inline(always)]
    fn blind<const ADD: bool>(&self, shares: Strip, keys: &Strip) -> Strip {
        let [first, second]: [u16x16; 2] = bytemuck::cast(shares);
        let [first, second] = [self.weight(first), self.weight(second)];
        let keys: [u16x16; 2] = bytemuck::cast(*keys);
        bytemuck::cast(if ADD {
            [first + keys[0], second + keys[1]]
        } else {
            [first - keys[0], second - keys[1]]
        })
    }

    #[inline(always)]
    fn sum(sums: &mut [u16], first: &[u16], second: &[u16]) {
        let (sums, sums_tail) = sums.as_chunks_mut();
        let (first, first_tail) = first.as_chunks();
        let (second, second_tail) = second.as_chunks();
        for ((sums, first), second) in sums.iter_mut().zip(first).zip(second) {
            *sums = (u16x16::new(*first) + u16x16::new(*second)).to_array();
        }
        sum_in_loop(sums_tail, first_tail, second_tail);
    }
}

impl Baseline {
    /// Multiplies every element of a vector by the weight.
    #[inline(always)]
    fn weight(&self, shares: u16x16) -> u16x16 {
        let rotated = rotate::<1>(shares);
        let low = self.low[0] * shares + self.low[1] * rotated;
        let high = self.high[0] * shares + self.high[1] * rotated;
        low + rotate::<2>(high)
    }
}

/// Rotates every element by `D` coefficients: lane `j` gets coefficient `j - D mod 4`.
#[inline(always)]
fn rotate<const D: usize>(lanes: u16x16) -> u16x16 {
    let lanes = lanes.to_array();
    u16x16::new(std::array::from_fn(|lane| lanes[lane & !3 | lane.wrapping_sub(D) & 3]))
}
