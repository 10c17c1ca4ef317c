//! The receiver's work: joins the rows that two senders delivered, and adds them.

use rayon::iter::{ParallelIterator, split};

use crate::kernel::Kernels;
use crate::row_batch::{PushError, RowBatch};
use crate::rows::Rows;
use crate::rows_mut::RowsMut;

/// Which rows of two senders belong together, and which are left over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Join {
    /// Positions in the first and the second rows of every row that both have and agree on,
    /// by ascending id.
    pub pairs: Vec<(u32, u32)>,
    /// Ids that only the first sender has, ascending.
    pub only_first: Vec<i64>,
    /// Ids that only the second sender has, ascending.
    pub only_second: Vec<i64>,
    /// Ids whose agree values differ, ascending.
    pub disagree: Vec<i64>,
}

/// Joins the blinded rows of two senders by id.
///
/// Needs ids, agree columns and row checks; the shares may be missing.
///
/// # Errors
/// A [`MergeError`] when the two cannot be joined, above all [`MergeError::RowCheck`] for rows
/// that agree but were blinded with different row keys.
///
/// # Secrecy
/// Branches on ids, agree values and row checks, which the receiver may know, and reads no share.
pub fn join(first: &Rows<'_>, second: &Rows<'_>) -> Result<Join, MergeError> {
    let sound = first.has_sound_identities() && second.has_sound_identities();
    check_pair(sound, first, second)?;
    for rows in [first, second] {
        if let Some(id) = rows.first_id_out_of_order() {
            return Err(MergeError::IdsNotAscending { id });
        }
        if rows.row_checks.len() != rows.len() {
            return Err(MergeError::NotBlinded);
        }
    }
    let mut join = Join::default();
    let (mut a, mut b) = (0, 0);
    while a < first.len() && b < second.len() {
        let (id, other) = (first.ids[a], second.ids[b]);
        if id < other {
            join.only_first.push(id);
            a += 1;
        } else if other < id {
            join.only_second.push(other);
            b += 1;
        } else {
            if !first.agree_values(a).eq(second.agree_values(b)) {
                join.disagree.push(id);
            } else if first.row_checks[a] != second.row_checks[b] {
                return Err(MergeError::RowCheck { id });
            } else {
                join.pairs.push((position(a)?, position(b)?));
            }
            (a, b) = (a + 1, b + 1);
        }
    }
    join.only_first.extend_from_slice(&first.ids[a..]);
    join.only_second.extend_from_slice(&second.ids[b..]);
    Ok(join)
}

/// Rebuilds the rows of `pairs` and appends them to `rebuilt`: `s = m_first + m_second`.
///
/// Works on as many threads as the current rayon pool has. Rebuilt rows have no row checks.
///
/// # Errors
/// A [`MergeError`] when the rows differ in layout, a pair is not one row, or `rebuilt` has too
/// little room; `rebuilt` is then unchanged.
///
/// # Source
/// `docs/format.md`, *Weight and blind*.
pub fn merge(
    first: &Rows<'_>,
    second: &Rows<'_>,
    pairs: &[(u32, u32)],
    rebuilt: &mut RowBatch,
) -> Result<(), MergeError> {
    merge_with(Kernels::detect(), first, second, pairs, rebuilt)
}

/// Does what [`merge`] does, with the kernels of one backend.
///
/// # Errors
/// Those of [`merge`].
pub fn merge_with(
    kernels: Kernels,
    first: &Rows<'_>,
    second: &Rows<'_>,
    pairs: &[(u32, u32)],
    rebuilt: &mut RowBatch,
) -> Result<(), MergeError> {
    check_pair(first.is_well_formed() && second.is_well_formed(), first, second)?;
    if first.layout != &**rebuilt.layout() {
        return Err(MergeError::LayoutsDiffer);
    }
    for (a, b) in pairs {
        let id = |rows: &Rows<'_>, row: u32| rows.ids.get(row as usize).copied();
        let ids = (id(first, *a), id(second, *b));
        if ids.0.is_none() || ids.0 != ids.1 {
            return Err(MergeError::NoPair { first: *a, second: *b });
        }
    }
    let rebuilt = rebuilt.extend(pairs.len())?;
    split(Piece { pairs, rebuilt }, Piece::split)
        .for_each(|piece| piece.merge(kernels, first, second));
    Ok(())
}

fn check_pair(sound: bool, first: &Rows<'_>, second: &Rows<'_>) -> Result<(), MergeError> {
    if !sound {
        return Err(MergeError::Malformed);
    }
    if first.layout == second.layout { Ok(()) } else { Err(MergeError::LayoutsDiffer) }
}

fn position(row: usize) -> Result<u32, MergeError> {
    u32::try_from(row).map_err(|_| MergeError::TooManyRows { rows: row })
}

/// A piece of the rows to be rebuilt.
struct Piece<'a> {
    pairs: &'a [(u32, u32)],
    rebuilt: RowsMut<'a>,
}

impl Piece<'_> {
    fn split(self) -> (Self, Option<Self>) {
        let middle = self.pairs.len() / 2;
        if middle == 0 {
            return (self, None);
        }
        let (pairs, later_pairs) = self.pairs.split_at(middle);
        let (rebuilt, later) = self.rebuilt.split_at(middle);
        (Self { pairs, rebuilt }, Some(Self { pairs: later_pairs, rebuilt: later }))
    }

    fn merge(self, kernels: Kernels, first: &Rows<'_>, second: &Rows<'_>) {
        let Self { pairs, mut rebuilt } = self;
        for (row, (a, _)) in pairs.iter().enumerate() {
            rebuilt.ids[row] = first.ids[*a as usize];
            for (to, from) in rebuilt.agree.iter_mut().zip(&first.agree) {
                to.set(row, from.value(*a as usize));
            }
        }
        // Column by column: memory is fastest with three streams at a time.
        let senders = first.shares.iter().zip(&second.shares);
        let columns = first.layout.shares().iter().zip(rebuilt.shares).zip(senders);
        for ((column, rebuilt), (first, second)) in columns {
            for (to, (a, b)) in rebuilt.chunks_exact_mut(column.len).zip(pairs) {
                let first = &first[*a as usize * column.len..][..column.len];
                let second = &second[*b as usize * column.len..][..column.len];
                kernels.merge(to, first, second).expect("all three are one column long");
            }
        }
    }
}

/// Why rows are not merged. Never holds a share.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// The columns are not those of the layout.
    #[error("the columns of the rows are not as long or not of the kinds that the layout says")]
    Malformed,
    /// The two senders' rows, or the rebuilt ones, have different layouts.
    #[error("the rows that are to be merged have different layouts")]
    LayoutsDiffer,
    /// Rows without row checks.
    #[error("the rows have no row checks, so no sender blinded them")]
    NotBlinded,
    /// An id that appears twice or is out of order.
    #[error("row {id} is not greater than the row in front of it")]
    IdsNotAscending {
        /// The row.
        id: i64,
    },
    /// Both senders agree on the row, but used different row keys.
    #[error("row {id}: the row checks of the two senders differ, so their keys do")]
    RowCheck {
        /// The row.
        id: i64,
    },
    /// Positions that do not name the same row on both sides.
    #[error("positions {first} and {second} are not the same row on both sides")]
    NoPair {
        /// Position in the first rows.
        first: u32,
        /// Position in the second rows.
        second: u32,
    },
    /// More rows at once than a position can name.
    #[error("{rows} rows are more than can be joined at once")]
    TooManyRows {
        /// How many there are, at least.
        rows: usize,
    },
    /// The rows do not fit.
    #[error(transparent)]
    Batch(#[from] PushError),
}
