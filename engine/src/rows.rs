//! Borrowed rows in columns, of a batch in memory or of a mapped file.

use std::fmt;
use std::ops::Range;

use crate::layout::{AgreeKind, RowLayout};

/// Eight bytes that prove that two senders used the same row key, without revealing it.
pub type RowCheck = [u8; 8];

/// One agree value of one row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AgreeValue {
    /// SQL NULL.
    Null,
    /// Any integer column.
    Integer(i64),
    /// A UUID.
    Uuid([u8; 16]),
}

/// One agree column of some rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreeSlice<'a> {
    /// One byte a row: 1 where the value is NULL, else 0.
    pub nulls: &'a [u8],
    /// One value a row, zero where it is NULL.
    pub values: AgreeValues<'a>,
}

/// The values of an agree column, by kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgreeValues<'a> {
    /// Integers.
    Integer(&'a [i64]),
    /// UUIDs.
    Uuid(&'a [[u8; 16]]),
}

impl AgreeSlice<'_> {
    /// The kind of the column.
    #[must_use]
    pub fn kind(&self) -> AgreeKind {
        match self.values {
            AgreeValues::Integer(_) => AgreeKind::Integer,
            AgreeValues::Uuid(_) => AgreeKind::Uuid,
        }
    }

    /// The value of one row.
    #[must_use]
    pub fn value(&self, row: usize) -> AgreeValue {
        if self.nulls[row] != 0 {
            return AgreeValue::Null;
        }
        match self.values {
            AgreeValues::Integer(values) => AgreeValue::Integer(values[row]),
            AgreeValues::Uuid(values) => AgreeValue::Uuid(values[row]),
        }
    }
}

/// Rows in columns, borrowed.
///
/// # Shapes
/// `ids`, every agree column and `row_checks` (empty for shares that are not blinded) have
/// one entry a row; share column `c` has `layout.shares()[c].len` u16 a row, row-major.
///
/// # Secrecy
/// Shares are secret unless they are blinded: `Debug` prints counts only.
#[derive(Clone)]
pub struct Rows<'a> {
    /// The columns.
    pub layout: &'a RowLayout,
    /// The rows' ids, ascending.
    pub ids: &'a [i64],
    /// The agree columns.
    pub agree: Vec<AgreeSlice<'a>>,
    /// The row checks of blinded rows, else empty.
    pub row_checks: &'a [RowCheck],
    /// The share columns.
    pub shares: Vec<&'a [u16]>,
}

impl<'a> Rows<'a> {
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
    pub fn share_row(&self, row: usize) -> impl Iterator<Item = &'a [u16]> + '_ {
        let columns = self.layout.shares().iter().zip(&self.shares);
        columns.map(move |(column, shares)| &shares[row * column.len..][..column.len])
    }

    /// The shares of one row and of all rows after it, column by column in session order.
    pub(crate) fn shares_from(&self, row: usize) -> impl Iterator<Item = &'a [u16]> + '_ {
        let columns = self.layout.shares().iter().zip(&self.shares);
        columns.map(move |(column, shares)| &shares[row * column.len..])
    }

    /// Whether every column is as long and of the kind that the layout says.
    #[must_use]
    pub(crate) fn is_well_formed(&self) -> bool {
        let shares = self.layout.shares();
        self.has_sound_identities()
            && self.shares.len() == shares.len()
            && self
                .shares
                .iter()
                .zip(shares)
                .all(|(slice, column)| column.len.checked_mul(self.len()) == Some(slice.len()))
    }

    /// Whether agree columns and row checks have the lengths and kinds of the layout. The shares
    /// are not checked: a join needs none.
    #[must_use]
    pub(crate) fn has_sound_identities(&self) -> bool {
        let (rows, agree) = (self.len(), self.layout.agree());
        self.agree.len() == agree.len()
            && (self.row_checks.is_empty() || self.row_checks.len() == rows)
            && self.agree.iter().zip(agree).all(|(slice, column)| {
                let values = match slice.values {
                    AgreeValues::Integer(values) => values.len(),
                    AgreeValues::Uuid(values) => values.len(),
                };
                slice.kind() == column.kind && slice.nulls.len() == rows && values == rows
            })
    }

    /// The first id that is not greater than the one in front of it.
    #[must_use]
    pub fn first_id_out_of_order(&self) -> Option<i64> {
        self.ids.windows(2).find(|pair| pair[1] <= pair[0]).map(|pair| pair[1])
    }

    /// The rows of one range of positions.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        let agree = self.agree.iter().map(|column| AgreeSlice {
            nulls: &column.nulls[range.clone()],
            values: match column.values {
                AgreeValues::Integer(values) => AgreeValues::Integer(&values[range.clone()]),
                AgreeValues::Uuid(values) => AgreeValues::Uuid(&values[range.clone()]),
            },
        });
        let columns = self.layout.shares().iter().zip(&self.shares);
        let shares = columns
            .map(|(column, shares)| &shares[range.start * column.len..range.end * column.len]);
        Self {
            layout: self.layout,
            ids: &self.ids[range.clone()],
            agree: agree.collect(),
            row_checks: if self.row_checks.is_empty() {
                &[]
            } else {
                &self.row_checks[range.clone()]
            },
            shares: shares.collect(),
        }
    }
}

impl fmt::Debug for Rows<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rows").field("rows", &self.len()).finish_non_exhaustive()
    }
}
