//! A buffer for keystream between the cipher and the kernel.

use zeroize::Zeroize;

use crate::keystream::Keystream;
use crate::ring::RingElement;

/// Room for `N` ring elements of keystream.
///
/// Aligned to cache lines: a vector across two lines is stored in two steps, and read back only
/// after both have left the store buffer (7 % of the time to blind a row).
///
/// # Secrecy
/// Wiped when dropped.
#[repr(C, align(64))]
pub(crate) struct Tile<const N: usize>([RingElement; N]);

impl<const N: usize> Tile<N> {
    pub(crate) const fn new() -> Self {
        Self([RingElement::ZERO; N])
    }

    /// The next `len` elements of a keystream, of `N` at most.
    #[inline(always)]
    pub(crate) fn next(&mut self, len: usize, keystream: &mut Keystream) -> &[RingElement] {
        let elements = &mut self.0[..len];
        keystream.fill(bytemuck::cast_slice_mut(elements));
        elements
    }
}

impl<const N: usize> Zeroize for Tile<N> {
    fn zeroize(&mut self) {
        // One store for each entry: as u16 it would take longer than the cipher.
        bytemuck::cast_slice_mut::<_, u64>(&mut self.0).zeroize();
    }
}

impl<const N: usize> Drop for Tile<N> {
    fn drop(&mut self) {
        self.zeroize();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wiped_tile_holds_nothing() {
        let mut tile = Tile::<6>::new();
        let elements = tile.next(6, &mut Keystream::new(&[1; 32])).to_vec();
        assert!(elements.iter().all(|element| *element != RingElement::ZERO));
        tile.zeroize();
        assert_eq!(tile.0, [RingElement::ZERO; 6]);
    }
}
