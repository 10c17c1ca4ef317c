//! The two inner loops: weight-and-blind at a sender, merge at the receiver.
//!
//! [`portable`] defines what they compute. `strips` computes it fast, with the arithmetic of
//! `baseline` on any CPU and that of `loops` where the CPU has AVX2 or AVX-512. [`Kernels`] picks
//! the fastest at run time, so one binary serves all CPUs.

mod arithmetic;
mod baseline;
mod dispatch;
#[cfg(target_arch = "x86_64")]
mod loops;
pub mod portable;
mod stream;
mod strips;

use std::fmt;

pub use dispatch::Kernels;

use crate::kernel::strips::{BlindStreaming, Merge, WeightAndBlind, WeightAndBlindInPlace};
use crate::keystream::Keystream;
use crate::ring::RingElement;
use crate::shamir::Sign;

/// A set of vector instructions that the kernels are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Backend {
    /// What every CPU of the architecture has, through the crate `wide`: SSE2 on x86-64, NEON on
    /// AArch64.
    Baseline,
    /// AVX2: 256-bit vectors.
    Avx2,
    /// AVX-512 F, BW, DQ and VL: 512-bit vectors.
    Avx512,
}

impl Backend {
    /// Every backend, the slowest first.
    pub const ALL: [Self; 3] = [Self::Baseline, Self::Avx2, Self::Avx512];

    /// The backends that this CPU has, the slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(|backend| Kernels::new(*backend).is_some())
    }

    /// The fastest backend that this CPU has.
    #[must_use]
    pub fn detect() -> Self {
        Kernels::detect().backend()
    }

    /// Name in benches and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Baseline => "wide",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Multiplication by a constant `w` and the sign of the keystream, ready for the kernels.
///
/// The product by `w` is a constant 4x4 matrix `M` over `u16`, whose column `i` holds
/// `w * x^i`. Its d-th wrapped diagonal is what meets the input rotated by `d` coefficients:
/// `out[j] = sum over d of diagonals[d][j] * in[(j - d) mod 4]`, which is four multiplies of
/// whole vectors.
///
/// # Source
/// `docs/format.md`, *Weight and blind*.
#[derive(Debug, Clone, Copy)]
pub struct Weighting {
    weight: RingElement,
    sign: Sign,
    diagonals: [[u16; 4]; 4],
}

impl Weighting {
    /// Lays out the matrix of `weight`.
    #[must_use]
    pub fn new(weight: RingElement, sign: Sign) -> Self {
        let mut diagonals = [[0; 4]; 4];
        let mut column = weight;
        for i in 0..4 {
            for (j, entry) in column.0.into_iter().enumerate() {
                diagonals[(4 + j - i) % 4][j] = entry;
            }
            column = column * RingElement([0, 1, 0, 0]);
        }
        Self { weight, sign, diagonals }
    }
}

impl Kernels {
    /// Weights shares and blinds them: `blinded[i] = w * shares[i] +/- keystream[i]`.
    ///
    /// # Shapes
    /// Three slices of ring elements of the same length.
    ///
    /// # Secrecy
    /// No branch or index depends on the shares or the keystream. A keystream position is used
    /// once.
    ///
    /// # Errors
    /// [`LengthMismatch`] when the lengths differ; `blinded` is then unchanged.
    pub fn weight_and_blind(
        self,
        weighting: &Weighting,
        blinded: &mut [RingElement],
        shares: &[RingElement],
        keystream: &[RingElement],
    ) -> Result<(), LengthMismatch> {
        check_lengths(blinded.len(), [shares.len(), keystream.len()])?;
        self.run(WeightAndBlind { weighting, blinded, shares, keystream });
        Ok(())
    }

    /// Weights shares and blinds them, in place: `s[i] <- w * s[i] +/- keystream[i]`.
    ///
    /// Shapes, secrecy and errors are those of [`Self::weight_and_blind`].
    ///
    /// # Errors
    /// [`LengthMismatch`] when the lengths differ; `shares` is then unchanged.
    pub fn weight_and_blind_in_place(
        self,
        weighting: &Weighting,
        shares: &mut [RingElement],
        keystream: &[RingElement],
    ) -> Result<(), LengthMismatch> {
        check_lengths(shares.len(), [keystream.len()])?;
        self.run(WeightAndBlindInPlace { weighting, shares, keystream });
        Ok(())
    }

    /// Weights the shares of a column's rows and blinds each row with the next of its keystream.
    /// Stores go around the cache, and the shares that follow are prefetched.
    ///
    /// Faster than [`Self::weight_and_blind`] only when input and output are far larger than the
    /// cache.
    ///
    /// # Shapes
    /// `blinded` holds one row for each keystream, one after the other and all of one length.
    /// `shares` holds at least as many ring elements. Any more are what the caller reads next, and
    /// are prefetched.
    ///
    /// # Secrecy
    /// That of [`Self::weight_and_blind`].
    ///
    /// # Errors
    /// [`LengthMismatch`] when there are fewer shares, or when the rows cannot be of one length;
    /// `blinded` and `keystreams` are then unchanged.
    pub fn blind_streaming(
        self,
        weighting: &Weighting,
        blinded: &mut [RingElement],
        shares: &[RingElement],
        keystreams: &mut [Keystream],
    ) -> Result<(), LengthMismatch> {
        if shares.len() < blinded.len() {
            return Err(LengthMismatch { expected: blinded.len(), got: shares.len() });
        }
        if !blinded.len().is_multiple_of(keystreams.len()) {
            return Err(LengthMismatch { expected: blinded.len(), got: keystreams.len() });
        }
        if !blinded.is_empty() {
            self.run(BlindStreaming { kernels: self, weighting, blinded, shares, keystreams });
        }
        Ok(())
    }

    /// Adds what two senders delivered: `rebuilt[i] = first[i] + second[i]`.
    ///
    /// # Secrecy
    /// No branch or index depends on the words.
    ///
    /// # Errors
    /// [`LengthMismatch`] when the lengths differ; `rebuilt` is then unchanged.
    pub fn merge(
        self,
        rebuilt: &mut [u16],
        first: &[u16],
        second: &[u16],
    ) -> Result<(), LengthMismatch> {
        check_lengths(rebuilt.len(), [first.len(), second.len()])?;
        self.run(Merge { rebuilt, first, second });
        Ok(())
    }
}

/// Slices of one call that do not have the same length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("slices of one call differ in length: {expected} and {got}")]
pub struct LengthMismatch {
    /// Length of the output.
    pub expected: usize,
    /// Length of the slice that differs from it.
    pub got: usize,
}

/// Checks the lengths of inputs against that of the output.
fn check_lengths<const N: usize>(
    expected: usize,
    inputs: [usize; N],
) -> Result<(), LengthMismatch> {
    match inputs.into_iter().find(|got| *got != expected) {
        None => Ok(()),
        Some(got) => Err(LengthMismatch { expected, got }),
    }
}
