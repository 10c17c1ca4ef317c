//! A read-only connection for checks.

use reshare_postgres::connect::{ConnectError, Database};
use reshare_postgres::error::DatabaseError;
use reshare_postgres::load::refuse_referenced;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::references::Deletion;
use reshare_postgres::schema::{SchemaError, compressed_columns, storage_sql};
use reshare_postgres::table::{Table, TableName, TableSpec};
use reshare_postgres::triggers::{Trigger, fired_triggers};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

/// Read-only access to one database. Every statement is its own read-only transaction: the server
/// refuses writes, and a failed statement does not affect the next.
#[derive(Debug)]
pub struct Probe {
    pub(super) connection: PgConnection,
}

impl Probe {
    /// Connects, with the same settings as every other connection of this program.
    ///
    /// # Errors
    /// A [`ConnectError`] that names the server.
    pub async fn open(database: &Database) -> Result<Self, ConnectError> {
        Ok(Self { connection: database.connect_read_only().await? })
    }

    /// Checks the table, as an export and a load do.
    ///
    /// # Errors
    /// As [`Table::inspect`].
    pub async fn table(&mut self, spec: &TableSpec) -> Result<Table, SchemaError> {
        Table::inspect(&mut self.connection, spec).await
    }

    /// Whether a policy would hide rows from this role. Every statement of this program then fails,
    /// so that no row is left out unnoticed.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn hides_rows(&mut self, table: &TableName) -> Result<bool, DatabaseError> {
        let sql = "SELECT pg_catalog.row_security_active($1::text)";
        let active = sqlx::query_scalar(sql).bind(table.sql());
        Ok(active.fetch_one(&mut self.connection).await?)
    }

    /// Whether the table is UNLOGGED: a crash of the server empties it.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn is_unlogged(&mut self, table: &TableName) -> Result<bool, DatabaseError> {
        let sql = "SELECT relpersistence = 'u' FROM pg_catalog.pg_class \
                   WHERE oid = pg_catalog.to_regclass($1)";
        let unlogged = sqlx::query_scalar(sql).bind(table.sql());
        Ok(unlogged.fetch_optional(&mut self.connection).await?.unwrap_or(false))
    }

    /// The SQL that makes the server store shares uncompressed, if it compresses them.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn storage_advice(
        &mut self,
        spec: &TableSpec,
    ) -> Result<Option<String>, DatabaseError> {
        let columns = compressed_columns(&mut self.connection, spec).await?;
        Ok((!columns.is_empty()).then(|| storage_sql(spec, &columns)))
    }

    /// The triggers that a load fires, by name, as the load itself finds them.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn triggers(
        &mut self,
        spec: &TableSpec,
        replace: bool,
    ) -> Result<Vec<Trigger>, DatabaseError> {
        fired_triggers(&mut self.connection, spec, replace).await
    }

    /// Whether a load can delete rows before it inserts others, checked as in the load itself.
    ///
    /// # Errors
    /// As [`refuse_referenced`].
    pub async fn deletable(
        &mut self,
        spec: &TableSpec,
        deletion: Deletion,
    ) -> Result<(), LoadError> {
        refuse_referenced(&mut self.connection, spec, deletion).await
    }

    /// Closes the connection.
    pub async fn close(self) {
        reshare_postgres::export::close(self.connection).await;
    }

    /// Runs a query that returns one boolean.
    pub(super) async fn asks(&mut self, sql: String) -> Result<bool, DatabaseError> {
        let row = sqlx::query(AssertSqlSafe(sql)).fetch_one(&mut self.connection).await?;
        Ok(row.try_get::<Option<bool>, _>(0)?.unwrap_or(false))
    }
}
