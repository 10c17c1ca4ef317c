//! The kernels: each cuts its slices into strips of one cache line and runs a backend's
//! arithmetic on them.

use crate::kernel::arithmetic::{Arithmetic, blind_element};
use crate::kernel::dispatch::Computation;
use crate::kernel::stream::{Line, Stream, prefetch};
use crate::kernel::{Kernels, Weighting};
use crate::keystream::Keystream;
use crate::ring::RingElement;
use crate::shamir::Sign;
use crate::tile::Tile;

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

/// `blinded[i] = w * shares[i] +/- r[i]` with `r` from the row's keystream. Stores go around the
/// cache.
///
/// `blinded` holds one row for each keystream, all of one length. `shares` holds at least as many
/// elements; any more are prefetched.
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
    fn run<A: Arithmetic>(self) {
        match self.weighting.sign {
            Sign::Add => self.with::<A, true>(),
            Sign::Subtract => self.with::<A, false>(),
        }
    }
}

impl WeightAndBlind<'_> {
    #[inline(always)]
    fn with<A: Arithmetic, const ADD: bool>(self) {
        let (blinded, blinded_tail) = words_mut(self.blinded).as_chunks_mut();
        let (shares, shares_tail) = words(self.shares).as_chunks();
        let (keys, keys_tail) = words(self.keystream).as_chunks();
        let arithmetic = A::new(&self.weighting.diagonals);
        for ((blinded, shares), keys) in blinded.iter_mut().zip(shares).zip(keys) {
            *blinded = arithmetic.blind::<ADD>(*shares, keys);
        }
        let tail = blinded_tail.as_chunks_mut::<4>().0.iter_mut();
        let tail = tail.zip(shares_tail.as_chunks::<4>().0).zip(keys_tail.as_chunks::<4>().0);
        for ((blinded, shares), keys) in tail {
            *blinded = blind_element::<ADD>(&self.weighting.diagonals, *shares, keys);
        }
    }
}

impl Computation for WeightAndBlindInPlace<'_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        match self.weighting.sign {
            Sign::Add => self.with::<A, true>(),
            Sign::Subtract => self.with::<A, false>(),
        }
    }
}

impl WeightAndBlindInPlace<'_> {
    #[inline(always)]
    fn with<A: Arithmetic, const ADD: bool>(self) {
        let (shares, shares_tail) = words_mut(self.shares).as_chunks_mut();
        let (keys, keys_tail) = words(self.keystream).as_chunks();
        let arithmetic = A::new(&self.weighting.diagonals);
        for (shares, keys) in shares.iter_mut().zip(keys) {
            *shares = arithmetic.blind::<ADD>(*shares, keys);
        }
        let tail = shares_tail.as_chunks_mut::<4>().0.iter_mut();
        for (shares, keys) in tail.zip(keys_tail.as_chunks::<4>().0) {
            *shares = blind_element::<ADD>(&self.weighting.diagonals, *shares, keys);
        }
    }
}

/// 1 KiB, which the widest cipher makes in one step: meanwhile, loads and stores of the tile before
/// it complete. 2 KiB costs 3 %.
const STREAM_TILE: usize = 128;

/// Ring elements of one line of the cache.
const LINE: usize = Line::WORDS / 4;

/// How far ahead shares are prefetched: 4 KiB. The next row starts where this one ends.
const AHEAD: usize = 512;

impl Computation for BlindStreaming<'_, '_> {
    #[inline(always)]
    fn run<A: Arithmetic>(self) {
        match self.weighting.sign {
            Sign::Add => self.with::<A, true>(),
            Sign::Subtract => self.with::<A, false>(),
        }
    }
}

impl BlindStreaming<'_, '_> {
    #[inline(always)]
    fn with<A: Arithmetic, const ADD: bool>(self) {
        let Self { kernels, weighting, blinded, shares, keystreams } = self;
        let elements = blinded.len() / keystreams.len();
        let mut rows = StreamedRows {
            diagonals: &weighting.diagonals,
            arithmetic: A::new(&weighting.diagonals),
            tile: Tile::new(),
            stream: Stream::new(kernels),
        };
        let blinded = blinded.chunks_exact_mut(elements).enumerate();
        for ((row, blinded), keystream) in blinded.zip(keystreams) {
            rows.blind::<ADD>(blinded, &shares[row * elements..], keystream);
        }
    }
}

/// The state that all rows of one call share.
struct StreamedRows<'a, A> {
    diagonals: &'a [[u16; 4]; 4],
    arithmetic: A,
    tile: Tile<STREAM_TILE>,
    /// One for all rows: the fence on drop waits for every line that is not stored yet.
    stream: Stream<'a>,
}

impl<'a, A: Arithmetic> StreamedRows<'a, A> {
    #[inline(always)]
    fn blind<const ADD: bool>(
        &mut self,
        blinded: &'a mut [RingElement],
        shares: &[RingElement],
        keystream: &mut Keystream,
    ) {
        let mut start = 0;
        let (head, lines, tail) = element_lines(words_mut(blinded));
        for head in head.chunks_mut(STREAM_TILE * 4) {
            self.elements::<ADD>(head, &shares[start..], keystream);
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
                self.stream.store(line, self.arithmetic.blind::<ADD>(*shares, keys));
            }
            start += elements;
        }
        self.elements::<ADD>(tail, &shares[start..], keystream);
    }

    /// Blinds the few elements before the first whole line, or after the last one.
    #[inline(always)]
    fn elements<const ADD: bool>(
        &mut self,
        blinded: &mut [u16],
        shares: &[RingElement],
        keystream: &mut Keystream,
    ) {
        let blinded = blinded.as_chunks_mut::<4>().0;
        let keys = words(self.tile.next(blinded.len(), keystream));
        let pairs = words(shares).as_chunks::<4>().0.iter().zip(keys.as_chunks::<4>().0);
        for (blinded, (shares, keys)) in blinded.iter_mut().zip(pairs) {
            *blinded = blind_element::<ADD>(self.diagonals, *shares, keys);
        }
    }
}

/// Splits words into those before the first whole cache line, the whole lines, and those after. All
/// words come first when an element would straddle two lines.
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
    fn run<A: Arithmetic>(self) {
        A::sum(self.rebuilt, self.first, self.second);
    }
}

#[inline(always)]
fn words(elements: &[RingElement]) -> &[u16] {
    bytemuck::cast_slice(elements)
}

#[inline(always)]
fn words_mut(elements: &mut [RingElement]) -> &mut [u16] {
    bytemuck::cast_slice_mut(elements)
}
