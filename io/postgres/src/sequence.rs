//! The sequence that gives ids to the application's new rows.
//!
//! COPY writes ids and does not move the sequence: after a load it may give out ids that are there.

use futures_util::future::BoxFuture;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::error::DatabaseError;
use super::table::TableSpec;

/// A sequence that stands below the highest id of its table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceBehind {
    /// The sequence, quoted as SQL.
    pub sequence: String,
    /// The highest id of the table.
    pub highest_id: i64,
    /// The SQL that moves it.
    pub setval: String,
}

/// Finds the sequences of the id column, by identity or default, that stand below its highest id.
///
/// A sequence that this role may not read counts as one that was never used.
///
/// # Errors
/// Any error of the server.
pub fn sequences_behind<'a>(
    connection: &'a mut PgConnection,
    spec: &'a TableSpec,
) -> BoxFuture<'a, Result<Vec<SequenceBehind>, DatabaseError>> {
    Box::pin(async move {
        let (table, id) = (spec.name().sql(), spec.id_sql());
        let of_column = crate::statement::query(
            "SELECT DISTINCT s.oid::pg_catalog.regclass::text, \
                CASE WHEN pg_catalog.has_sequence_privilege(s.oid, 'USAGE, SELECT') \
                    THEN pg_catalog.pg_sequence_last_value(s.oid) END \
             FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attname = $3 \
             LEFT JOIN pg_catalog.pg_attrdef f ON f.adrelid = c.oid AND f.adnum = a.attnum \
             JOIN pg_catalog.pg_depend d ON d.refobjid = c.oid AND d.refobjsubid = a.attnum \
                     AND d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass \
                 OR d.objid = f.oid AND d.classid = 'pg_catalog.pg_attrdef'::pg_catalog.regclass \
             JOIN pg_catalog.pg_class s ON s.relkind = 'S' \
                 AND s.oid = CASE WHEN d.objid = f.oid THEN d.refobjid ELSE d.objid END \
             JOIN pg_catalog.pg_sequence q ON q.seqrelid = s.oid AND q.seqincrement > 0 \
             WHERE n.nspname = $1 AND c.relname = $2 ORDER BY 1",
        );
        let of_column = of_column.bind(spec.name().schema()).bind(spec.name().table());
        let found = of_column.bind(spec.id_column()).fetch_all(&mut *connection).await?;
        if found.is_empty() {
            return Ok(vec![]);
        }
        let highest = format!("SELECT max({id})::bigint FROM {table}");
        let highest = crate::statement::query_scalar(AssertSqlSafe(highest));
        let highest: Option<i64> = highest.fetch_one(connection).await?;
        let Some(highest_id) = highest.filter(|id| *id > 0) else { return Ok(vec![]) };
        let mut behind = vec![];
        for row in found {
            let (sequence, last): (String, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
            if last.is_none_or(|last| last < highest_id) {
                let name = sequence.replace('\'', "''");
                let setval = format!("SELECT setval('{name}', (SELECT max({id}) FROM {table}))");
                behind.push(SequenceBehind { sequence, highest_id, setval });
            }
        }
        Ok(behind)
    })
}
