//! How an export is cut into parts.

use reshare_files::ids::IdRange;

/// Which rows to export.
#[derive(Debug, Clone, Copy)]
pub enum ExportIds<'a> {
    /// Every row whose id is in a range.
    Range(IdRange),
    /// The rows of these ids, in any order; ids that the table lacks are skipped.
    List(&'a [i64]),
}

/// One part of an export: consecutive rows in id order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedPart {
    /// From its first row's id to its last one's.
    pub ids: IdRange,
    /// How many rows it has in the snapshot.
    pub rows: u64,
    /// For an export by list: the ids of the part, ascending.
    pub(crate) listed: Option<Vec<i64>>,
    /// Ids of rows that are not read, ascending.
    pub(crate) without: Vec<i64>,
}

impl PlannedPart {
    /// Leaves out rows of the part that were found in its snapshot.
    ///
    /// # Shapes
    /// `ids` ascend. Those that are not of the part's range have no effect.
    pub fn leave_out(&mut self, ids: &[i64]) {
        let start = ids.partition_point(|id| *id < self.ids.first());
        let end = ids.partition_point(|id| *id <= self.ids.last());
        self.without = ids[start..end].to_vec();
        self.rows = self.rows.saturating_sub(self.without.len() as u64);
    }
}

/// Groups ascending numbered ids of a range into parts. It must be given at least the first and the
/// last row of every group.
pub(super) struct Grouping {
    rows_per_part: u64,
    parts: Vec<PlannedPart>,
    first: i64,
}

impl Grouping {
    pub(super) fn new(rows_per_part: u64) -> Self {
        Self { rows_per_part, parts: vec![], first: 0 }
    }

    /// Takes a row by its 1-based `number` in the whole export; `is_last` for the final row.
    pub(super) fn push(&mut self, id: i64, number: u64, is_last: bool) {
        let rows = (number - 1) % self.rows_per_part + 1;
        if rows == 1 {
            self.first = id;
        }
        if rows == self.rows_per_part || is_last {
            let ids = IdRange::new(self.first, id);
            self.parts.extend(ids.map(|ids| PlannedPart {
                ids,
                rows,
                listed: None,
                without: vec![],
            }));
        }
    }

    pub(super) fn into_parts(self) -> Vec<PlannedPart> {
        self.parts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_have_tight_bounds_and_counts() {
        let ids = [-5, 0, 1, 7, 9, 10, 11];
        for (per_part, expected) in [
            (3, vec![(-5, 1, 3), (7, 10, 3), (11, 11, 1)]),
            (7, vec![(-5, 11, 7)]),
            (100, vec![(-5, 11, 7)]),
        ] {
            let mut grouping = Grouping::new(per_part);
            for (index, id) in ids.iter().enumerate() {
                grouping.push(*id, index as u64 + 1, index + 1 == ids.len());
            }
            let parts = grouping.into_parts();
            let parts = parts.iter().map(|part| (part.ids.first(), part.ids.last(), part.rows));
            assert_eq!(parts.collect::<Vec<_>>(), expected);
        }
    }
}
