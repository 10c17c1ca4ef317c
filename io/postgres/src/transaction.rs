//! How transactions begin: each says all that its result depends on.
//!
//! Nothing is set outside of a transaction. What a role, a database or a pooler has as default
//! holds for others too, and a setting of a session may stay behind in a connection that others
//! use.

use std::time::Duration;

use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

/// What a transaction is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Each statement sees what is committed; nothing can be changed.
    Look,
    /// All statements see one moment; nothing can be changed.
    Snapshot,
    /// Writes; each statement sees what is committed.
    Write,
    /// Writes, and fails where somebody changes what was read.
    WriteOneMoment,
}

impl Purpose {
    const fn modes(self) -> &'static str {
        match self {
            Self::Look => "ISOLATION LEVEL READ COMMITTED, READ ONLY",
            Self::Snapshot => "ISOLATION LEVEL REPEATABLE READ, READ ONLY",
            Self::Write => "ISOLATION LEVEL READ COMMITTED",
            Self::WriteOneMoment => "ISOLATION LEVEL REPEATABLE READ",
        }
    }
}

/// The statements that begin a transaction. No query is among them, so that a snapshot may follow.
///
/// With `row_security` off, a policy that would hide rows is an error and not a short result.
/// Warnings and notices are turned off: a trigger's may quote the row, and nothing reads them while
/// rows are sent, so many of them would make server and client block each other.
pub(super) fn begin_sql(purpose: Purpose, lock_wait: Duration) -> String {
    // In milliseconds; 0 would mean no limit.
    let lock_wait = i32::try_from(lock_wait.as_millis()).unwrap_or(i32::MAX).max(1);
    format!(
        "BEGIN {}; SET LOCAL row_security = off; SET LOCAL client_min_messages = error; \
         SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; \
         SET LOCAL lock_timeout = {lock_wait}",
        purpose.modes()
    )
}

/// Settings that only some versions have, or that are only raised: a query finds out.
pub(super) const LIFT_SQL: &str = "\
    SELECT pg_catalog.set_config(name, '0', true) FROM pg_catalog.pg_settings \
    WHERE setting <> '0' AND name = 'transaction_timeout'; \
    SELECT pg_catalog.set_config(name, 'on', true) FROM pg_catalog.pg_settings \
    WHERE setting = 'off' AND name = 'synchronous_commit'";

/// Begins a transaction. `first` is the SQL that has to come before any query; it may be empty.
pub(super) async fn begin(
    connection: &mut PgConnection,
    purpose: Purpose,
    lock_wait: Duration,
    first: &str,
) -> Result<(), sqlx::Error> {
    let sql = format!(
        "{}; {first}{}{LIFT_SQL}",
        begin_sql(purpose, lock_wait),
        if first.is_empty() { "" } else { "; " }
    );
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}

/// Ends a transaction, whatever has become of it, and begins another.
pub(super) async fn begin_again(
    connection: &mut PgConnection,
    purpose: Purpose,
    lock_wait: Duration,
) -> Result<(), sqlx::Error> {
    let sql = format!("ROLLBACK; {}; {LIFT_SQL}", begin_sql(purpose, lock_wait));
    sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await.map(drop)
}
