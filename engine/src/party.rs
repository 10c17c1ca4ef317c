//! Parties of the MPC network.

use std::fmt;

/// A party of the MPC network: a 0-based index, at most [`PartyId::MAX`].
///
/// Its evaluation point is another number and another type, so that the two
/// cannot be confused. Points stay inside this crate.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartyId(u8);

impl PartyId {
    /// The highest party: the ring has 16 exceptional points and the secret takes one.
    pub const MAX: u8 = 14;

    /// Checks an index.
    ///
    /// # Errors
    /// [`PartyOutOfRange`] above [`PartyId::MAX`].
    pub const fn new(index: u8) -> Result<Self, PartyOutOfRange> {
        if index > Self::MAX {
            return Err(PartyOutOfRange { index: index as u64 });
        }
        Ok(Self(index))
    }

    /// The 0-based index.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }

    /// Every party the ring has a point for, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=Self::MAX).map(Self)
    }
}

impl TryFrom<u64> for PartyId {
    type Error = PartyOutOfRange;

    fn try_from(index: u64) -> Result<Self, PartyOutOfRange> {
        let small = u8::try_from(index).map_err(|_| PartyOutOfRange { index })?;
        Self::new(small)
    }
}

impl fmt::Display for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for PartyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "party {}", self.0)
    }
}

/// An index that is no party.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("party {index} is out of range: parties are 0 to {max}", max = PartyId::MAX)]
pub struct PartyOutOfRange {
    /// The index that was given.
    pub index: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fourteen_is_the_last_party() {
        assert_eq!(PartyId::new(14).map(PartyId::index), Ok(14));
        assert_eq!(PartyId::new(15), Err(PartyOutOfRange { index: 15 }));
        assert_eq!(PartyId::try_from(300), Err(PartyOutOfRange { index: 300 }));
        assert_eq!(PartyId::all().count(), 15);
    }
}
