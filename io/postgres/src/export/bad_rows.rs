//! Finds the rows whose shares do not have the session's lengths.

use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use reshare_files::ids::IdRange;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::error::{ExportError, LISTED_BAD_ROWS};
use crate::table::{TableSpec, quote_identifier};

/// Finds the rows whose shares do not have the session's lengths; `None` if there is none. The server
/// does not read a share for that.
pub(super) async fn bad_rows(
    connection: &mut PgConnection,
    spec: &TableSpec,
    ids: IdRange,
    condition: &str,
) -> Result<Option<ExportError>, ExportError> {
    let failed = |error| ExportError::database(spec.name(), error);
    let id = spec.id_sql();
    let columns = spec.layout().shares().iter().map(|column| {
        let (name, bytes) = (quote_identifier(&column.name), 2 * column.len);
        format!("({}, pg_catalog.octet_length({name}), {bytes})", text_literal(&column.name))
    });
    let columns: Vec<String> = columns.collect();
    let sql = format!(
        "WITH bad AS (SELECT {id}::bigint AS id, c.bad_column AS name, c.bad_bytes::bigint AS got \
             FROM {}, LATERAL (VALUES {}) AS c(bad_column, bad_bytes, right_bytes) \
             WHERE {condition} AND c.bad_bytes IS DISTINCT FROM c.right_bytes) \
         SELECT id, name, got, (SELECT count(DISTINCT id) FROM bad) FROM bad \
         ORDER BY id, name LIMIT {LISTED_BAD_ROWS}",
        spec.name().sql(),
        columns.join(", ")
    );
    let mut found = crate::statement::query(AssertSqlSafe(sql)).fetch(connection);
    let (mut rows, mut count) = (vec![], 0);
    while let Some(row) = found.try_next().await.map_err(failed)? {
        let number: i64 = row.try_get(3).map_err(failed)?;
        count = number.unsigned_abs();
        let row = (row.try_get(0), row.try_get(1), row.try_get(2));
        rows.push((row.0.map_err(failed)?, row.1.map_err(failed)?, row.2.map_err(failed)?));
    }
    let table = spec.name().clone();
    Ok((count > 0).then_some(ExportError::BadRows { table, ids, count, rows }))
}

/// Looks for rows of a range whose shares do not have the session's lengths, for at most `limit`.
///
/// # Errors
/// [`ExportError::BadRows`], and [`ExportError::Database`] when that takes too long.
pub fn check_lengths<'a>(
    connection: &'a mut PgConnection,
    spec: &'a TableSpec,
    ids: IdRange,
    limit: Duration,
) -> BoxFuture<'a, Result<(), ExportError>> {
    Box::pin(async move {
        let sql = format!("SET LOCAL statement_timeout = {}", limit.as_millis().max(1));
        let set = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
        set.map_err(|error| ExportError::database(spec.name(), error))?;
        let found = bad_rows(connection, spec, ids, &spec.within_sql(ids)).await?;
        found.map_or(Ok(()), Err)
    })
}

/// A text as an SQL literal, for any value of `standard_conforming_strings`.
fn text_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}
