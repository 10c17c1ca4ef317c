//! Checks of the content of columns, for mapped files and streams.

use reshare_engine::layout::RowLayout;
use reshare_engine::rows::{AgreeSlice, AgreeValues, Rows};
use reshare_files::ids::IdRange;

use super::{ShareFileDefect, ShareFileSpec};

/// Checks that ids are strictly ascending and in the range.
pub(super) fn check_ids(ids: &[i64], range: IdRange) -> Result<(), ShareFileDefect> {
    check_ids_from(0, None, ids, range)
}

/// The same for rows in the middle of a file: `first_row` is the position of the first one,
/// `previous` the id before it.
pub(super) fn check_ids_from(
    first_row: u64,
    mut previous: Option<i64>,
    ids: &[i64],
    range: IdRange,
) -> Result<(), ShareFileDefect> {
    for (row, &id) in (first_row..).zip(ids) {
        if !range.contains(id) {
            return Err(ShareFileDefect::IdOutsideRange { row, id, ids: range });
        }
        match previous {
            Some(previous) if id == previous => {
                return Err(ShareFileDefect::DuplicateId { row, id });
            }
            Some(previous) if id < previous => {
                return Err(ShareFileDefect::UnsortedId { row, id, previous });
            }
            _ => previous = Some(id),
        }
    }
    Ok(())
}

/// Checks that every NULL mark is 0 or 1 and that the value of a NULL is zero.
pub(super) fn check_agree(column: &str, slice: &AgreeSlice<'_>) -> Result<(), ShareFileDefect> {
    for (row, &mark) in slice.nulls.iter().enumerate() {
        let empty = || match slice.values {
            AgreeValues::Integer(values) => values[row] == 0,
            AgreeValues::Uuid(values) => values[row] == [0; 16],
        };
        match mark {
            0 => {}
            1 if empty() => {}
            1 => {
                let row = row as u64;
                return Err(ShareFileDefect::ValueUnderNull { column: column.to_owned(), row });
            }
            got => {
                let (column, row) = (column.to_owned(), row as u64);
                return Err(ShareFileDefect::NullMark { column, row, got });
            }
        }
    }
    Ok(())
}

/// Checks that the padding at `offset` is zero.
pub(super) fn check_padding(bytes: &[u8], offset: u64) -> Result<(), ShareFileDefect> {
    match (offset..).zip(bytes).find(|(_, byte)| **byte != 0) {
        Some((offset, _)) => Err(ShareFileDefect::Padding { offset }),
        None => Ok(()),
    }
}

/// Checks that rows given to a writer have the columns of the file and one entry a row.
pub(super) fn check_shape(rows: &Rows<'_>, spec: &ShareFileSpec) -> Result<(), ShareFileDefect> {
    let layout: &RowLayout = &spec.layout;
    if rows.layout != layout {
        return Err(ShareFileDefect::OtherLayout);
    }
    let same = |column: &str, expected: usize, got: usize| {
        if got == expected {
            return Ok(());
        }
        Err(ShareFileDefect::RowsShape { column: column.to_owned(), expected, got })
    };
    let count = rows.ids.len();
    same("agree columns", layout.agree().len(), rows.agree.len())?;
    same("share columns", layout.shares().len(), rows.shares.len())?;
    let checks = if spec.kind.has_row_checks() { count } else { 0 };
    same("row checks", checks, rows.row_checks.len())?;
    for (column, slice) in layout.agree().iter().zip(&rows.agree) {
        same(&column.name, count, slice.nulls.len())?;
        let values = match slice.values {
            AgreeValues::Integer(values) => values.len(),
            AgreeValues::Uuid(values) => values.len(),
        };
        same(&column.name, count, values)?;
        if slice.kind() != column.kind {
            return Err(ShareFileDefect::OtherLayout);
        }
        check_agree(&column.name, slice)?;
    }
    for (column, shares) in layout.shares().iter().zip(&rows.shares) {
        same(&column.name, count * column.len, shares.len())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_must_ascend_inside_the_range() {
        use ShareFileDefect as D;
        let range = IdRange::new(-2, 9).unwrap();
        let refused = |ids: &[i64]| check_ids(ids, range).expect_err("must be refused");
        check_ids(&[], range).unwrap();
        check_ids(&[-2, 0, 9], range).unwrap();
        check_ids(&[i64::MIN, i64::MAX], IdRange::ALL).unwrap();
        assert!(matches!(refused(&[0, 2, 1]), D::UnsortedId { row: 2, id: 1, previous: 2 }));
        assert!(matches!(refused(&[3, 3]), D::DuplicateId { row: 1, id: 3 }));
        assert!(matches!(refused(&[-3]), D::IdOutsideRange { row: 0, id: -3, .. }));
        assert!(matches!(refused(&[1, 10]), D::IdOutsideRange { row: 1, id: 10, .. }));
    }

    #[test]
    fn null_marks_are_zero_or_one_over_nothing() {
        use ShareFileDefect as D;
        let uuids = [[0; 16], [1; 16]];
        let slice = |nulls| AgreeSlice { nulls, values: AgreeValues::Uuid(&uuids) };
        check_agree("a", &slice(&[1, 0])).unwrap();
        check_agree("a", &slice(&[0, 0])).unwrap();
        let refused = |nulls| check_agree("a", &slice(nulls)).expect_err("must be refused");
        assert!(matches!(refused(&[0, 1]), D::ValueUnderNull { row: 1, .. }));
        assert!(matches!(refused(&[2, 0]), D::NullMark { row: 0, got: 2, .. }));
    }
}
