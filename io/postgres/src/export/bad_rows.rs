//! Finds the rows that are not as the session says, and those that the server cannot read.

use std::time::Duration;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use reshare_files::ids::IdRange;
use sqlx::error::DatabaseError as DatabaseErrorOfDriver;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::array_literal;
use super::error::{ExportError, LISTED_BAD_ROWS};
use crate::error::DAMAGE;
use crate::table::{TableSpec, quote_identifier};

/// Finds the rows whose shares do not have the session's lengths; `None` if there is none. The
/// server does not read a share for that.
pub(super) async fn bad_rows(
    connection: &mut PgConnection,
    spec: &TableSpec,
    ids: IdRange,
    condition: &str,
) -> Result<Option<ExportError>, ExportError> {
    let failed = |error| ExportError::database(spec.name(), error);
    let sql = format!(
        "WITH bad AS ({}) \
         SELECT id, name, got, (SELECT count(DISTINCT id) FROM bad) FROM bad \
         ORDER BY id, name LIMIT {LISTED_BAD_ROWS}",
        bad_sql(spec, condition)
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

/// A query of the ids, columns and lengths that are not the session's.
fn bad_sql(spec: &TableSpec, condition: &str) -> String {
    let id = spec.id_sql();
    let columns = spec.layout().shares().iter().enumerate().map(|(place, column)| {
        let (name, bytes) = (quote_identifier(&column.name), 2 * column.len);
        let text = text_literal(&column.name);
        format!("({place}, {text}, pg_catalog.octet_length({name}), {bytes})")
    });
    let columns: Vec<String> = columns.collect();
    format!(
        "SELECT {id}::bigint AS id, c.bad_place AS place, c.bad_column AS name, \
             c.bad_bytes::bigint AS got \
         FROM {}, LATERAL (VALUES {}) AS c(bad_place, bad_column, bad_bytes, right_bytes) \
         WHERE {condition} AND c.bad_bytes IS DISTINCT FROM c.right_bytes",
        spec.name().sql(),
        columns.join(", ")
    )
}

/// A row that cannot be read as the session says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRow {
    /// Its id.
    pub id: i64,
    /// What is the matter with it.
    pub defect: RowDefect,
}

/// Why a row cannot be read. A share column is given by its place in the session's layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowDefect {
    /// A share has another length than the session says.
    Length {
        /// The first such column.
        column: u32,
        /// Bytes found.
        bytes: u64,
    },
    /// A share is missing.
    Null {
        /// The first such column.
        column: u32,
    },
    /// The server finds it damaged.
    Damaged,
}

/// Finds all rows whose shares do not have the session's lengths, by ascending ids. The server does
/// not read a share for that.
pub(super) async fn wrong_lengths(
    connection: &mut PgConnection,
    spec: &TableSpec,
    condition: &str,
) -> Result<Vec<BadRow>, sqlx::Error> {
    let sql = format!(
        "SELECT DISTINCT ON (id) id, place, got FROM ({}) AS bad ORDER BY id, place",
        bad_sql(spec, condition)
    );
    let rows = crate::statement::query(AssertSqlSafe(sql)).fetch_all(connection).await?;
    let bad_row = |row: &PgRow| {
        let (place, got): (i32, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
        let column = place.unsigned_abs();
        let defect = match got {
            Some(bytes) => RowDefect::Length { column, bytes: bytes.unsigned_abs() },
            None => RowDefect::Null { column },
        };
        Ok(BadRow { id: row.try_get(0)?, defect })
    };
    rows.iter().map(bad_row).collect()
}

/// Finds the rows whose shares the server cannot read, by ascending ids, `most` of them at the
/// most.
///
/// Halves the rows until single ones are left: where few are damaged, few queries are needed, and
/// twice as many as rows in the worst case. No share leaves the server.
pub(super) async fn damaged_rows(
    connection: &mut PgConnection,
    spec: &TableSpec,
    condition: &str,
    most: usize,
) -> Result<Vec<BadRow>, sqlx::Error> {
    let (id, table) = (spec.id_sql(), spec.name().sql());
    let sql = format!("SELECT {id}::bigint FROM {table} WHERE {condition} ORDER BY {id}");
    let ids = crate::statement::query_scalar(AssertSqlSafe(sql));
    let ids: Vec<i64> = ids.fetch_all(&mut *connection).await?;
    let (mut found, mut left) = (vec![], vec![&ids[..]]);
    while let Some(ids) = left.pop() {
        if found.len() == most {
            break;
        }
        if ids.is_empty() || are_readable(connection, spec, ids).await? {
            continue;
        }
        match ids {
            [id] => found.push(BadRow { id: *id, defect: RowDefect::Damaged }),
            _ => {
                let (lower, higher) = ids.split_at(ids.len() / 2);
                left.extend([higher, lower]);
            }
        }
    }
    Ok(found)
}

/// Has the server read the shares of some rows.
async fn are_readable(
    connection: &mut PgConnection,
    spec: &TableSpec,
    ids: &[i64],
) -> Result<bool, sqlx::Error> {
    // A comparison reads a value that is stored apart, and its length alone does not.
    let columns = spec.layout().shares().iter().map(|column| {
        let name = quote_identifier(&column.name);
        format!("pg_catalog.count(pg_catalog.byteacmp({name}, ''::pg_catalog.bytea))")
    });
    let columns: Vec<String> = columns.collect();
    let sql = format!(
        "SAVEPOINT probe; SELECT {} FROM {} WHERE {} = ANY({}); RELEASE SAVEPOINT probe",
        columns.join(", "),
        spec.name().sql(),
        spec.id_sql(),
        array_literal(ids)
    );
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await {
        Ok(_) => Ok(true),
        Err(error) => {
            let is_damage = |error: &dyn DatabaseErrorOfDriver| {
                error.code().is_some_and(|code| DAMAGE.contains(&&*code))
            };
            if !error.as_database_error().is_some_and(is_damage) {
                return Err(error);
            }
            sqlx::raw_sql("ROLLBACK TO SAVEPOINT probe").execute(connection).await?;
            Ok(false)
        }
    }
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
