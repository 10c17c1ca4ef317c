//! The arithmetic for AVX2 and AVX-512: plain loops over a strip, inlined into functions whose
//! target features say which vectors LLVM may use.
//!
//! Measured on one core of a Zen 5 at 3 KiB, in GiB/s of share data (AVX2 / AVX-512): this code
//! 35 / 66. Lanes of 64 bits are rotated where there is an instruction for it: by shuffles AVX-512
//! makes 40 when the crate is one unit, and without the instruction LLVM rotates in scalar
//! registers (11 GB/s). Strips of 64 lanes reach 27 / 2 and of 256 lanes 7 / 16 (no longer unrolled
//! into registers); one element at a time 7 / 17. Run the benches `kernel/*` after any change here:
//! LLVM's code for these loops is fragile.

use crate::kernel::arithmetic::{Arithmetic, Strip, sum_in_loop};

/// One AVX-512 vector of `u16`. Fully unrolled, a rotation becomes one shuffle for each vector.
const LANES: usize = size_of::<Strip>() / size_of::<u16>();

/// Loops over the lanes of a strip. `ROTATES`: whether the backend has an instruction that rotates
/// lanes of 64 bits.
pub(super) struct Loops<const ROTATES: bool> {
    diagonals: [Strip; 4],
}

impl<const ROTATES: bool> Arithmetic for Loops<ROTATES> {
    #[inline(always)]
    fn new(diagonals: &[[u16; 4]; 4]) -> Self {
        let diagonals = std::array::from_fn(|d| std::array::from_fn(|lane| diagonals[d][lane % 4]));
        Self { diagonals }
    }

    #[inline(always)]
    fn blind<const ADD: bool>(&self, shares: Strip, keys: &Strip) -> Strip {
        let rotated = if ROTATES {
            [shares, rotate_u64::<1>(shares), rotate_u64::<2>(shares), rotate_u64::<3>(shares)]
        } else {
            [shares, rotate::<1>(&shares), rotate::<2>(&shares), rotate::<3>(&shares)]
        };
        let mut blinded = [0; LANES];
        for lane in 0..LANES {
            let product = |d: usize| self.diagonals[d][lane].wrapping_mul(rotated[d][lane]);
            let even = product(0).wrapping_add(product(2));
            let odd = product(1).wrapping_add(product(3));
            let weighted = even.wrapping_add(odd);
            blinded[lane] = if ADD {
                weighted.wrapping_add(keys[lane])
            } else {
                weighted.wrapping_sub(keys[lane])
            };
        }
        blinded
    }

    #[inline(always)]
    fn sum(sums: &mut [u16], first: &[u16], second: &[u16]) {
        sum_in_loop(sums, first, second);
    }
}

/// Rotates every element by `D` coefficients: lane `j` gets coefficient `j - D mod 4`.
#[inline(always)]
fn rotate<const D: usize>(lanes: &Strip) -> Strip {
    let mut rotated = [0; LANES];
    for lane in 0..LANES {
        rotated[lane] = lanes[(lane & !3) | (lane.wrapping_sub(D) & 3)];
    }
    rotated
}

/// The same on lanes of 64 bits.
#[inline(always)]
fn rotate_u64<const D: u32>(mut lanes: Strip) -> Strip {
    for element in lanes.as_chunks_mut::<4>().0 {
        let lane = u64::from_le_bytes(bytemuck::cast(element.map(u16::to_le)));
        let rotated: [u16; 4] = bytemuck::cast(lane.rotate_left(16 * D).to_le_bytes());
        *element = rotated.map(u16::from_le);
    }
    lanes
}
