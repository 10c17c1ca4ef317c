//! Owned rows in columns: one buffer from the COPY decoder to the sealed part and back.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use zeroize::Zeroize;

use crate::layout::{AgreeKind, RowLayout};
use crate::rows::{AgreeSlice, AgreeValue, AgreeValues, RowCheck, Rows};
pub use crate::rows_mut::{AgreeSliceMut, AgreeValuesMut, RowsMut};

/// Rows in columns, with room for a fixed number of them, made to be reused.
///
/// Every column is allocated once for `capacity` rows. New pages are expensive, so the stages of a
/// pipeline pass batches back and forth.
///
/// # Secrecy
/// May hold plain shares: wiped when dropped, and `Debug` prints counts only.
pub struct RowBatch {
    layout: Arc<RowLayout>,
    capacity: usize,
    rows: usize,
    /// The most rows that it has held: no share was ever written beyond them.
    most_rows: usize,
    ids: Vec<i64>,
    agree: Vec<AgreeBuffer>,
    row_checks: Vec<RowCheck>,
    has_row_checks: bool,
    shares: Vec<Vec<u16>>,
}

/// The buffers of one agree column.
struct AgreeBuffer {
    nulls: Vec<u8>,
    values: AgreeBufferValues,
}

enum AgreeBufferValues {
    Integer(Vec<i64>),
    Uuid(Vec<[u8; 16]>),
}

impl RowBatch {
    /// Allocates room for `capacity` rows.
    #[must_use]
    pub fn with_capacity(layout: Arc<RowLayout>, capacity: usize) -> Self {
        let agree = layout.agree().iter().map(|column| AgreeBuffer {
            nulls: vec![0; capacity],
            values: match column.kind {
                AgreeKind::Integer => AgreeBufferValues::Integer(vec![0; capacity]),
                AgreeKind::Uuid => AgreeBufferValues::Uuid(vec![[0; 16]; capacity]),
            },
        });
        let agree = agree.collect();
        let shares = layout.shares().iter().map(|column| vec![0; column.len * capacity]).collect();
        Self {
            layout,
            capacity,
            rows: 0,
            most_rows: 0,
            ids: vec![0; capacity],
            agree,
            row_checks: vec![[0; 8]; capacity],
            has_row_checks: false,
            shares,
        }
    }

    /// The columns.
    #[must_use]
    pub fn layout(&self) -> &Arc<RowLayout> {
        &self.layout
    }

    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// The most rows that fit.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Forgets the rows and keeps the buffers.
    pub fn clear(&mut self) {
        self.rows = 0;
        self.has_row_checks = false;
    }

    /// The rows, borrowed.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        let agree = self.agree.iter().map(|column| AgreeSlice {
            nulls: &column.nulls[..self.rows],
            values: match &column.values {
                AgreeBufferValues::Integer(values) => AgreeValues::Integer(&values[..self.rows]),
                AgreeBufferValues::Uuid(values) => AgreeValues::Uuid(&values[..self.rows]),
            },
        });
        let columns = self.layout.shares().iter().zip(&self.shares);
        Rows {
            layout: &self.layout,
            ids: &self.ids[..self.rows],
            agree: agree.collect(),
            row_checks: if self.has_row_checks { &self.row_checks[..self.rows] } else { &[] },
            shares: columns.map(|(column, shares)| &shares[..self.rows * column.len]).collect(),
        }
    }

    /// Appends one row whose shares are still bytes, little-endian.
    ///
    /// # Shapes
    /// One entry of `agree` and of `shares` a column, in session order.
    ///
    /// # Errors
    /// A [`PushError`] when the batch is full or a value is not of its column; the batch is
    /// then unchanged.
    pub fn push_bytes(
        &mut self,
        id: i64,
        agree: &[AgreeValue],
        shares: &[&[u8]],
    ) -> Result<(), PushError> {
        self.check_push(id, agree, shares)?;
        let row = self.rows;
        self.ids[row] = id;
        for (column, value) in self.agree.iter_mut().zip(agree) {
            column.slice_mut(row..row + 1).set(0, *value);
        }
        let columns = self.layout.shares().iter().zip(&mut self.shares);
        for ((column, buffer), bytes) in columns.zip(shares) {
            let target = &mut buffer[row * column.len..][..column.len];
            bytemuck::cast_slice_mut::<u16, u8>(target).copy_from_slice(bytes);
        }
        self.set_rows(row + 1);
        Ok(())
    }

    fn set_rows(&mut self, rows: usize) {
        self.rows = rows;
        self.most_rows = self.most_rows.max(rows);
    }

    fn check_push(&self, id: i64, agree: &[AgreeValue], shares: &[&[u8]]) -> Result<(), PushError> {
        if self.rows == self.capacity {
            return Err(PushError::Full { capacity: self.capacity });
        }
        if agree.len() != self.agree.len() || shares.len() != self.shares.len() {
            return Err(PushError::ColumnCount { id });
        }
        for (column, value) in self.layout.agree().iter().zip(agree) {
            let fits = match value {
                AgreeValue::Null => true,
                AgreeValue::Integer(_) => column.kind == AgreeKind::Integer,
                AgreeValue::Uuid(_) => column.kind == AgreeKind::Uuid,
            };
            if !fits {
                return Err(PushError::AgreeKind { id, column: column.name.clone() });
            }
        }
        for (column, bytes) in self.layout.shares().iter().zip(shares) {
            let expected = column.len * size_of::<u16>();
            if bytes.len() != expected {
                let (column, got) = (column.name.clone(), bytes.len());
                return Err(PushError::ShareLength { id, column, expected, got });
            }
        }
        Ok(())
    }

    /// Sets how many rows there are, with or without row checks, and returns all columns for
    /// writing.
    ///
    /// The columns still hold the values of an earlier use: the caller writes every entry.
    ///
    /// # Errors
    /// [`PushError::Full`] when `rows` do not fit; the batch is then unchanged.
    pub fn reset(&mut self, rows: usize, with_row_checks: bool) -> Result<RowsMut<'_>, PushError> {
        if rows > self.capacity {
            return Err(PushError::Full { capacity: self.capacity });
        }
        self.set_rows(rows);
        self.has_row_checks = with_row_checks;
        Ok(self.rows_mut())
    }

    /// Appends `rows` rows and returns their columns for writing: the caller writes every entry.
    ///
    /// # Errors
    /// [`PushError::Full`] when they do not fit; [`PushError::Blinded`] when the batch has row
    /// checks, which the new rows would lack. The batch is then unchanged.
    pub fn extend(&mut self, rows: usize) -> Result<RowsMut<'_>, PushError> {
        if self.has_row_checks {
            return Err(PushError::Blinded);
        }
        if rows > self.capacity - self.rows {
            return Err(PushError::Full { capacity: self.capacity });
        }
        let start = self.rows;
        self.set_rows(start + rows);
        Ok(self.range_mut(start..start + rows))
    }

    /// Adds row checks to rows that have none, and returns all columns for writing.
    ///
    /// # Errors
    /// [`PushError::Blinded`] when there are row checks already.
    pub(crate) fn add_row_checks(&mut self) -> Result<RowsMut<'_>, PushError> {
        if self.has_row_checks {
            return Err(PushError::Blinded);
        }
        self.has_row_checks = true;
        Ok(self.rows_mut())
    }

    /// Keeps the rows whose entry of `keep` is true, in their order, and drops the others.
    ///
    /// # Errors
    /// [`PushError::KeepLength`] unless there is one entry a row; the batch is then unchanged.
    pub fn retain(&mut self, keep: &[bool]) -> Result<(), PushError> {
        let (expected, got) = (self.rows, keep.len());
        if expected != got {
            return Err(PushError::KeepLength { expected, got });
        }
        let mut kept = 0;
        for row in (0..expected).filter(|row| keep[*row]) {
            if row != kept {
                self.move_row(row, kept);
            }
            kept += 1;
        }
        self.rows = kept;
        Ok(())
    }

    fn move_row(&mut self, from: usize, to: usize) {
        self.ids[to] = self.ids[from];
        self.row_checks[to] = self.row_checks[from];
        for column in &mut self.agree {
            column.nulls[to] = column.nulls[from];
            match &mut column.values {
                AgreeBufferValues::Integer(values) => values[to] = values[from],
                AgreeBufferValues::Uuid(values) => values[to] = values[from],
            }
        }
        for (column, shares) in self.layout.shares().iter().zip(&mut self.shares) {
            let start = from * column.len;
            shares.copy_within(start..start + column.len, to * column.len);
        }
    }

    /// All columns of the present rows, for writing.
    #[must_use]
    pub fn rows_mut(&mut self) -> RowsMut<'_> {
        self.range_mut(0..self.rows)
    }

    fn range_mut(&mut self, range: Range<usize>) -> RowsMut<'_> {
        let columns = self.layout.shares().iter().zip(&mut self.shares);
        let shares = columns
            .map(|(column, shares)| &mut shares[range.start * column.len..range.end * column.len]);
        RowsMut {
            layout: &self.layout,
            ids: &mut self.ids[range.clone()],
            agree: self.agree.iter_mut().map(|column| column.slice_mut(range.clone())).collect(),
            shares: shares.collect(),
            row_checks: if self.has_row_checks { &mut self.row_checks[range] } else { &mut [] },
        }
    }
}

impl AgreeBuffer {
    fn slice_mut(&mut self, range: Range<usize>) -> AgreeSliceMut<'_> {
        AgreeSliceMut {
            nulls: &mut self.nulls[range.clone()],
            values: match &mut self.values {
                AgreeBufferValues::Integer(values) => AgreeValuesMut::Integer(&mut values[range]),
                AgreeBufferValues::Uuid(values) => AgreeValuesMut::Uuid(&mut values[range]),
            },
        }
    }
}

impl Drop for RowBatch {
    fn drop(&mut self) {
        for (layout, column) in self.layout.shares().iter().zip(&mut self.shares) {
            // Beyond what was written there may be no memory yet.
            let written = &mut column[..layout.len * self.most_rows];
            // As u64 where they are aligned: a quarter as many stores.
            let (before, words, behind) = bytemuck::pod_align_to_mut::<u16, u64>(written);
            before.zeroize();
            words.zeroize();
            behind.zeroize();
        }
    }
}

impl fmt::Debug for RowBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("RowBatch");
        out.field("rows", &self.rows).field("capacity", &self.capacity).finish_non_exhaustive()
    }
}

/// Why a row does not go into a batch. Never holds a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PushError {
    /// There is no room.
    #[error("the batch is full: it has room for {capacity} rows")]
    Full {
        /// Its room, in rows.
        capacity: usize,
    },
    /// The rows have row checks, so they are blinded.
    #[error("the rows of the batch are blinded already")]
    Blinded,
    /// Not one verdict a row.
    #[error("{got} verdicts on {expected} rows")]
    KeepLength {
        /// The rows.
        expected: usize,
        /// The verdicts.
        got: usize,
    },
    /// Too many or too few values.
    #[error("row {id} does not have as many values as the layout has columns")]
    ColumnCount {
        /// The row.
        id: i64,
    },
    /// A UUID where an integer belongs, or the other way round.
    #[error("row {id}: the value of agree column {column:?} is of another kind")]
    AgreeKind {
        /// The row.
        id: i64,
        /// The column.
        column: String,
    },
    /// A share column of another length.
    #[error("row {id}: share column {column:?} has {got} bytes, expected {expected}")]
    ShareLength {
        /// The row.
        id: i64,
        /// The column.
        column: String,
        /// Length by the layout, in bytes.
        expected: usize,
        /// Length found, in bytes.
        got: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{AgreeColumn, ShareColumn};

    fn small() -> RowBatch {
        let agree = vec![
            AgreeColumn { name: "version".into(), kind: AgreeKind::Integer },
            AgreeColumn { name: "semantic".into(), kind: AgreeKind::Uuid },
        ];
        let shares = vec![
            ShareColumn { name: "code".into(), len: 8 },
            ShareColumn { name: "mask".into(), len: 4 },
        ];
        let layout = RowLayout::new(agree, shares).expect("a valid layout");
        RowBatch::with_capacity(Arc::new(layout), 2)
    }

    #[test]
    fn pushed_rows_are_read_back_in_columns() {
        let mut batch = small();
        let (code, mask): (Vec<u8>, Vec<u8>) = ((0..16).collect(), (16..24).collect());
        let agree = [AgreeValue::Integer(-3), AgreeValue::Uuid([9; 16])];
        batch.push_bytes(-7, &agree, &[&code, &mask]).expect("fits");
        let nulls = [AgreeValue::Null, AgreeValue::Null];
        batch.push_bytes(8, &nulls, &[&code, &mask]).expect("fits");
        let rows = batch.rows();
        assert_eq!(rows.ids, [-7, 8]);
        assert_eq!(rows.agree_values(0).collect::<Vec<_>>(), agree);
        assert_eq!(rows.agree_values(1).collect::<Vec<_>>(), nulls);
        assert_eq!(rows.shares[0][..2], [0x0100, 0x0302]);
        let second = rows.slice(1..2);
        assert_eq!(second.ids, [8]);
        assert_eq!(second.share_row(0).next().expect("a column").len(), 8);
    }

    #[test]
    fn a_row_that_does_not_fit_changes_nothing() {
        let mut batch = small();
        let agree = [AgreeValue::Integer(1), AgreeValue::Null];
        let short = batch.push_bytes(1, &agree, &[&[0; 16], &[0; 6]]);
        assert!(matches!(short, Err(PushError::ShareLength { expected: 8, got: 6, .. })));
        let swapped = [AgreeValue::Uuid([0; 16]), AgreeValue::Null];
        let kind = batch.push_bytes(1, &swapped, &[&[0; 16], &[0; 8]]);
        assert!(matches!(kind, Err(PushError::AgreeKind { .. })));
        assert!(batch.is_empty());
        for id in 0..2 {
            batch.push_bytes(id, &agree, &[&[0; 16], &[0; 8]]).expect("fits");
        }
        let full = batch.push_bytes(3, &agree, &[&[0; 16], &[0; 8]]);
        assert_eq!(full, Err(PushError::Full { capacity: 2 }));
        assert!(batch.reset(3, false).is_err());
        assert_eq!(batch.len(), 2);
    }

    #[test]
    fn appended_rows_split_for_two_threads_and_land_behind_the_first() {
        let agree = [AgreeValue::Integer(1), AgreeValue::Null];
        let mut batch = RowBatch::with_capacity(small().layout().clone(), 4);
        batch.push_bytes(1, &agree, &[&[1; 16], &[1; 8]]).expect("fits");
        let (left, mut right) = batch.extend(3).expect("fits").split_at(1);
        assert_eq!((left.len(), right.len()), (1, 2));
        left.ids[0] = 2;
        right.ids.copy_from_slice(&[3, 4]);
        right.agree[0].set(1, AgreeValue::Integer(9));
        right.share_row_mut(1).for_each(|column| column.fill(7));
        assert_eq!(right.share_row(1).map(<[u16]>::len).collect::<Vec<_>>(), [8, 4]);
        assert_eq!(right.agree_values(1).next(), Some(AgreeValue::Integer(9)));
        assert_eq!(batch.extend(1).err(), Some(PushError::Full { capacity: 4 }));
        assert_eq!(batch.rows().ids, [1, 2, 3, 4]);
        assert!(batch.rows().share_row(3).flatten().all(|word| *word == 7));
        assert!(batch.rows().share_row(0).flatten().all(|word| *word == 0x0101));
    }

    #[test]
    fn rows_with_row_checks_take_no_rows_without() {
        let mut batch = small();
        assert_eq!(batch.extend(1).map(|rows| rows.len()).ok(), Some(1));
        assert_eq!(batch.add_row_checks().map(|rows| rows.row_checks.len()).ok(), Some(1));
        assert_eq!(batch.add_row_checks().err(), Some(PushError::Blinded));
        assert_eq!(batch.extend(1).err(), Some(PushError::Blinded));
    }

    #[test]
    fn retained_rows_keep_their_order_and_all_their_columns() {
        let all = [true; 5];
        for keep in
            [all, [false; 5], [true, false, true, false, true], [false, true, true, false, false]]
        {
            let mut batch = RowBatch::with_capacity(small().layout().clone(), 5);
            for id in 0..5_u8 {
                let agree = [AgreeValue::Integer(id.into()), AgreeValue::Uuid([id; 16])];
                batch.push_bytes(id.into(), &agree, &[&[id; 16], &[id; 8]]).expect("fits");
            }
            let with_checks = batch.add_row_checks().expect("has none");
            with_checks.row_checks.iter_mut().zip(0..).for_each(|(check, id)| *check = [id; 8]);
            batch.retain(&keep).expect("one verdict a row");
            let expected: Vec<u8> = (0..5).filter(|id| keep[usize::from(*id)]).collect();
            let rows = batch.rows();
            assert!(rows.is_well_formed());
            assert_eq!(rows.len(), expected.len());
            for (row, id) in expected.into_iter().enumerate() {
                assert_eq!((rows.ids[row], rows.row_checks[row]), (id.into(), [id; 8]));
                let agree = [AgreeValue::Integer(id.into()), AgreeValue::Uuid([id; 16])];
                assert_eq!(rows.agree_values(row).collect::<Vec<_>>(), agree);
                let word = u16::from_le_bytes([id; 2]);
                assert!(rows.share_row(row).flatten().all(|share| *share == word));
            }
        }
    }

    #[test]
    fn verdicts_on_other_rows_change_nothing() {
        let mut batch = small();
        let refused = batch.retain(&[true]);
        assert_eq!(refused, Err(PushError::KeepLength { expected: 0, got: 1 }));
    }

    #[test]
    fn debug_prints_no_share() {
        let mut batch = small();
        let agree = [AgreeValue::Null, AgreeValue::Null];
        batch.push_bytes(1, &agree, &[&[0xab; 16], &[0xab; 8]]).expect("fits");
        assert_eq!(format!("{batch:?}"), "RowBatch { rows: 1, capacity: 2, .. }");
    }
}
