//! Walks two senders' parts side by side, in id order, however each sender cut its ranges.

use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;

/// Rows that a sweep holds while it passes their ids.
pub(crate) trait HeldRows {
    /// The rows, ascending by id.
    fn rows(&self) -> Rows<'_>;
}

/// One of the two packages in a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Side {
    First,
    Second,
}

impl Side {
    pub(crate) const BOTH: [Self; 2] = [Self::First, Self::Second];

    pub(crate) const fn index(self) -> usize {
        match self {
            Self::First => 0,
            Self::Second => 1,
        }
    }
}

/// A part, named by its side and its place in that side's manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct PartRef {
    pub(crate) side: Side,
    pub(crate) index: usize,
}

/// Lists the parts that hold ids of `segments`, in the order in which a sweep asks for them.
///
/// # Shapes
/// The ranges of each side and the segments are ascending and do not overlap.
pub(crate) fn parts_needed(ranges: [&[IdRange]; 2], segments: &[IdRange]) -> Vec<PartRef> {
    let mut needed = Vec::new();
    for side in Side::BOTH {
        let parts = ranges[side.index()].iter().enumerate();
        needed.extend(parts.filter_map(|(index, range)| {
            Some((first_met(segments, *range)?, PartRef { side, index }))
        }));
    }
    needed.sort_by_key(|(met, part)| (*met, part.side.index()));
    needed.into_iter().map(|(_, part)| part).collect()
}

/// The first id of `range` that is in one of the ascending `segments`.
fn first_met(segments: &[IdRange], range: IdRange) -> Option<i64> {
    let after = segments.partition_point(|segment| segment.last() < range.first());
    segments.get(after)?.intersection(range).map(IdRange::first)
}

/// Two packages walked side by side.
///
/// At most one part a side is held in each step. If both sides have rows, they are of the same
/// range of ids; a side without rows has no part there.
pub(crate) struct Sweep<'a, H> {
    sides: [SideState<'a, H>; 2],
    segments: std::vec::IntoIter<IdRange>,
    /// What is left of the current segment.
    ahead: Option<IdRange>,
}

struct SideState<'a, H> {
    ranges: &'a [IdRange],
    /// The first part that does not end before the next ids.
    next: usize,
    held: Option<H>,
}

/// Rows of both sides in one range of ids. Together the steps cover the segments without a gap.
pub(crate) struct Step<'s> {
    pub(crate) range: IdRange,
    pub(crate) rows: [Option<Rows<'s>>; 2],
}

impl<'a, H: HeldRows> Sweep<'a, H> {
    /// Prepares to walk over `segments`.
    ///
    /// # Shapes
    /// As for [`parts_needed`].
    pub(crate) fn new(ranges: [&'a [IdRange]; 2], segments: Vec<IdRange>) -> Self {
        let sides = ranges.map(|ranges| SideState { ranges, next: 0, held: None });
        let mut segments = segments.into_iter();
        let ahead = segments.next();
        Self { sides, segments, ahead }
    }

    /// The next step, with at most `max_rows` (at least one) rows of each side; `None` at the end.
    ///
    /// # Errors
    /// Any error of `fetch`; the sweep then ends.
    pub(crate) fn step<E>(
        &mut self,
        max_rows: usize,
        mut fetch: impl FnMut(PartRef) -> Result<H, E>,
    ) -> Result<Option<Step<'_>>, E> {
        let Some(ahead) = self.ahead.take() else { return Ok(None) };
        let mut last = ahead.last();
        for side in Side::BOTH {
            let state = &mut self.sides[side.index()];
            last = last.min(state.advance(ahead.first(), |index| fetch(PartRef { side, index }))?);
        }
        for state in &self.sides {
            last = last.min(state.last_of(ahead.first(), last, max_rows));
        }
        self.ahead = match last.checked_add(1).and_then(|from| IdRange::new(from, ahead.last())) {
            Some(rest) => Some(rest),
            None => self.segments.next(),
        };
        let range = IdRange::new(ahead.first(), last)
            .expect("every bound is at or after the first id ahead");
        let [first, second] = &self.sides;
        Ok(Some(Step { range, rows: [first.rows_in(range), second.rows_in(range)] }))
    }
}

impl<H: HeldRows> SideState<'_, H> {
    /// Holds the part at `from`, if there is one, and returns the last id up to which the held part
    /// stays the same.
    fn advance<E>(
        &mut self,
        from: i64,
        fetch: impl FnOnce(usize) -> Result<H, E>,
    ) -> Result<i64, E> {
        let behind = self.ranges[self.next..].partition_point(|range| range.last() < from);
        if behind > 0 {
            // Returned before the next part is requested: memory is counted in parts.
            self.held = None;
            self.next += behind;
        }
        let Some(range) = self.ranges.get(self.next) else { return Ok(i64::MAX) };
        if range.first() > from {
            return Ok(range.first() - 1);
        }
        if self.held.is_none() {
            self.held = Some(fetch(self.next)?);
        }
        Ok(range.last())
    }

    /// The id of the `max_rows`-th held row from `from` on, if that is before `last`.
    fn last_of(&self, from: i64, last: i64, max_rows: usize) -> i64 {
        let Some(held) = &self.held else { return last };
        let ids = held.rows().ids;
        let start = ids.partition_point(|id| *id < from);
        let end = start.saturating_add(max_rows.max(1)) - 1;
        ids.get(end).map_or(last, |id| last.min(*id))
    }

    fn rows_in(&self, range: IdRange) -> Option<Rows<'_>> {
        let rows = self.held.as_ref()?.rows();
        let start = rows.ids.partition_point(|id| *id < range.first());
        let end = rows.ids.partition_point(|id| *id <= range.last());
        (start < end).then(|| rows.slice(start..end))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;
    use std::sync::Arc;

    use proptest::prelude::*;
    use reshare_engine::layout::{RowLayout, ShareColumn};
    use reshare_engine::row_batch::RowBatch;

    use super::*;

    struct Held(RowBatch);

    impl HeldRows for Held {
        fn rows(&self) -> Rows<'_> {
            self.0.rows()
        }
    }

    fn range(first: i64, last: i64) -> IdRange {
        IdRange::new(first, last).expect("in order")
    }

    fn held(ids: &[i64]) -> Held {
        let shares = vec![ShareColumn { name: "code".into(), len: 4 }];
        let layout = Arc::new(RowLayout::new(vec![], shares).expect("valid"));
        let mut batch = RowBatch::with_capacity(layout, ids.len());
        for id in ids {
            batch.push_bytes(*id, &[], &[&[0; 8]]).expect("fits");
        }
        Held(batch)
    }

    /// Cuts ids into parts of the given sizes, over and over, with tight ranges.
    fn cut(ids: &BTreeSet<i64>, sizes: &[usize]) -> (Vec<Vec<i64>>, Vec<IdRange>) {
        let ids: Vec<i64> = ids.iter().copied().collect();
        let (mut parts, mut at) = (Vec::new(), 0);
        for size in sizes.iter().cycle() {
            if at == ids.len() {
                break;
            }
            let end = (at + size).min(ids.len());
            parts.push(ids[at..end].to_vec());
            at = end;
        }
        let ranges = parts.iter().map(|part| range(part[0], part[part.len() - 1])).collect();
        (parts, ranges)
    }

    fn ids() -> impl Strategy<Value = BTreeSet<i64>> {
        let ends = prop_oneof![8 => -40_i64..40, 1 => Just(i64::MIN), 1 => Just(i64::MAX)];
        prop::collection::btree_set(ends, 0..40)
    }

    fn sizes() -> impl Strategy<Value = Vec<usize>> {
        prop::collection::vec(1_usize..9, 1..5)
    }

    proptest! {
        #[test]
        fn every_id_is_met_once_next_to_its_twin_for_any_cuts(
            all in [ids(), ids()],
            cuts in [sizes(), sizes()],
            done in prop::collection::vec((-50_i64..50, 0_i64..20), 0..4),
            max_rows in 1_usize..7,
        ) {
            let done: Vec<_> = done.iter().map(|(first, len)| range(*first, first + len)).collect();
            let segments = IdRange::ALL.without(done.iter().copied());
            let sides = [cut(&all[0], &cuts[0]), cut(&all[1], &cuts[1])];
            let ranges = [sides[0].1.as_slice(), sides[1].1.as_slice()];
            let mut needed = parts_needed(ranges, &segments).into_iter();
            let mut sweep = Sweep::new(ranges, segments.clone());
            let mut met = [vec![], vec![]];
            let mut covered = vec![];
            while let Some(step) = sweep.step(max_rows, |part| {
                // Parts are requested in the promised order, each once.
                assert_eq!(needed.next(), Some(part));
                Ok::<_, Infallible>(held(&sides[part.side.index()].0[part.index]))
            }).expect("infallible") {
                covered.push(step.range);
                for side in Side::BOTH {
                    let ids = step.rows[side.index()].as_ref().map_or(&[][..], |rows| rows.ids);
                    prop_assert!(ids.len() <= max_rows);
                    prop_assert!(ids.iter().all(|id| step.range.contains(*id)));
                    met[side.index()].extend_from_slice(ids);
                }
            }
            prop_assert_eq!(needed.next(), None);
            prop_assert_eq!(IdRange::ALL.without(covered), IdRange::ALL.without(segments));
            for side in Side::BOTH {
                let expected: Vec<i64> = all[side.index()].iter().copied()
                    .filter(|id| !done.iter().any(|range| range.contains(*id))).collect();
                prop_assert_eq!(&met[side.index()], &expected);
            }
        }
    }

    #[test]
    fn a_part_that_is_done_is_not_asked_for() {
        let first = [range(1, 100)];
        let second = [range(1, 50), range(51, 100)];
        let needed = parts_needed([&first, &second], &[range(60, 100)]);
        let part = |side, index| PartRef { side, index };
        assert_eq!(needed, [part(Side::First, 0), part(Side::Second, 1)]);
    }
}
