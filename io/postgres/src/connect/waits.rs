//! Says what a connection waits for, and gives up a server that answers nobody.
//!
//! A wait for a lock looks like work from outside. So another connection asks the server, every few
//! seconds, whether one of ours waits and who holds the lock. When the server does not answer
//! that either, for longer than any network recovers in, the ways to it are closed.

use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::plan::Plan;
use super::{ConnectError, Shared, reach};

/// How often the server is asked, and so how long a wait may be unnoticed.
const EVERY: Duration = Duration::from_secs(5);
/// How long an answer may take, at most.
const ANSWER: Duration = Duration::from_secs(20);
/// When a wait that goes on is named once more.
const REPEAT: Duration = Duration::from_secs(60);

/// Watches until `shared` is dropped.
pub(super) async fn watch(plan: Arc<Plan>, shared: Weak<Shared>) {
    let (mut side, mut silent_since) = (None, None);
    // As long as a machine may be silent that is gone; `None` is for ever.
    let patience = plan.keepalive.patience();
    let answer = patience.map_or(ANSWER, |patience| patience.min(ANSWER));
    let mut said: Option<(String, Instant)> = None;
    loop {
        tokio::time::sleep(EVERY).await;
        let Some(backends) = shared.upgrade().map(|shared| shared.backends()) else { return };
        let asked = tokio::time::timeout(answer, ask(&plan, side.take(), &backends)).await;
        match asked {
            Ok(Ok((connection, waits))) => {
                (side, silent_since) = (Some(connection), None);
                let is_new =
                    said.as_ref().is_none_or(|(text, at)| *text != waits || at.elapsed() > REPEAT);
                if waits.is_empty() {
                    said = None;
                } else if is_new {
                    tracing::warn!("{waits}");
                    said = Some((waits, Instant::now()));
                }
            }
            Ok(Err(Silent::No)) => silent_since = None,
            Ok(Err(Silent::Yes)) | Err(_) => {
                let since = *silent_since.get_or_insert_with(Instant::now);
                if patience.is_some_and(|patience| since.elapsed() > patience) {
                    let after = since.elapsed().as_secs();
                    tracing::warn!(
                        "PostgreSQL at {plan} has answered nobody for {after} s: giving it up"
                    );
                    if let Some(shared) = shared.upgrade() {
                        shared.give_up();
                    }
                    return;
                }
            }
        }
    }
}

/// Whether a failure to ask means that nobody answers.
enum Silent {
    Yes,
    No,
}

async fn ask(
    plan: &Plan,
    side: Option<PgConnection>,
    backends: &[i32],
) -> Result<(PgConnection, String), Silent> {
    let mut side = match side {
        Some(side) => side,
        None => match reach(plan, &Shared::default()).await {
            Ok((connection, _)) => connection,
            Err(ConnectError::Unreachable { .. } | ConnectError::TimedOut { .. }) => {
                return Err(Silent::Yes);
            }
            Err(_) => return Err(Silent::No),
        },
    };
    let list: Vec<String> = backends.iter().map(i32::to_string).collect();
    let sql = waits_sql(&format!("w.pid = ANY('{{{}}}')", list.join(",")));
    match sqlx::raw_sql(AssertSqlSafe(sql)).fetch_all(&mut side).await {
        Ok(rows) => Ok((side, described(&rows))),
        Err(sqlx::Error::Database(_)) => Err(Silent::No),
        Err(_) => Err(Silent::Yes),
    }
}

/// Who holds up the processes that `condition` names.
fn waits_sql(condition: &str) -> String {
    format!(
        "SELECT COALESCE(l.relation::pg_catalog.regclass::text, l.locktype), {HOLDER} \
         FROM pg_catalog.pg_stat_activity w \
         CROSS JOIN LATERAL (SELECT * FROM pg_catalog.pg_locks \
             WHERE pid = w.pid AND NOT granted ORDER BY relation LIMIT 1) l \
         CROSS JOIN LATERAL unnest(pg_catalog.pg_blocking_pids(w.pid)) AS b(pid) \
         LEFT JOIN pg_catalog.pg_stat_activity h ON h.pid = b.pid \
         LEFT JOIN pg_catalog.pg_locks pl ON b.pid = 0 AND pl.pid IS NULL AND pl.granted \
             AND pl.relation IS NOT DISTINCT FROM l.relation AND pl.locktype = l.locktype \
         LEFT JOIN pg_catalog.pg_locks t ON pl.virtualtransaction = t.virtualtransaction \
             AND t.pid IS NULL AND t.locktype = 'transactionid' AND t.granted \
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid \
         WHERE {condition} AND w.wait_event_type = 'Lock' ORDER BY 1, 2 LIMIT 10"
    )
}

/// Who a holder is, in words: from `h`, or from `p` where it is a prepared transaction.
const HOLDER: &str = "\
    CASE WHEN p.gid IS NOT NULL THEN 'the prepared transaction ' || pg_catalog.quote_literal(p.gid) \
        || ' of ' || p.owner || ', there since ' || pg_catalog.date_trunc('second', p.prepared)::text \
        || ': end it with COMMIT PREPARED or ROLLBACK PREPARED' \
    WHEN h.pid IS NOT NULL THEN 'process ' || h.pid || ' of ' || COALESCE(h.usename::text, 'the server') \
        || COALESCE(' (' || NULLIF(h.application_name, '') || ')', '') \
        || COALESCE(', ' || h.state, '') \
        || COALESCE(', in a transaction since ' || pg_catalog.date_trunc('second', h.xact_start)::text, '') \
    ELSE 'a prepared transaction: see pg_prepared_xacts' END";

/// Who holds a lock on a table that keeps readers out, in words.
pub(super) fn holders_sql(table: &str) -> String {
    format!(
        "SELECT DISTINCT {HOLDER} FROM pg_catalog.pg_locks l \
         LEFT JOIN pg_catalog.pg_stat_activity h ON h.pid = l.pid \
         LEFT JOIN pg_catalog.pg_locks t ON l.pid IS NULL AND t.pid IS NULL AND t.granted \
             AND t.locktype = 'transactionid' AND t.virtualtransaction = l.virtualtransaction \
         LEFT JOIN pg_catalog.pg_prepared_xacts p ON p.transaction = t.transactionid \
         WHERE l.granted AND l.mode = 'AccessExclusiveLock' \
           AND l.database = (SELECT oid FROM pg_catalog.pg_database \
               WHERE datname = pg_catalog.current_database()) \
           AND l.relation = pg_catalog.to_regclass('{}') ORDER BY 1 LIMIT 3",
        table.replace('\'', "''")
    )
}

fn described(rows: &[PgRow]) -> String {
    let mut lines: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let (what, holder): (String, String) = (row.try_get(0).ok()?, row.try_get(1).ok()?);
            Some(format!("waiting for a lock on {what}, which is held by {holder}"))
        })
        .collect();
    lines.dedup();
    lines.join("; ")
}
