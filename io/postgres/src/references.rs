//! Foreign keys that refer to a table whose rows are to be replaced.

use std::fmt;

use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::error::DatabaseError;
use super::table::{TableSpec, quote_identifier};

/// A foreign key that does something when a row it refers to is deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// The constraint.
    pub constraint: String,
    /// The table that has it, as SQL.
    pub table_sql: String,
    /// What it does.
    pub action: DeleteAction,
    /// The constraint as SQL, to add it again.
    pub definition_sql: String,
}

/// Why rows are deleted before others are inserted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deletion {
    /// Rows are replaced that this session has not loaded.
    Replace,
    /// Rows of a loaded range are taken back, to be loaded again.
    Redo,
}

/// What a foreign key does when a row it refers to is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteAction {
    /// It refuses, NO ACTION and RESTRICT alike.
    Refuse,
    /// It deletes the rows that refer to it.
    Cascade,
    /// It sets their reference to NULL.
    SetNull,
    /// It sets their reference to its default.
    SetDefault,
}

impl Reference {
    /// The SQL that drops the constraint.
    #[must_use]
    pub fn drop_sql(&self) -> String {
        let Self { constraint, table_sql, .. } = self;
        format!("ALTER TABLE {table_sql} DROP CONSTRAINT {}", quote_identifier(constraint))
    }

    /// The SQL that adds it again.
    #[must_use]
    pub fn add_sql(&self) -> String {
        let Self { constraint, table_sql, definition_sql, .. } = self;
        let constraint = quote_identifier(constraint);
        format!("ALTER TABLE {table_sql} ADD CONSTRAINT {constraint} {definition_sql}")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { constraint, table_sql, action, .. } = self;
        write!(f, "{constraint:?} of table {table_sql} {action}")
    }
}

impl fmt::Display for Deletion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Replace => "to replace a row is to delete it first",
            Self::Redo => "to load a range again is to delete its rows first",
        })
    }
}

impl fmt::Display for DeleteAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refuse => "would refuse that in the middle of the load (NO ACTION or RESTRICT)",
            Self::Cascade => "would delete the rows there that refer to it (ON DELETE CASCADE)",
            Self::SetNull => "would set NULL in the rows there (ON DELETE SET NULL)",
            Self::SetDefault => "would change the rows there (ON DELETE SET DEFAULT)",
        })
    }
}

/// Finds the constraints that refer to the table, its partitions and its children, each by the name
/// of its original definition. A constraint counts only if its trigger on DELETE (bit 3 of its
/// type) fires on this connection. A deferred one that refers only to the id does not count: at the
/// end of the transaction the id is there again.
const CATALOG: &str = "\
    WITH RECURSIVE target(oid) AS (\
        SELECT c.oid FROM pg_catalog.pg_class c \
        JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
        WHERE n.nspname = $1 AND c.relname = $2 \
        UNION SELECT i.inhrelid FROM pg_catalog.pg_inherits i \
        JOIN target ON i.inhparent = target.oid) \
    SELECT DISTINCT made.conname::text, pg_catalog.format('%I.%I', n.nspname, c.relname), \
        k.confdeltype::text, pg_catalog.pg_get_constraintdef(made.oid) \
    FROM pg_catalog.pg_constraint k JOIN target ON target.oid = k.confrelid \
    JOIN pg_catalog.pg_trigger t ON t.tgconstraint = k.oid AND t.tgrelid = k.confrelid \
    JOIN pg_catalog.pg_constraint made ON made.oid = COALESCE(NULLIF(k.conparentid, 0), k.oid) \
    JOIN pg_catalog.pg_class c ON c.oid = made.conrelid \
    JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE k.contype = 'f' AND (t.tgtype & 8) <> 0 \
      AND t.tgenabled::text = ANY(\
          CASE pg_catalog.current_setting('session_replication_role') \
          WHEN 'replica' THEN '{A,R}'::text[] ELSE '{A,O}'::text[] END) \
      AND NOT (k.confdeltype = 'a' AND t.tginitdeferred AND k.confkey = ARRAY(\
          SELECT a.attnum FROM pg_catalog.pg_attribute a \
          WHERE a.attrelid = k.confrelid AND a.attname = $3)) \
    ORDER BY 2, 1";

pub(super) async fn references(
    connection: &mut PgConnection,
    spec: &TableSpec,
) -> Result<Vec<Reference>, DatabaseError> {
    let query =
        crate::statement::query(CATALOG).bind(spec.name().schema()).bind(spec.name().table());
    let rows = query.bind(spec.id_column()).fetch_all(connection).await?;
    let references: Result<_, sqlx::Error> = rows.iter().map(reference).collect();
    Ok(references?)
}

fn reference(row: &PgRow) -> Result<Reference, sqlx::Error> {
    let action = match row.try_get(2)? {
        "c" => DeleteAction::Cascade,
        "n" => DeleteAction::SetNull,
        "d" => DeleteAction::SetDefault,
        _ => DeleteAction::Refuse,
    };
    Ok(Reference {
        constraint: row.try_get(0)?,
        table_sql: row.try_get(1)?,
        action,
        definition_sql: row.try_get(3)?,
    })
}
