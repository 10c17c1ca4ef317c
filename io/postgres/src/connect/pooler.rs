//! Whether the statements of a connection reach one process of the server.
//!
//! A pooler in transaction or statement mode gives every transaction to any process. What this
//! program needs of a session, such as its lock, would stay at a process that others use next.

use sqlx::Row;
use sqlx::postgres::PgConnection;

/// What was found out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    One,
    /// Statements reach several processes, or a process that others are given too.
    Several,
}

/// The process behind a connection. Not prepared: a pooler may know a statement of this name.
pub(super) async fn backend(connection: &mut PgConnection) -> Result<i32, sqlx::Error> {
    sqlx::raw_sql("SELECT pg_catalog.pg_backend_pid()").fetch_one(connection).await?.try_get(0)
}

/// Asks both of two connections again and again, in turns.
///
/// The first is idle whenever the second is in a transaction: a pooler lends its process out then.
/// It takes either the process that was used last, which shows here, or the next one, which shows
/// in two statements of the first connection.
pub(super) async fn reached(
    first: &mut PgConnection,
    second: &mut PgConnection,
) -> Result<Reached, sqlx::Error> {
    const TURNS: usize = 3;
    let own = backend(first).await?;
    for _ in 0..TURNS {
        for _ in 0..2 {
            if backend(first).await? != own {
                return Ok(Reached::Several);
            }
        }
        sqlx::raw_sql("BEGIN READ ONLY").execute(&mut *second).await?;
        let other = backend(second).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut *second).await?;
        if other == own {
            return Ok(Reached::Several);
        }
    }
    Ok(Reached::One)
}

/// Whether a server's error says that a pooler takes single statements only.
pub(super) fn is_of_statement_pooler(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else { return false };
    error.message().contains("statement pooling mode")
}
