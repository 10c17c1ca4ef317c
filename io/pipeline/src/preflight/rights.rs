//! Checks that the role may do what a run does.

use reshare_postgres::error::DatabaseError;
use reshare_postgres::iris_mpc::{CONTROL_TABLE, METADATA_FUNCTION};
use reshare_postgres::progress_table::PROGRESS_TABLE;
use reshare_postgres::table::{NameError, TableName, TableSpec, quote_identifier};
use reshare_postgres::verified::VERIFIED_TABLE;
use sqlx::Row;

use super::Probe;

/// What a run does with a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TableUse {
    /// Reads it: a sender.
    Read,
    /// Inserts rows, and deletes existing ones if they are to be replaced or loaded again: the
    /// receiver.
    Load {
        /// Whether rows may be replaced.
        replace: bool,
        /// Whether loaded ranges may be taken back, to be loaded again.
        redo: bool,
    },
}

/// A right that the role lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRight {
    /// The right and its object in SQL: `SELECT ON TABLE "a"."b"`.
    pub grant: String,
}

impl Probe {
    /// The role that the statements run as.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn role(&mut self) -> Result<String, DatabaseError> {
        let role = reshare_postgres::statement::query_scalar("SELECT current_user::text");
        Ok(role.fetch_one(self.ask().await?).await?)
    }

    /// The missing rights on an existing table.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn missing_rights(
        &mut self,
        spec: &TableSpec,
        needed: TableUse,
    ) -> Result<Vec<MissingRight>, DatabaseError> {
        let table = spec.name();
        let mut missing = Missing { probe: self, rights: vec![] };
        missing.schema(table, "USAGE").await?;
        // For the table as a whole: the lock of a snapshot, and reading back.
        missing.table(table, "SELECT").await?;
        let TableUse::Load { replace, redo } = needed else { return Ok(missing.rights) };
        missing.insert(spec).await?;
        if replace {
            missing.table(table, "UPDATE").await?;
        }
        if replace || redo {
            missing.table(table, "DELETE").await?;
        }
        let of_progress = ["SELECT", "INSERT", "DELETE"];
        let of_progress = if redo { &of_progress[..] } else { &of_progress[..2] };
        missing.table_in_schema(table, PROGRESS_TABLE, of_progress).await?;
        missing.tables_of_triggers(table).await?;
        Ok(missing.rights)
    }

    /// The missing rights to record a comparison of a load. The comparison is a later run and may
    /// use another role.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn missing_rights_to_record(
        &mut self,
        table: &TableName,
    ) -> Result<Vec<MissingRight>, DatabaseError> {
        let mut missing = Missing { probe: self, rights: vec![] };
        missing.table_in_schema(table, VERIFIED_TABLE, &["SELECT", "INSERT", "UPDATE"]).await?;
        Ok(missing.rights)
    }
}

struct Missing<'a> {
    probe: &'a mut Probe,
    rights: Vec<MissingRight>,
}

impl Missing<'_> {
    async fn schema(&mut self, table: &TableName, right: &str) -> Result<(), DatabaseError> {
        let schema = table.schema();
        let sql = format!("SELECT pg_catalog.has_schema_privilege({}, '{right}')", literal(schema));
        if !self.probe.asks(sql).await? {
            self.push(format!("{right} ON SCHEMA {}", quote_identifier(schema)));
        }
        Ok(())
    }

    async fn table(&mut self, table: &TableName, right: &str) -> Result<(), DatabaseError> {
        let sql = format!("SELECT pg_catalog.has_table_privilege({}, '{right}')", oid_of(table));
        if !self.probe.asks(sql).await? {
            self.push(format!("{right} ON TABLE {}", table.sql()));
        }
        Ok(())
    }

    /// For COPY the right on the columns that it fills is enough.
    async fn insert(&mut self, spec: &TableSpec) -> Result<(), DatabaseError> {
        let columns: Vec<String> = spec.column_names().map(literal).collect();
        let sql = format!(
            "SELECT bool_and(pg_catalog.has_column_privilege({}, name, 'INSERT')) \
             FROM unnest(ARRAY[{}]::text[]) AS name",
            oid_of(spec.name()),
            columns.join(", ")
        );
        if !self.probe.asks(sql).await? {
            self.push(format!("INSERT ON TABLE {}", spec.name().sql()));
        }
        Ok(())
    }

    /// A table of reshare in the target's schema: the rights on it, or the right to create it.
    async fn table_in_schema(
        &mut self,
        table: &TableName,
        name: &str,
        rights: &[&str],
    ) -> Result<(), DatabaseError> {
        let Ok::<_, NameError>(ours) = table.with_name(name) else { return Ok(()) };
        if !self.exists(&ours).await? {
            return self.schema(table, "CREATE").await;
        }
        for right in rights {
            self.table(&ours, right).await?;
        }
        Ok(())
    }

    /// The rights for what the trigger of iris-mpc's newer table reads, as the inserting role.
    async fn tables_of_triggers(&mut self, table: &TableName) -> Result<(), DatabaseError> {
        let sql = format!(
            "SELECT EXISTS (SELECT FROM pg_catalog.pg_trigger t \
             JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
             WHERE t.tgrelid = {} AND t.tgenabled IN ('O', 'A') AND NOT p.prosecdef \
               AND p.proname = '{METADATA_FUNCTION}')",
            oid_of(table)
        );
        if !self.probe.asks(sql).await? {
            return Ok(());
        }
        let Ok(control) = table.with_name(CONTROL_TABLE) else { return Ok(()) };
        if self.exists(&control).await? { self.table(&control, "SELECT").await } else { Ok(()) }
    }

    async fn exists(&mut self, table: &TableName) -> Result<bool, DatabaseError> {
        self.probe.asks(format!("SELECT {} IS NOT NULL", oid_of(table))).await
    }

    fn push(&mut self, grant: String) {
        self.rights.push(MissingRight { grant });
    }
}

/// A table by its entry in the catalog: `regclass` would need USAGE on the schema.
pub(super) fn oid_of(table: &TableName) -> String {
    format!(
        "(SELECT c.oid FROM pg_catalog.pg_class c \
          JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
          WHERE n.nspname = {} AND c.relname = {})",
        literal(table.schema()),
        literal(table.table())
    )
}

/// A text as an SQL literal.
pub(super) fn literal(text: &str) -> String {
    // `E` gives a backslash the same meaning for any value of standard_conforming_strings.
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

impl Probe {
    /// Runs a query that returns texts.
    pub(super) async fn texts(&mut self, sql: String) -> Result<Vec<String>, DatabaseError> {
        let query = reshare_postgres::statement::query(sqlx::AssertSqlSafe(sql));
        let rows = query.fetch_all(self.ask().await?).await?;
        let texts: Result<_, sqlx::Error> = rows.iter().map(|row| row.try_get(0)).collect();
        Ok(texts?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_text_is_quoted_as_one_literal() {
        assert_eq!(literal("a'; DROP TABLE b; --\\"), "E'a''; DROP TABLE b; --\\\\'");
    }
}
