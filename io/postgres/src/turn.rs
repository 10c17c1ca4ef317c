//! A lock that lets one process at a time load a session into a table.

use std::time::Duration;

use reshare_engine::fingerprint::Fingerprint;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::error::DatabaseError;
use super::load_error::{LOCK_NOT_AVAILABLE, LoadError};
use super::table::TableName;

/// An advisory lock. It lasts as long as the transaction that took it, and so no longer than its
/// connection: nothing stays behind in a connection that a pooler keeps.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    key: i64,
    /// The server's process behind that connection.
    backend: i32,
}

impl Turn {
    /// Waits until no other process loads the session into the table. `control` is in a
    /// transaction.
    pub(super) async fn wait(
        control: &mut PgConnection,
        table: &TableName,
        fingerprint: Fingerprint,
        patience: Duration,
    ) -> Result<Self, LoadError> {
        let failed = |error| LoadError::database(table, error);
        let key = advisory_key(&[&table.sql(), &fingerprint.to_string()]);
        let backend = crate::statement::query_scalar("SELECT pg_catalog.pg_backend_pid()");
        let turn = Self { key, backend: backend.fetch_one(&mut *control).await.map_err(failed)? };
        let locked =
            crate::statement::query_scalar("SELECT pg_catalog.pg_try_advisory_xact_lock($1)")
                .bind(key);
        if locked.fetch_one(&mut *control).await.map_err(failed)? {
            return Ok(turn);
        }
        // In milliseconds; 0 would mean no limit.
        let wait_ms = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX).max(1);
        tracing::warn!(%table, "another process loads this session into this table: waiting for it");
        let sql = format!(
            "SET LOCAL lock_timeout = {wait_ms}; \
             SELECT pg_catalog.pg_advisory_xact_lock('{key}'::bigint)"
        );
        match sqlx::raw_sql(AssertSqlSafe(sql)).execute(control).await {
            Ok(_) => Ok(turn),
            Err(error) => match DatabaseError::from(error) {
                error if error.code() == Some(LOCK_NOT_AVAILABLE) => {
                    Err(LoadError::Busy { table: table.clone(), waited: patience })
                }
                source => Err(LoadError::Database { table: table.clone(), source }),
            },
        }
    }

    /// Whether the lock is still held. Any connection can ask. The one that took the lock is idle,
    /// so its end would go unnoticed.
    pub(super) async fn lasts(self, connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
        // The server shows the two halves of the key.
        let held = "SELECT EXISTS (SELECT FROM pg_catalog.pg_locks \
            WHERE locktype = 'advisory' AND granted AND pid = $1 AND objsubid = 1 \
              AND (classid::bigint << 32) | objid::bigint = $2)";
        crate::statement::query_scalar(held)
            .bind(self.backend)
            .bind(self.key)
            .fetch_one(connection)
            .await
    }
}

/// The key of an advisory lock: the same for the same words in every process.
pub(super) fn advisory_key(words: &[&str]) -> i64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"reshare/advisory-lock");
    for word in words {
        hasher.update(&(word.len() as u64).to_le_bytes());
        hasher.update(word.as_bytes());
    }
    let mut key = [0; 8];
    hasher.finalize_xof().fill(&mut key);
    i64::from_le_bytes(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_locks_do_not_run_words_together() {
        assert_ne!(advisory_key(&["ab", "c"]), advisory_key(&["a", "bc"]));
    }
}
