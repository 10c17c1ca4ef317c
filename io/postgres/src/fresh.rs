//! Loads a table that is empty, or made so, in one transaction.
//!
//! What a transaction writes into a table that it has truncated itself nobody else can see before
//! it commits: COPY may then write rows that need no VACUUM later (FREEZE), and with
//! `wal_level = minimal` the server syncs the table's files at the end in place of logging every row.

use std::sync::Arc;
use std::time::Duration;

use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};

use super::connect::Database;
use super::error::DatabaseError;
use super::export::close;
use super::load_error::{LOCK_NOT_AVAILABLE, LoadError};
use super::load_source::LoadSource;
use super::progress_table::ProgressTable;
use super::table::{Table, TableName};
use super::verified::forget_all;
use super::write::{CopyMode, Work, Written};

/// The one transaction of a load into a fresh table.
///
/// Nothing is there before [`FreshTable::commit`]: dropping it, or a write that fails, rolls all back.
pub struct FreshTable {
    work: Work,
    /// Out of its place while a write is under way, and gone when one has failed.
    connection: Option<PgConnection>,
}

/// What a fresh table is made of.
pub(super) struct Fresh<'a> {
    pub(super) database: &'a Database,
    /// Another connection: what it makes is there whatever becomes of the load.
    pub(super) control: &'a mut PgConnection,
    pub(super) table: &'a Arc<Table>,
    pub(super) progress: &'a ProgressTable,
    /// Whether rows that are there may be removed.
    pub(super) truncate: bool,
    /// What the rows are from.
    pub(super) source: Option<LoadSource>,
    /// Whether the session has recorded ranges, which are then forgotten.
    pub(super) has_records: bool,
    pub(super) lock_wait: Duration,
}

impl Fresh<'_> {
    pub(super) async fn begin(self) -> Result<FreshTable, LoadError> {
        let name = self.table.spec().name();
        let failed = |error| LoadError::database(name, error);
        let mut connection = self.database.connect().await?;
        self.lock(&mut connection).await?;
        refuse_defects(&mut connection, name, self.truncate).await?;
        let made = self.progress.create(self.control).await;
        made.map_err(|source| LoadError::Database { table: name.clone(), source })?;
        if self.has_records {
            let forgotten = self.progress.forget(&mut connection).await;
            forgotten.map_err(|source| LoadError::Database { table: name.clone(), source })?;
        }
        if self.truncate || self.has_records {
            forget_all(&mut connection, name).await?;
        }
        // Of an empty table, too: only rows of a new file may be frozen at once.
        let sql = format!("TRUNCATE ONLY {}", name.sql());
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map_err(failed)?;
        let work =
            Work::new(Arc::clone(self.table), self.progress.clone(), CopyMode::Freeze, self.source);
        Ok(FreshTable { work, connection: Some(connection) })
    }

    /// Begins the transaction and keeps everybody else from the table until its end.
    async fn lock(&self, connection: &mut PgConnection) -> Result<(), LoadError> {
        let name = self.table.spec().name();
        // In milliseconds; 0 would mean for ever.
        let wait_ms = i32::try_from(self.lock_wait.as_millis()).unwrap_or(i32::MAX).max(1);
        let sql = format!(
            "BEGIN; SET LOCAL lock_timeout = {wait_ms}; \
             LOCK TABLE ONLY {} IN ACCESS EXCLUSIVE MODE; SET LOCAL lock_timeout = 0",
            name.sql()
        );
        let locked = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
        locked.map(drop).map_err(|error| {
            let (table, source) = (name.clone(), DatabaseError::from(error));
            match source.code() {
                Some(LOCK_NOT_AVAILABLE) => {
                    let waited = self.lock_wait;
                    LoadError::NotFresh { table, defect: NotFresh::InUse { waited } }
                }
                Some(INSUFFICIENT_PRIVILEGE) => {
                    LoadError::NotFresh { table, defect: NotFresh::NoRight }
                }
                _ => LoadError::Database { table, source },
            }
        })
    }
}

/// Refuses a table that cannot be loaded as a fresh one, as far as that can be known without a lock.
pub(super) async fn refuse_defects(
    connection: &mut PgConnection,
    name: &TableName,
    truncate: bool,
) -> Result<(), LoadError> {
    let found = defects(connection, name).await;
    let found = found.map_err(|error| LoadError::database(name, error))?;
    let allowed = |defect: &NotFresh| truncate && *defect == NotFresh::NotEmpty;
    match found.into_iter().find(|defect| !allowed(defect)) {
        Some(defect) => Err(LoadError::NotFresh { table: name.clone(), defect }),
        None => Ok(()),
    }
}

/// Why a table that is there cannot be loaded as a fresh one: all that can be known without a lock,
/// that it has rows at the end.
pub async fn defects(
    connection: &mut PgConnection,
    name: &TableName,
) -> Result<Vec<NotFresh>, sqlx::Error> {
    let query = sqlx::query(CATALOG).bind(name.schema()).bind(name.table());
    let row = query.fetch_one(&mut *connection).await?;
    let mut defects = vec![];
    if row.try_get(0)? {
        defects.push(NotFresh::Partitioned);
    }
    if let Some(child) = row.try_get(1)? {
        defects.push(NotFresh::Parent { child });
    }
    if let Some(constraint) = row.try_get(2)? {
        defects.push(NotFresh::Referenced { constraint });
    }
    if let Some(trigger) = row.try_get(3)? {
        defects.push(NotFresh::TruncateTrigger { trigger });
    }
    if !row.try_get::<bool, _>(4)? {
        defects.push(NotFresh::NoRight);
    }
    let sql = format!("SELECT EXISTS (SELECT FROM {})", name.sql());
    if sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await? {
        defects.push(NotFresh::NotEmpty);
    }
    Ok(defects)
}

/// Partitioned; a child; a foreign key of another table; a trigger on TRUNCATE (bit 5 of its
/// type) that is not disabled; whether TRUNCATE is allowed.
const CATALOG: &str = "\
    SELECT c.relkind = 'p', \
           (SELECT min(i.inhrelid::pg_catalog.regclass::text) FROM pg_catalog.pg_inherits i \
            WHERE i.inhparent = c.oid), \
           (SELECT min(k.conname::text || ' of ' || k.conrelid::pg_catalog.regclass::text) \
            FROM pg_catalog.pg_constraint k \
            WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conrelid <> c.oid), \
           (SELECT min(t.tgname::text) FROM pg_catalog.pg_trigger t \
            WHERE t.tgrelid = c.oid AND NOT t.tgisinternal AND t.tgenabled <> 'D' \
              AND (t.tgtype & 32) <> 0), \
           pg_catalog.has_table_privilege(c.oid, 'TRUNCATE') \
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
    WHERE n.nspname = $1 AND c.relname = $2";

impl FreshTable {
    /// Writes the rows of a range and records it, as [`super::write::RangeWriter::write`] does, but
    /// in the transaction of all ranges.
    ///
    /// # Shapes
    /// The ids of `rows` ascend and lie within `range`; there may be none.
    ///
    /// # Errors
    /// A [`LoadError`]; everything is then rolled back.
    pub async fn write(
        &mut self,
        range: IdRange,
        rows: &Rows<'_>,
        digest: [u8; 32],
        leftovers: &Leftovers,
    ) -> Result<Written, LoadError> {
        let mut connection = self.connection.take().ok_or_else(|| self.rolled_back())?;
        let record = self.work.record_of(range, rows, digest, leftovers)?;
        self.work.write_new(&mut connection, &record, rows).await?;
        self.connection = Some(connection);
        Ok(Written::Now)
    }

    /// Commits all ranges.
    ///
    /// # Errors
    /// A [`LoadError`]: nothing is then in the table, unless the connection broke during the commit.
    pub async fn commit(mut self) -> Result<(), LoadError> {
        let mut connection = self.connection.take().ok_or_else(|| self.rolled_back())?;
        self.work.run(&mut connection, "COMMIT").await?;
        close(connection).await;
        Ok(())
    }

    fn rolled_back(&self) -> LoadError {
        LoadError::NotFresh { table: self.work.name().clone(), defect: NotFresh::RolledBack }
    }
}

/// SQLSTATE of a right that is missing.
const INSUFFICIENT_PRIVILEGE: &str = "42501";

/// Why a table cannot be loaded as a fresh one. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotFresh {
    /// It has rows.
    #[error("it is not empty")]
    NotEmpty,
    /// COPY FREEZE does not do partitioned tables.
    #[error("it is partitioned")]
    Partitioned,
    /// Other tables inherit from it.
    #[error("table {child} inherits from it")]
    Parent {
        /// One of them.
        child: String,
    },
    /// TRUNCATE refuses a table that others refer to.
    #[error("it is referred to by the foreign key {constraint}")]
    Referenced {
        /// The constraint and its table.
        constraint: String,
    },
    /// A trigger would see its rows removed.
    #[error("the trigger {trigger:?} fires on TRUNCATE")]
    TruncateTrigger {
        /// The trigger.
        trigger: String,
    },
    /// The role may not.
    #[error("the role may not TRUNCATE it")]
    NoRight,
    /// Somebody else reads or writes it.
    #[error("others use it, still after {waited:?}")]
    InUse {
        /// How long it was waited for.
        waited: Duration,
    },
    /// A write has failed before.
    #[error("its transaction was rolled back")]
    RolledBack,
}

impl NotFresh {
    /// Whether trying again is no help before something is changed.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        !matches!(self, Self::InUse { .. } | Self::RolledBack)
    }
}
