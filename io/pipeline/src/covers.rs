//! Which ids each part speaks for.

use reshare_files::ids::IdRange;

/// Widens the ids of a gap's parts, ascending, until they tile it: a part also covers the ids
/// without a row between the part before and itself, and the last one those up to the gap's end.
pub(crate) fn tile<'a>(gap: IdRange, parts: impl IntoIterator<Item = &'a mut IdRange>) {
    let (mut first, mut last_part) = (gap.first(), None);
    for ids in parts {
        if let Some(widened) = IdRange::new(first, ids.last()) {
            *ids = widened;
        }
        // At the highest id of all no other part follows.
        first = ids.last().saturating_add(1);
        last_part = Some(ids);
    }
    if let Some(ids) = last_part
        && let Some(widened) = IdRange::new(ids.first(), gap.last())
    {
        *ids = widened;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64) -> IdRange {
        IdRange::new(first, last).expect("in order")
    }

    #[test]
    fn parts_are_widened_until_nothing_of_their_gap_is_left() {
        let mut parts = [range(3, 5), range(9, 9), range(20, 30)];
        tile(range(1, 40), &mut parts);
        assert_eq!(parts, [range(1, 5), range(6, 9), range(10, 40)]);
        let mut one = [range(i64::MAX, i64::MAX)];
        tile(IdRange::ALL, &mut one);
        assert_eq!(one, [IdRange::ALL]);
        tile(range(1, 40), &mut []);
    }
}
