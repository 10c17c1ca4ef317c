//! The fast kernels: plain Rust over strips, to be inlined into functions whose target
//! features say which vectors LLVM may use.
//!
//! Measured on one core of a Zen 5 at 3 KiB, in GiB/s of share data (baseline / AVX2 / AVX-512):
//! this code 18 / 35 / 66. Lanes of 64 bits are rotated where there is an instruction for it: by
//! shuffles AVX-512 makes 40 when the crate is one unit, and without the instruction LLVM rotates
//! in scalar registers (11 GB/s). Strips of 64 lanes 2 / 27 / 2 and of 256 lanes 4 / 7 / 16 (no
//! longer unrolled into registers); one element at a time 4 / 7 / 17. Look at `kernel/*` in the
//! benches after any change here: what LLVM makes of it is fragile.

use crate::kernel::dispatch::Computation;
use crate::kernel::stream::{Line, Stream, prefetch};
use crate::kernel::{Kernels, Weighting};
use crate::keystream::Keystream;
use crate::ring::RingElement;
use crate::shamir::Sign;
use crate::tile::Tile;

/// One AVX-512 vector of `u16`. Unrolled whole, a rotation becomes one shuffle a vector.
const LANES: usize = Line::WORDS;

/// `blinded[i] = w * shares[i] +/- keystream[i]`; the lengths are equal.
pub(super) struct WeightAndBlind<'a> {
    pub(super) weighting: &'a Weighting,
    pub(super) blinded: &'a mut [RingElement],
    pub(super) shares: &'a [RingElement],
    pub(super) keystream: &'a [RingElement],
}

/// `shares[i] = w * shares[i] +/- keystream[i]`; the lengths are equal.
pub(super) struct WeightAndBlindInPlace<'a> {
    pub(super) weighting: &'a Weighting,
    pub(super) shares: &'a mut [RingElement],
    pub(super) keystream: &'a [RingElement],
}

/// `blinded[i] = w * shares[i] +/- r[i]` with `r` from the row's keystream, past the cache.
///
/// `blinded` has as many rows of one length as there are keystreams. There are at least as many
/// shares. What lies behind them is prefetched.
pub(super) struct BlindStreaming<'a, 'k> {
    pub(super) kernels: Kernels,
    pub(super) weighting: &'a Weighting,
    pub(super) blinded: &'a mut [RingElement],
    pub(super) shares: &'a [RingElement],
    pub(super) keystreams: &'k mut [Keystream],
}

/// `rebuilt[i] = first[i] + second[i]`; the lengths are equal.
pub(super) struct Merge<'a> {
    pub(super) rebuilt: &'a mut [u16],
    pub(super) first: &'a [u16],
    pub(super) second: &'a [u16],
}

impl Computation for WeightAndBlind<'_> {
    #[inline(always)]
    fn run<const ROTATES: bool>(self) {
        match self.weighting.sign {
            Sign::Add => self.with::<ROTATES>(u16::wrapping_add),
            Sign::Subtract => self.with::<ROTATES>(u16::wrapping_sub),
        }
    }
}

impl WeightAndBlind<'_> {
    #[inline(always)]
    fn with<const ROTATES: bool>(self, blind: impl Fn(u16, u16) -> u16) {
        let (blinded, blinded_tail) = words_mut(self.blinded).as_chunks_mut::<LANES>();
        let (shares, shares_tail) = words(self.shares).as_chunks::<LANES>();
        let (keys, keys_tail) = words(self.keystream).as_chunks::<LANES>();
        let diagonals = widen(&self.weighting.diagonals);
        for ((blinded, shares), keys) in blinded.iter_mut().zip(shares).zip(keys) {
            *blinded = blind_strip::<LANES, ROTATES>(&diagonals, *shares, keys, &blind);
        }
        let tail = blinded_tail.as_chunks_mut::<4>().0.iter_mut();
        let tail = tail.zip(shares_tail.as_chunks::<4>().0).zip(keys_tail.as_chunks::<4>().0);
        for ((blinded, shares), keys) in tail {
            *blinded = blind_strip::<4, false>(&self.weighting.diagonals, *shares, keys, &blind);
        }
    }
}

impl Computation for WeightAndBlindInPlace<'_> {
    #[inline(always)]
    fn run<const ROTATES: bool>(self) {
        match self.weighting.sign {
            Sign::Add => self.with::<ROTATES>(u16::wrapping_add),
            Sign::Subtract => self.with::<ROTATES>(u16::wrapping_sub),
        }
    }
}

impl WeightAndBlindInPlace<'_> {
    #[inline(always)]
    fn with<const ROTATES: bool>(self, blind: impl Fn(u16, u16) -> u16) {
        let (shares, shares_tail) = words_mut(self.shares).as_chunks_mut::<LANES>();
        let (keys, keys_tail) = words(self.keystream).as_chunks::<LANES>();
        let diagonals = widen(&self.weighting.diagonals);
        for (shares, keys) in shares.iter_mut().zip(keys) {
            *shares = blind_strip::<LANES, ROTATES>(&diagonals, *shares, keys, &blind);
        }
        let tail = shares_tail.as_chunks_mut::<4>().0.iter_mut();
        for (shares, keys) in tail.zip(keys_tail.as_chunks::<4>().0) {
            *shares = blind_strip::<4, false>(&self.weighting.diagonals, *shares, keys, &blind);
        }
    }
}

/// 1 KiB, what the widest cipher makes in one step: while it is at work, loads and stores of the
/// tile before it are still under way. 2 KiB cost 3 %.
const STREAM_TILE: usize = 128;

/// Ring elements of one line of the cache.
const LINE: usize = Line::WORDS / 4;

/// How far ahead shares are asked for: 4 KiB. Beyond the end of a row lies the next one.
const AHEAD: usize = 512;

impl Computation for BlindStreaming<'_, '_> {
    #[inline(always)]
    fn run<const ROTATES: bool>(self) {
        match self.weighting.sign {
            Sign::Add => self.with::<ROTATES>(u16::wrapping_add),
            Sign::Subtract => self.with::<ROTATES>(u16::wrapping_sub),
        }
    }
}

impl BlindStreaming<'_, '_> {
    #[inline(always)]
    fn with<const ROTATES: bool>(self, blind: impl Fn(u16, u16) -> u16) {
        let Self { kernels, weighting, blinded, shares, keystreams } = self;
        let elements = blinded.len() / keystreams.len();
        let mut rows = StreamedRows {
            diagonals: &weighting.diagonals,
            wide: widen(&weighting.diagonals),
            blind,
            tile: Tile::new(),
            stream: Stream::new(kernels),
        };
        let blinded = blinded.chunks_exact_mut(elements).enumerate();
        for ((row, blinded), keystream) in blinded.zip(keystreams) {
            rows.blind::<ROTATES>(blinded, &shares[row * elements..], keystream);
        }
    }
}

/// What is the same for all rows of one call.
struct StreamedRows<'a, B> {
    diagonals: &'a [[u16; 4]; 4],
    wide: [[u16; LANES]; 4],
    blind: B,
    tile: Tile<STREAM_TILE>,
    /// One for all: the fence at its end waits for every line that is still on its way.
    stream: Stream<'a>,
}

impl<'a, B: Fn(u16, u16) -> u16> StreamedRows<'a, B> {
    #[inline(always)]
    fn blind<const ROTATES: bool>(
        &mut self,
        blinded: &'a mut [RingElement],
        shares: &[RingElement],
        keystream: &mut Keystream,
    ) {
        let mut start = 0;
        let (head, lines, tail) = element_lines(words_mut(blinded));
        for head in head.chunks_mut(STREAM_TILE * 4) {
            self.elements(head, &shares[start..], keystream);
            start += head.len() / 4;
        }
        for lines in lines.chunks_mut(STREAM_TILE / LINE) {
            let ahead = (start + AHEAD).min(shares.len());
            prefetch(words(&shares[ahead..(ahead + STREAM_TILE).min(shares.len())]));
            let elements = lines.len() * LINE;
            let keys = words(self.tile.next(elements, keystream));
            let shares = words(&shares[start..][..elements]);
            let strips = shares.as_chunks().0.iter().zip(keys.as_chunks().0);
            for (line, (shares, keys)) in lines.iter_mut().zip(strips) {
                let strip = blind_strip::<LANES, ROTATES>(&self.wide, *shares, keys, &self.blind);
                self.stream.store(line, strip);
            }
            start += elements;
        }
        self.elements(tail, &shares[start..], keystream);
    }

    /// Blinds the few elements in front of the first whole line, or behind the last one.
    #[inline(always)]
    fn elements(&mut self, blinded: &mut [u16], shares: &[RingElement], keystream: &mut Keystream) {
        let blinded = blinded.as_chunks_mut::<4>().0;
        let keys = words(self.tile.next(blinded.len(), keystream));
        let pairs = words(shares).as_chunks::<4>().0.iter().zip(keys.as_chunks::<4>().0);
        for (blinded, (shares, keys)) in blinded.iter_mut().zip(pairs) {
            *blinded = blind_strip::<4, false>(self.diagonals, *shares, keys, &self.blind);
        }
    }
}

/// Cuts words into whole lines of the cache and what is in front of and behind them: all of it in
/// front where an element would lie across two lines.
#[inline(always)]
fn element_lines(blinded: &mut [u16]) -> (&mut [u16], &mut [Line], &mut [u16]) {
    if blinded.as_ptr().addr().is_multiple_of(size_of::<RingElement>()) {
        bytemuck::pod_align_to_mut(blinded)
    } else {
        (blinded, &mut [], &mut [])
    }
}

impl Computation for Merge<'_> {
    #[inline(always)]
    fn run<const ROTATES: bool>(self) {
        for ((rebuilt, first), second) in self.rebuilt.iter_mut().zip(self.first).zip(self.second) {
            *rebuilt = first.wrapping_add(*second);
        }
    }
}

#[inline(always)]
fn blind_strip<const N: usize, const ROTATES: bool>(
    diagonals: &[[u16; N]; 4],
    shares: [u16; N],
    keys: &[u16; N],
    blind: impl Fn(u16, u16) -> u16,
) -> [u16; N] {
    let rotated = if ROTATES {
        [shares, rotate_u64::<1, N>(shares), rotate_u64::<2, N>(shares), rotate_u64::<3, N>(shares)]
    } else {
        [shares, rotate::<1, N>(&shares), rotate::<2, N>(&shares), rotate::<3, N>(&shares)]
    };
    let mut blinded = [0; N];
    for lane in 0..N {
        let product = |d: usize| diagonals[d][lane].wrapping_mul(rotated[d][lane]);
        let even = product(0).wrapping_add(product(2));
        let odd = product(1).wrapping_add(product(3));
        blinded[lane] = blind(even.wrapping_add(odd), keys[lane]);
    }
    blinded
}

/// Rotates every element by `D` coefficients: lane `j` gets coefficient `j - D mod 4`.
#[inline(always)]
fn rotate<const D: usize, const N: usize>(lanes: &[u16; N]) -> [u16; N] {
    let mut rotated = [0; N];
    for lane in 0..N {
        rotated[lane] = lanes[(lane & !3) | (lane.wrapping_sub(D) & 3)];
    }
    rotated
}

/// The same on lanes of 64 bits.
#[inline(always)]
fn rotate_u64<const D: u32, const N: usize>(mut lanes: [u16; N]) -> [u16; N] {
    for element in lanes.as_chunks_mut::<4>().0 {
        let lane = u64::from_le_bytes(bytemuck::cast(element.map(u16::to_le)));
        let rotated: [u16; 4] = bytemuck::cast(lane.rotate_left(16 * D).to_le_bytes());
        *element = rotated.map(u16::from_le);
    }
    lanes
}

#[inline(always)]
fn widen(diagonals: &[[u16; 4]; 4]) -> [[u16; LANES]; 4] {
    std::array::from_fn(|d| std::array::from_fn(|lane| diagonals[d][lane % 4]))
}

#[inline(always)]
fn words(elements: &[RingElement]) -> &[u16] {
    bytemuck::cast_slice(elements)
}

#[inline(always)]
fn words_mut(elements: &mut [RingElement]) -> &mut [u16] {
    bytemuck::cast_slice_mut(elements)
}
