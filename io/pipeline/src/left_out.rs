//! Rows that a sender leaves out because they cannot be read, in a report.

use reshare_format::session::Session;
use reshare_postgres::export::{BadRow, RowDefect};
use serde::Serialize;

/// A row that was left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOutRow {
    /// Its id.
    pub id: i64,
    /// Why, in a few words. No value of the row is in it.
    pub reason: String,
}

/// Names the columns of bad rows.
pub(crate) fn left_out(session: &Session, rows: &[BadRow]) -> Vec<LeftOutRow> {
    let shares = session.layout().shares();
    let name = |column: u32| shares.get(column as usize).map_or("?", |column| &column.name);
    let row = |row: &BadRow| {
        let reason = match row.defect {
            RowDefect::Length { column, bytes } => {
                format!("{:?} has {bytes} bytes", name(column))
            }
            RowDefect::Null { column } => format!("{:?} is NULL", name(column)),
            RowDefect::Damaged => "the server finds it damaged".to_owned(),
        };
        LeftOutRow { id: row.id, reason }
    };
    rows.iter().map(row).collect()
}
