//! Ranges of row ids.

use std::fmt;

/// A range of ids that holds at least one: both ends belong to it.
///
/// Inclusive, so that every `i64` can be said, the last one too.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdRange {
    first: i64,
    last: i64,
}

impl IdRange {
    /// Every id there is.
    pub const ALL: Self = Self { first: i64::MIN, last: i64::MAX };

    /// Takes both ends; `None` when `last` lies before `first`.
    #[must_use]
    pub const fn new(first: i64, last: i64) -> Option<Self> {
        if last < first { None } else { Some(Self { first, last }) }
    }

    /// The lowest id.
    #[must_use]
    pub const fn first(self) -> i64 {
        self.first
    }

    /// The highest id.
    #[must_use]
    pub const fn last(self) -> i64 {
        self.last
    }

    /// Whether `id` lies in the range.
    #[must_use]
    pub const fn contains(self, id: i64) -> bool {
        self.first <= id && id <= self.last
    }

    /// Whether the whole of `other` lies in the range.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two have an id in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ids that both hold.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }
}

impl fmt::Display for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.first, self.last)
    }
}

impl fmt::Debug for IdRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64) -> IdRange {
        IdRange::new(first, last).expect("in order")
    }

    #[test]
    fn a_range_holds_both_its_ends_and_is_never_empty() {
        assert_eq!(IdRange::new(1, 0), None);
        let one = range(5, 5);
        assert!(one.contains(5) && !one.contains(4) && !one.contains(6));
        assert!(IdRange::ALL.contains(i64::MAX) && IdRange::ALL.contains(i64::MIN));
    }

    #[test]
    fn ranges_overlap_where_they_share_an_id() {
        assert!(range(1, 5).overlaps(range(5, 9)));
        assert!(!range(1, 4).overlaps(range(5, 9)));
        assert_eq!(range(1, 5).intersection(range(3, 9)), Some(range(3, 5)));
        assert_eq!(range(1, 4).intersection(range(5, 9)), None);
        assert!(range(1, 9).covers(range(1, 9)) && !range(1, 9).covers(range(0, 3)));
    }
}
