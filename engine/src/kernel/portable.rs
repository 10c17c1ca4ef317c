//! The reference: one ring element or one word at a time, straight from the formulas.

use crate::kernel::{LengthMismatch, Weighting, check_lengths};
use crate::ring::RingElement;
use crate::shamir::Sign;

/// Weights shares and blinds them: `blinded[i] = w * shares[i] +/- keystream[i]`.
///
/// # Secrecy
/// No branch or index depends on the shares or the keystream.
///
/// # Errors
/// [`LengthMismatch`] when the lengths differ; `blinded` is then unchanged.
pub fn weight_and_blind(
    weighting: &Weighting,
    blinded: &mut [RingElement],
    shares: &[RingElement],
    keystream: &[RingElement],
) -> Result<(), LengthMismatch> {
    check_lengths(blinded.len(), [shares.len(), keystream.len()])?;
    for ((blinded, share), key) in blinded.iter_mut().zip(shares).zip(keystream) {
        let weighted = weighting.weight * *share;
        *blinded = match weighting.sign {
            Sign::Add => weighted + *key,
            Sign::Subtract => weighted - *key,
        };
    }
    Ok(())
}

/// Adds what two senders delivered: `rebuilt[i] = first[i] + second[i]`.
///
/// # Errors
/// [`LengthMismatch`] when the lengths differ; `rebuilt` is then unchanged.
///
/// # Secrecy
/// No branch or index depends on a word.
pub fn merge(rebuilt: &mut [u16], first: &[u16], second: &[u16]) -> Result<(), LengthMismatch> {
    check_lengths(rebuilt.len(), [first.len(), second.len()])?;
    for ((rebuilt, first), second) in rebuilt.iter_mut().zip(first).zip(second) {
        *rebuilt = first.wrapping_add(*second);
    }
    Ok(())
}
