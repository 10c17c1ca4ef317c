//! Ranges of row ids.

use std::fmt;

/// A non-empty range of ids that includes both ends.
///
/// Inclusive, so a range can end at the highest `i64`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IdRange {
    first: i64,
    last: i64,
}

impl IdRange {
    /// Every possible id.
    pub const ALL: Self = Self { first: i64::MIN, last: i64::MAX };

    /// Makes a range from both ends; `None` when `last` is less than `first`.
    #[must_use]
    pub const fn new(first: i64, last: i64) -> Option<Self> {
        if last < first { None } else { Some(Self { first, last }) }
    }

    /// The range from the first of ascending ids to the last; `None` of no ids.
    #[must_use]
    pub fn of(ids: &[i64]) -> Option<Self> {
        Self::new(*ids.first()?, *ids.last()?)
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

    /// Whether `id` is in the range.
    #[must_use]
    pub const fn contains(self, id: i64) -> bool {
        self.first <= id && id <= self.last
    }

    /// Whether all of `other` is in the range.
    #[must_use]
    pub const fn covers(self, other: Self) -> bool {
        self.first <= other.first && other.last <= self.last
    }

    /// Whether the two have an id in common.
    #[must_use]
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }

    /// The ids that are in both.
    #[must_use]
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.first.max(other.first), self.last.min(other.last))
    }

    /// The smallest range that holds both.
    #[must_use]
    pub fn hull(self, other: Self) -> Self {
        Self { first: self.first.min(other.first), last: self.last.max(other.last) }
    }

    /// Joins ranges that have no gap between them, and adds up what is counted of each.
    ///
    /// # Shapes
    /// `counted` ascends, and its ranges do not overlap.
    #[must_use]
    pub fn joined(counted: impl IntoIterator<Item = (Self, u64)>) -> Vec<(Self, u64)> {
        let mut joined: Vec<(Self, u64)> = vec![];
        for (ids, count) in counted {
            match joined.last_mut() {
                Some((before, sum)) if before.last.checked_add(1) == Some(ids.first) => {
                    before.last = ids.last;
                    *sum += count;
                }
                _ => joined.push((ids, count)),
            }
        }
        joined
    }

    /// The parts of this range that are in none of `others`, ascending.
    ///
    /// # Shapes
    /// `others` may be in any order, overlap each other and extend beyond this range.
    #[must_use]
    pub fn without(self, others: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let inside = others.into_iter().filter_map(|other| self.intersection(other));
        let mut inside: Vec<Self> = inside.collect();
        inside.sort_unstable();
        let mut left = Vec::new();
        // None: the highest possible id is taken.
        let mut start = Some(self.first);
        for taken in inside {
            let before = taken.first.checked_sub(1);
            left.extend(start.zip(before).and_then(|(first, last)| Self::new(first, last)));
            start = start.and_then(|start| Some(start.max(taken.last.checked_add(1)?)));
        }
        left.extend(start.and_then(|first| Self::new(first, self.last)));
        left
    }
}

/// Shows ranges in a message, the first ten of them.
#[must_use]
pub fn list_ranges(ranges: &[IdRange]) -> String {
    const LISTED: usize = 10;
    let shown: Vec<_> = ranges.iter().take(LISTED).map(IdRange::to_string).collect();
    let shown = shown.join(", ");
    match ranges.len().saturating_sub(LISTED) {
        0 => shown,
        1 => format!("{shown} and one more range"),
        more => format!("{shown} and {more} more ranges"),
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
        assert_eq!(
            (IdRange::of(&[]), IdRange::of(&[5]), IdRange::of(&[6, 5])),
            (None, Some(one), None)
        );
        assert!(one.contains(5) && !one.contains(4) && !one.contains(6));
        assert!(IdRange::ALL.contains(i64::MAX) && IdRange::ALL.contains(i64::MIN));
    }

    #[test]
    fn ranges_overlap_where_they_share_an_id() {
        assert!(range(1, 5).overlaps(range(5, 9)));
        assert!(!range(1, 4).overlaps(range(5, 9)));
        assert_eq!(range(1, 5).intersection(range(3, 9)), Some(range(3, 5)));
        assert_eq!(range(1, 4).intersection(range(5, 9)), None);
        assert_eq!(range(5, 9).hull(range(1, 2)), range(1, 9));
        assert!(range(1, 9).covers(range(1, 9)) && !range(1, 9).covers(range(0, 3)));
    }

    #[test]
    fn what_is_left_of_a_range_is_what_no_other_holds() {
        let whole = range(0, 9);
        assert_eq!(whole.without([]), [whole]);
        let others = [range(2, 3), range(6, 6), range(-5, 2)];
        assert_eq!(whole.without(others), [range(4, 5), range(7, 9)]);
        assert_eq!(whole.without([range(1, 8), range(2, 3)]), [range(0, 0), range(9, 9)]);
        assert_eq!(whole.without([whole]), []);
        assert_eq!(whole.without([IdRange::ALL]), []);
        assert_eq!(whole.without([range(20, 30), range(-9, -1)]), [whole]);
        let ends = [range(5, i64::MAX), range(i64::MIN, 0)];
        assert_eq!(IdRange::ALL.without(ends), [range(1, 4)]);
        assert_eq!(IdRange::ALL.without([]), [IdRange::ALL]);
    }
}
