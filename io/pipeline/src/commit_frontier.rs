//! Up to which id everything that was merged is in the table.

use std::collections::BTreeSet;

use reshare_files::ids::IdRange;

/// Ranges that were merged in ascending order and are committed in any order.
#[derive(Debug, Default)]
pub(crate) struct CommitFrontier {
    /// The first ids of ranges that wait for their commit.
    waiting: BTreeSet<i64>,
    merged_up_to: Option<i64>,
}

impl CommitFrontier {
    /// Notes that a range goes to the table.
    pub(crate) fn merged(&mut self, range: IdRange) {
        self.waiting.insert(range.first());
        self.merged_up_to = Some(range.last());
    }

    /// Notes that there is nothing to load up to an id but what is on its way.
    pub(crate) fn nothing_up_to(&mut self, last: i64) {
        self.merged_up_to = Some(last);
    }

    /// Notes that a range is in the table.
    pub(crate) fn committed(&mut self, range: IdRange) {
        self.waiting.remove(&range.first());
    }

    /// The last id of which nothing is on its way any more; `None` before there is one.
    pub(crate) fn up_to(&self) -> Option<i64> {
        match self.waiting.first() {
            Some(first) => first.checked_sub(1),
            None => self.merged_up_to,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_that_waits_holds_back_those_after_it() {
        let range = |first, last| IdRange::new(first, last).expect("in order");
        let mut frontier = CommitFrontier::default();
        assert_eq!(frontier.up_to(), None);
        frontier.merged(range(1, 10));
        frontier.merged(range(11, 20));
        frontier.nothing_up_to(30);
        assert_eq!(frontier.up_to(), Some(0));
        frontier.committed(range(11, 20));
        assert_eq!(frontier.up_to(), Some(0));
        frontier.committed(range(1, 10));
        assert_eq!(frontier.up_to(), Some(30));
        frontier.merged(range(i64::MIN, 5));
        assert_eq!(frontier.up_to(), None);
    }
}
