//! Reads a table part by part in one snapshot, over any number of connections.

mod bad_rows;
mod error;
mod part_reader;
mod snapshot;

use sqlx::Connection;
use sqlx::postgres::PgConnection;

pub use self::bad_rows::{BadRow, RowDefect, check_lengths};
pub use self::error::ExportError;
pub use self::part_reader::PartReader;
pub(super) use self::part_reader::read_page;
pub use self::snapshot::Snapshot;
use super::error::DatabaseError;

/// Ends a transaction that has nothing to keep, then closes. A pooler would otherwise close its own
/// connection too, and after ours: what it holds would be there for a moment longer.
pub async fn end(mut connection: PgConnection) {
    if let Err(error) = sqlx::raw_sql("ROLLBACK").execute(&mut connection).await {
        let error = DatabaseError::from(error);
        tracing::debug!(%error, "a transaction did not end in order");
    }
    close(connection).await;
}

/// A failure to close cleanly has no effect: the server sees the connection end anyway.
pub async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        let error = DatabaseError::from(error);
        tracing::debug!(%error, "a connection did not close in order");
    }
}

/// An array of ids as SQL.
pub(super) fn array_literal(ids: &[i64]) -> String {
    let mut sql = String::with_capacity(ids.len() * 12 + 16);
    sql.push_str("'{");
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            sql.push(',');
        }
        sql.push_str(&id.to_string());
    }
    sql.push_str("}'::bigint[]");
    sql
}
