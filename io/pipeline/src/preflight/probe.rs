//! A read-only connection for checks.

use std::time::Duration;

use reshare_files::ids::IdRange;
use reshare_postgres::connect::{ConnectError, Database};
use reshare_postgres::error::DatabaseError;
use reshare_postgres::export::{ExportError, check_lengths};
use reshare_postgres::load::refuse_referenced;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::references::Deletion;
use reshare_postgres::schema::{SchemaError, compressed_columns, storage_sql};
use reshare_postgres::sequence::{SequenceBehind, sequences_behind};
use reshare_postgres::table::{Table, TableName, TableSpec};
use reshare_postgres::triggers::{Trigger, fired_triggers};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

/// Read-only access to one database. Each question is asked in a read-only transaction of its own:
/// the server refuses writes, and a question that failed does not affect the next.
#[derive(Debug)]
pub struct Probe {
    database: Database,
    connection: PgConnection,
}

impl Probe {
    /// Connects, with the same settings as every other connection of this program.
    ///
    /// # Errors
    /// A [`ConnectError`] that names the server.
    pub async fn open(database: &Database) -> Result<Self, ConnectError> {
        let connection = database.connect_read_only().await?;
        Ok(Self { database: database.clone(), connection })
    }

    /// The connection, in a new transaction.
    pub(super) async fn ask(&mut self) -> Result<&mut PgConnection, DatabaseError> {
        self.database.look_again(&mut self.connection).await?;
        Ok(&mut self.connection)
    }

    /// Who holds a lock on the table that keeps readers out, in words.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn lock_holders(&mut self, table: &TableName) -> Result<Vec<String>, DatabaseError> {
        self.database.look_again(&mut self.connection).await?;
        self.database.lock_holders(&mut self.connection, &table.sql()).await
    }

    /// Checks the table, as an export and a load do.
    ///
    /// # Errors
    /// As [`Table::inspect`].
    pub async fn table(&mut self, spec: &TableSpec) -> Result<Table, SchemaError> {
        Table::inspect(self.ask().await?, spec).await
    }

    /// Whether a policy would hide rows from this role. Every statement of this program then fails,
    /// so that no row is left out unnoticed.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn hides_rows(&mut self, table: &TableName) -> Result<bool, DatabaseError> {
        let sql = "SELECT pg_catalog.row_security_active($1::text)";
        let active = reshare_postgres::statement::query_scalar(sql).bind(table.sql());
        Ok(active.fetch_one(self.ask().await?).await?)
    }

    /// Whether the table is UNLOGGED: a crash of the server empties it.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn is_unlogged(&mut self, table: &TableName) -> Result<bool, DatabaseError> {
        let sql = "SELECT relpersistence = 'u' FROM pg_catalog.pg_class \
                   WHERE oid = pg_catalog.to_regclass($1)";
        let unlogged = reshare_postgres::statement::query_scalar(sql).bind(table.sql());
        Ok(unlogged.fetch_optional(self.ask().await?).await?.unwrap_or(false))
    }

    /// The SQL that makes the server store shares uncompressed, if it compresses them.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn storage_advice(
        &mut self,
        spec: &TableSpec,
    ) -> Result<Option<String>, DatabaseError> {
        let columns = compressed_columns(self.ask().await?, spec).await?;
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
        fired_triggers(self.ask().await?, spec, replace).await
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
        let failed = |source| LoadError::Database { table: spec.name().clone(), source };
        refuse_referenced(self.ask().await.map_err(failed)?, spec, deletion).await
    }

    /// Looks for rows whose shares do not have the session's lengths, for at most `limit`.
    ///
    /// # Errors
    /// As [`check_lengths`].
    pub async fn lengths(
        &mut self,
        spec: &TableSpec,
        ids: IdRange,
        limit: Duration,
    ) -> Result<(), ExportError> {
        let failed = |source| ExportError::Database { table: spec.name().clone(), source };
        check_lengths(self.ask().await.map_err(failed)?, spec, ids, limit).await
    }

    /// The sequences of the ids that stand below the highest one.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn sequences(
        &mut self,
        spec: &TableSpec,
    ) -> Result<Vec<SequenceBehind>, DatabaseError> {
        sequences_behind(self.ask().await?, spec).await
    }

    /// Closes the connection.
    pub async fn close(self) {
        reshare_postgres::export::end(self.connection).await;
    }

    /// Runs a query that returns one boolean.
    pub(super) async fn asks(&mut self, sql: String) -> Result<bool, DatabaseError> {
        let row = reshare_postgres::statement::query(AssertSqlSafe(sql))
            .fetch_one(self.ask().await?)
            .await?;
        Ok(row.try_get::<Option<bool>, _>(0)?.unwrap_or(false))
    }
}
