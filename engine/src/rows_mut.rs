//! Borrowed rows in columns, to be written.

use std::ops::Range;

use crate::layout::RowLayout;
use crate::rows::{AgreeValue, RowCheck};

/// All columns of a batch, to be written at once: the shapes are those of
/// [`Rows`](crate::rows::Rows).
pub struct RowsMut<'a> {
    /// The columns.
    pub layout: &'a RowLayout,
    /// The rows' ids.
    pub ids: &'a mut [i64],
    /// The agree columns.
    pub agree: Vec<AgreeSliceMut<'a>>,
    /// The row checks; empty unless the batch was asked for them.
    pub row_checks: &'a mut [RowCheck],
    /// The share columns.
    pub shares: Vec<&'a mut [u16]>,
}

/// One agree column of a batch, to be written.
pub struct AgreeSliceMut<'a> {
    /// One byte a row: 1 where the value is NULL, else 0.
    pub nulls: &'a mut [u8],
    /// One value a row, zero where it is NULL.
    pub values: AgreeValuesMut<'a>,
}

/// The values of an agree column to be written, by kind.
pub enum AgreeValuesMut<'a> {
    /// Integers.
    Integer(&'a mut [i64]),
    /// UUIDs.
    Uuid(&'a mut [[u8; 16]]),
}

impl RowsMut<'_> {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether there is no row.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// The agree values of one row, in session order.
    pub fn agree_values(&self, row: usize) -> impl Iterator<Item = AgreeValue> + '_ {
        self.agree.iter().map(move |column| column.value(row))
    }

    /// The shares of one row, column by column in session order.
    pub fn share_row(&self, row: usize) -> impl Iterator<Item = &[u16]> + '_ {
        let columns = self.layout.shares().iter().zip(&self.shares);
        columns.map(move |(column, shares)| &shares[row * column.len..][..column.len])
    }

    /// The shares of one row, to be written.
    pub fn share_row_mut(&mut self, row: usize) -> impl Iterator<Item = &mut [u16]> + '_ {
        self.share_rows_mut(row..row + 1)
    }

    /// The shares of consecutive rows, to be written: column by column in session order, and in
    /// each column row by row.
    pub(crate) fn share_rows_mut(
        &mut self,
        rows: Range<usize>,
    ) -> impl Iterator<Item = &mut [u16]> + '_ {
        let columns = self.layout.shares().iter().zip(&mut self.shares);
        columns.map(move |(column, shares)| {
            &mut shares[rows.start * column.len..rows.end * column.len]
        })
    }
}

impl<'a> RowsMut<'a> {
    /// Splits in front of one row, for two threads.
    ///
    /// # Panics
    /// When there are fewer than `row` rows.
    #[must_use]
    pub fn split_at(self, row: usize) -> (Self, Self) {
        let layout = self.layout;
        let (ids, later_ids) = self.ids.split_at_mut(row);
        let checks = if self.row_checks.is_empty() { 0 } else { row };
        let (row_checks, later_checks) = self.row_checks.split_at_mut(checks);
        let (agree, later_agree) = self.agree.into_iter().map(|c| c.split_at(row)).unzip();
        let columns = layout.shares().iter().zip(self.shares);
        let (shares, later_shares) =
            columns.map(|(column, shares)| shares.split_at_mut(row * column.len)).unzip();
        let first = Self { layout, ids, agree, row_checks, shares };
        let (ids, agree, row_checks) = (later_ids, later_agree, later_checks);
        (first, Self { layout, ids, agree, row_checks, shares: later_shares })
    }
}

impl AgreeSliceMut<'_> {
    /// The value of one row.
    #[must_use]
    pub fn value(&self, row: usize) -> AgreeValue {
        if self.nulls[row] != 0 {
            return AgreeValue::Null;
        }
        match &self.values {
            AgreeValuesMut::Integer(values) => AgreeValue::Integer(values[row]),
            AgreeValuesMut::Uuid(values) => AgreeValue::Uuid(values[row]),
        }
    }

    /// Writes the value of one row; one of another kind than the column's becomes zero.
    pub fn set(&mut self, row: usize, value: AgreeValue) {
        self.nulls[row] = u8::from(value == AgreeValue::Null);
        match &mut self.values {
            AgreeValuesMut::Integer(values) => {
                values[row] = if let AgreeValue::Integer(value) = value { value } else { 0 };
            }
            AgreeValuesMut::Uuid(values) => {
                values[row] = if let AgreeValue::Uuid(value) = value { value } else { [0; 16] };
            }
        }
    }
}

impl<'a> AgreeSliceMut<'a> {
    fn split_at(self, row: usize) -> (Self, Self) {
        let (nulls, later_nulls) = self.nulls.split_at_mut(row);
        let (values, later_values) = match self.values {
            AgreeValuesMut::Integer(values) => {
                let (first, later) = values.split_at_mut(row);
                (AgreeValuesMut::Integer(first), AgreeValuesMut::Integer(later))
            }
            AgreeValuesMut::Uuid(values) => {
                let (first, later) = values.split_at_mut(row);
                (AgreeValuesMut::Uuid(first), AgreeValuesMut::Uuid(later))
            }
        };
        (Self { nulls, values }, Self { nulls: later_nulls, values: later_values })
    }
}
