//! The Galois ring GR(2^16, 4) = Z_{2^16}\[x\] / (x^4 - x - 1).

use std::fmt;
use std::ops::{Add, AddAssign, Mul, Neg, Sub, SubAssign};

use bytemuck::{Pod, Zeroable};
use zeroize::Zeroize;

use crate::layout::U16_PER_ELEMENT;

/// A ring element: four coefficients, the constant one first.
///
/// In memory it is four consecutive `u16`, so a share column is a slice of these.
///
/// # Secrecy
/// May be a share: `Debug` prints no coefficient. All operations take the same time for
/// all values.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct RingElement(pub [u16; U16_PER_ELEMENT]);

impl RingElement {
    /// The neutral element of the sum.
    pub const ZERO: Self = Self([0; 4]);
    /// The neutral element of the product.
    pub const ONE: Self = Self([1, 0, 0, 0]);
    /// The length of the exceptional sequence: the size of the residue field GF(2^4).
    pub const EXCEPTIONAL_COUNT: u8 = 16;

    /// Returns element `k` of the exceptional sequence: bit `b` of `k` is the coefficient
    /// of `x^b`.
    ///
    /// The difference of any two is a unit. `None` from [`Self::EXCEPTIONAL_COUNT`] on.
    ///
    /// # Source
    /// `docs/format.md`, *Weight and blind*.
    #[must_use]
    pub const fn exceptional(k: u8) -> Option<Self> {
        if k >= Self::EXCEPTIONAL_COUNT {
            return None;
        }
        let k = k as u16;
        Some(Self([k & 1, k >> 1 & 1, k >> 2 & 1, k >> 3 & 1]))
    }

    /// Inverts a unit; `None` when every coefficient is even: those are the elements that are no
    /// units.
    ///
    /// Modulo 2 the ring is GF(16), where `a^14` inverts `a`. Each Newton step
    /// `y <- y * (2 - a * y)` doubles the bits that are right: 1, 2, 4, 8, 16.
    ///
    /// # Secrecy
    /// The result shows whether there is an inverse, and nothing else is revealed.
    #[must_use]
    pub fn inverse(self) -> Option<Self> {
        let odd = self.0.iter().fold(0, |odd, coefficient| odd | coefficient) & 1;
        if odd == 0 {
            return None;
        }
        let squared = self * self;
        let fourth = squared * squared;
        let mut inverse = fourth * fourth * fourth * squared;
        for _ in 0..4 {
            inverse = inverse * (Self([2, 0, 0, 0]) - self * inverse);
        }
        Some(inverse)
    }
}

impl Add for RingElement {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }
}

impl Sub for RingElement {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_sub(other.0[i])))
    }
}

impl Neg for RingElement {
    type Output = Self;

    fn neg(self) -> Self {
        Self::ZERO - self
    }
}

impl Mul for RingElement {
    type Output = Self;

    /// Multiplies as polynomials, then folds with `x^4 = x + 1`.
    fn mul(self, other: Self) -> Self {
        let mut product = [0_u16; 7];
        for (i, a) in self.0.iter().enumerate() {
            for (j, b) in other.0.iter().enumerate() {
                product[i + j] = product[i + j].wrapping_add(a.wrapping_mul(*b));
            }
        }
        for high in (4..7).rev() {
            product[high - 3] = product[high - 3].wrapping_add(product[high]);
            product[high - 4] = product[high - 4].wrapping_add(product[high]);
        }
        Self([product[0], product[1], product[2], product[3]])
    }
}

impl AddAssign for RingElement {
    fn add_assign(&mut self, other: Self) {
        *self = *self + other;
    }
}

impl SubAssign for RingElement {
    fn sub_assign(&mut self, other: Self) {
        *self = *self - other;
    }
}

impl Zeroize for RingElement {
    fn zeroize(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for RingElement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RingElement(..)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn element() -> impl Strategy<Value = RingElement> {
        any::<[u16; 4]>().prop_map(RingElement)
    }

    #[test]
    fn x_to_the_fourth_is_x_plus_one() {
        let x = RingElement([0, 1, 0, 0]);
        assert!(x * x * x * x == RingElement([1, 1, 0, 0]));
    }

    #[test]
    fn differences_of_exceptional_elements_are_units() {
        for (j, k) in (0..16).flat_map(|j| (0..16).map(move |k| (j, k))) {
            let of = |k| RingElement::exceptional(k).expect("below sixteen");
            assert_eq!((of(j) - of(k)).inverse().is_some(), j != k);
        }
        assert!(RingElement::exceptional(16).is_none());
    }

    #[test]
    fn debug_prints_no_coefficient() {
        assert_eq!(format!("{:?}", RingElement([1, 2, 3, 4])), "RingElement(..)");
    }

    proptest! {
        #[test]
        fn the_laws_of_a_commutative_ring_hold(a in element(), b in element(), c in element()) {
            prop_assert!(a * b == b * a);
            prop_assert!((a * b) * c == a * (b * c));
            prop_assert!(a * (b + c) == a * b + a * c);
            prop_assert!(a * RingElement::ONE == a);
            prop_assert!(a - b + b == a && a + -a == RingElement::ZERO);
        }

        #[test]
        fn a_unit_times_its_inverse_is_one(a in element()) {
            match a.inverse() {
                Some(inverse) => prop_assert!(a * inverse == RingElement::ONE),
                None => prop_assert!(a.0.iter().all(|coefficient| coefficient % 2 == 0)),
            }
        }
    }
}
