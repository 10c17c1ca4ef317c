//! Statements that leave nothing behind at the server.
//!
//! The driver gives a prepared statement a name. In a connection that a pooler keeps, the name
//! would stay, and meet the next client that uses the same driver. So every statement here has
//! none.

use sqlx::postgres::{PgArguments, PgRow, Postgres};
use sqlx::query::{Query, QueryScalar};
use sqlx::{FromRow, SqlSafeStr};

/// A query whose statement has no name.
pub fn query<'q>(sql: impl SqlSafeStr) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(sql).persistent(false)
}

/// A query of one column whose statement has no name.
pub fn query_scalar<'q, O>(sql: impl SqlSafeStr) -> QueryScalar<'q, Postgres, O, PgArguments>
where
    (O,): for<'r> FromRow<'r, PgRow>,
{
    sqlx::query_scalar(sql).persistent(false)
}
