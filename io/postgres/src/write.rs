//! Writes one range in one transaction.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_engine::rows::{AgreeValue, Rows};
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use time::OffsetDateTime;

use super::connect::Database;
use super::copy::Encoder;
use super::error::DatabaseError;
use super::export::{array_literal, close};
use super::load_error::{LISTED_IDS, LoadError};
use super::load_options::{LoadOptions, OnConflict};
use super::load_source::LoadSource;
use super::progress_table::{LoadedRange, ProgressTable, Recorded};
use super::stored::{IDS_PER_QUERY, StoredRow, present_ids, stored_rows};
use super::table::{Table, TableName};
use super::transaction::Purpose;
use super::tries::Tries;
use super::turn::Turn;

/// A connection that writes ranges.
///
/// Cancel safe: a write that is dropped or fails closes its connection, so the server rolls back,
/// and the next write opens another.
pub struct RangeWriter {
    database: Database,
    pub(super) work: Work,
    turn: Turn,
    /// Taken out until a transaction ends: see "Cancel safe" above.
    pub(super) connection: Option<PgConnection>,
}

/// The result of writing a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is now in the table, committed.
    Now,
    /// Exactly this range was already there.
    AlreadyLoaded,
}

impl Written {
    /// Ends the transaction.
    const fn end(self) -> &'static str {
        match self {
            Self::Now => "COMMIT",
            Self::AlreadyLoaded => "ROLLBACK",
        }
    }
}

/// What a write needs in addition to its connection.
pub(super) struct Work {
    pub(super) table: Arc<Table>,
    pub(super) progress: ProgressTable,
    on_conflict: OnConflict,
    source: Option<LoadSource>,
    encoder: Encoder,
}

impl RangeWriter {
    pub(super) fn new(
        database: Database,
        table: Arc<Table>,
        progress: ProgressTable,
        options: LoadOptions,
        turn: Turn,
    ) -> Self {
        let work = Work::new(table, progress, options);
        Self { database, work, turn, connection: None }
    }

    /// Sets what the next ranges are loaded from, which is recorded with each of them.
    pub fn set_source(&mut self, source: LoadSource) {
        self.work.source = Some(source);
    }

    /// Writes the rows of a range and records it, in one transaction.
    ///
    /// `digest` identifies the content: the same range with the same number of rows and digest
    /// is [`Written::AlreadyLoaded`], with another it is refused. Before the commit the agree
    /// columns are read back, so a trigger that changes one is noticed.
    ///
    /// # Shapes
    /// The ids of `rows` ascend and are within `range`; there may be none.
    ///
    /// # Errors
    /// A [`LoadError`]; then nothing of the range is in the table, unless the connection broke
    /// during the commit. A second call finds out.
    pub fn write<'a>(
        &'a mut self,
        range: IdRange,
        rows: &'a Rows<'a>,
        digest: [u8; 32],
        leftovers: &'a Leftovers,
    ) -> BoxFuture<'a, Result<Written, LoadError>> {
        Box::pin(async move {
            let record = self.work.record_of(range, rows, digest, leftovers)?;
            let mut tries = Tries::default();
            loop {
                match self.try_write(&record, rows).await {
                    Ok(written) => return Ok(written),
                    Err(error) => tries.after(&format!("ids {range}"), error).await?,
                }
            }
        })
    }

    async fn try_write(
        &mut self,
        record: &LoadedRange,
        rows: &Rows<'_>,
    ) -> Result<Written, LoadError> {
        let mut connection = self.begin(Purpose::Write).await?;
        let written = self.work.write_new(&mut connection, record, rows).await?;
        self.work.run(&mut connection, written.end()).await?;
        self.connection = Some(connection);
        Ok(written)
    }

    /// Begins a transaction, while this process still keeps others out.
    pub(super) async fn begin(&mut self, purpose: Purpose) -> Result<PgConnection, LoadError> {
        let failed = |error| LoadError::database(self.work.name(), error);
        let mut begun = None;
        if let Some(mut connection) = self.connection.take() {
            match self.database.begin(&mut connection, purpose, "").await {
                Ok(()) => begun = Some(connection),
                // It was idle, and so nothing is lost with it: a server may limit that time.
                Err(error) => {
                    let error = DatabaseError::from(error);
                    tracing::debug!(%error, "an idle connection has ended");
                }
            }
        }
        let mut connection = match begun {
            Some(connection) => connection,
            None => {
                let mut connection = self.connect().await?;
                self.database.begin(&mut connection, purpose, "").await.map_err(failed)?;
                connection
            }
        };
        if !self.turn.lasts(&mut connection).await.map_err(failed)? {
            return Err(LoadError::TurnLost { table: self.work.name().clone() });
        }
        Ok(connection)
    }

    /// Connects, and creates the progress table if it is missing. It is created here, so that a load
    /// that is refused before its first row leaves nothing behind.
    async fn connect(&self) -> Result<PgConnection, LoadError> {
        let mut connection = self.database.connect().await?;
        let made = self.work.progress.create(&self.database, &mut connection).await;
        made.map_err(|source| LoadError::Database { table: self.work.name().clone(), source })?;
        Ok(connection)
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Some(connection) = self.connection {
            close(connection).await;
        }
    }
}

impl Work {
    fn new(table: Arc<Table>, progress: ProgressTable, options: LoadOptions) -> Self {
        let encoder = Encoder::new(Arc::clone(&table));
        let LoadOptions { on_conflict, .. } = options;
        Self { table, progress, on_conflict, source: None, encoder }
    }

    pub(super) fn name(&self) -> &TableName {
        self.table.spec().name()
    }

    /// The record of a range, whose rows must be in order.
    pub(super) fn record_of(
        &self,
        ids: IdRange,
        rows: &Rows<'_>,
        digest: [u8; 32],
        leftovers: &Leftovers,
    ) -> Result<LoadedRange, LoadError> {
        check_order(self.name(), ids, rows.ids)?;
        // The server sets the time.
        let loaded_at = OffsetDateTime::UNIX_EPOCH;
        let (rows, leftovers) = (rows.len() as u64, leftovers.clone());
        let source = self.source.map(LoadSource::to_bytes).unwrap_or_default();
        Ok(LoadedRange { ids, rows, digest, source, leftovers, loaded_at })
    }

    /// Writes and records a range within the caller's transaction.
    pub(super) async fn write_new(
        &mut self,
        connection: &mut PgConnection,
        record: &LoadedRange,
        rows: &Rows<'_>,
    ) -> Result<Written, LoadError> {
        let recorded = self.progress.record(connection, record).await;
        match recorded
            .map_err(|source| LoadError::Database { table: self.name().clone(), source })?
        {
            Recorded::New => {}
            Recorded::Already => return Ok(Written::AlreadyLoaded),
            Recorded::Otherwise(other) => {
                let (table, range) = (self.name().clone(), record.ids);
                return Err(LoadError::LoadedOtherwise { table, range, recorded: other.ids });
            }
        }
        match self.on_conflict {
            OnConflict::Replace { allow_older } => {
                self.remove_existing(connection, rows, allow_older).await?;
            }
            OnConflict::Error => self.refuse_existing(connection, rows).await?,
        }
        self.copy_in(connection, record.ids, rows).await?;
        self.check_stored(connection, rows).await?;
        Ok(Written::Now)
    }

    pub(super) async fn run(
        &self,
        connection: &mut PgConnection,
        sql: &'static str,
    ) -> Result<(), LoadError> {
        let done = sqlx::raw_sql(sql).execute(connection).await;
        done.map(|_| ()).map_err(|error| LoadError::database(self.name(), error))
    }

    async fn refuse_existing(
        &self,
        connection: &mut PgConnection,
        rows: &Rows<'_>,
    ) -> Result<(), LoadError> {
        let present = present_ids(connection, &self.table, rows.ids).await;
        let mut ids = present.map_err(|error| LoadError::database(self.name(), error))?;
        if ids.is_empty() {
            return Ok(());
        }
        ids.truncate(LISTED_IDS + 1);
        Err(LoadError::Conflict { table: self.name().clone(), ids })
    }

    /// Locks existing rows, and deletes them unless one is newer than the delivered row.
    async fn remove_existing(
        &self,
        connection: &mut PgConnection,
        rows: &Rows<'_>,
        allow_older: bool,
    ) -> Result<(), LoadError> {
        let failed = |error| LoadError::database(self.name(), error);
        let mut newer = vec![];
        let mut present = vec![];
        for chunk in rows.ids.chunks(IDS_PER_QUERY) {
            let stored = stored_rows(connection, &self.table, chunk, true).await.map_err(failed)?;
            let is_newer = |row: &&StoredRow| !allow_older && is_newer_than_delivered(row, rows);
            newer.extend(stored.iter().filter(is_newer).map(|row| row.id));
            present.extend(stored.iter().map(|row| row.id));
        }
        if !newer.is_empty() {
            newer.truncate(LISTED_IDS + 1);
            return Err(LoadError::OlderDelivered { table: self.name().clone(), ids: newer });
        }
        let spec = self.table.spec();
        for chunk in present.chunks(IDS_PER_QUERY) {
            let (table, id, ids) = (spec.name().sql(), spec.id_sql(), array_literal(chunk));
            let sql = format!("DELETE FROM {table} WHERE {id} = ANY({ids})");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await.map_err(failed)?;
        }
        Ok(())
    }

    async fn copy_in(
        &mut self,
        connection: &mut PgConnection,
        range: IdRange,
        rows: &Rows<'_>,
    ) -> Result<(), LoadError> {
        let name = self.table.spec().name();
        let failed = |error| LoadError::database(name, error);
        let columns = self.table.spec().columns_sql();
        let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", name.sql());
        let mut copy = connection.copy_in_raw(&sql).await.map_err(failed)?;
        self.encoder.restart();
        while let Some(message) = self.encoder.next_message(rows)? {
            copy.send(message).await.map_err(failed)?;
        }
        let (got, expected) = (copy.finish().await.map_err(failed)?, rows.len() as u64);
        if got == expected {
            return Ok(());
        }
        Err(LoadError::RowCount { table: name.clone(), range, expected, got })
    }

    /// Reads the agree columns back, as triggers may have changed them.
    async fn check_stored(
        &self,
        connection: &mut PgConnection,
        rows: &Rows<'_>,
    ) -> Result<(), LoadError> {
        let mut row = 0;
        for chunk in rows.ids.chunks(IDS_PER_QUERY) {
            let stored = stored_rows(connection, &self.table, chunk, false).await;
            let stored = stored.map_err(|error| LoadError::database(self.name(), error))?;
            let mut stored = stored.iter();
            for id in chunk {
                match stored.next() {
                    Some(found) if found.id == *id => self.check_agree(found, rows, row)?,
                    _ => {
                        let table = self.name().clone();
                        return Err(LoadError::RowNotStored { table, id: *id });
                    }
                }
                row += 1;
            }
        }
        Ok(())
    }

    fn check_agree(
        &self,
        stored: &StoredRow,
        rows: &Rows<'_>,
        row: usize,
    ) -> Result<(), LoadError> {
        let columns = self.table.spec().layout().agree();
        let pairs = rows.agree_values(row).zip(&stored.agree);
        for (column, (delivered, stored_value)) in columns.iter().zip(pairs) {
            if delivered != *stored_value {
                return Err(LoadError::AgreeColumnChanged {
                    table: self.name().clone(),
                    column: column.name.clone(),
                    id: stored.id,
                    delivered,
                    stored: *stored_value,
                });
            }
        }
        Ok(())
    }
}

fn check_order(table: &TableName, range: IdRange, ids: &[i64]) -> Result<(), LoadError> {
    let mut previous = None;
    for &id in ids {
        if previous.is_some_and(|previous| id <= previous) || !range.contains(id) {
            return Err(LoadError::MisplacedRow { table: table.clone(), range, id });
        }
        previous = Some(id);
    }
    Ok(())
}

/// Whether any integer agree column is higher in the table. NULL is lower than any integer.
fn is_newer_than_delivered(stored: &StoredRow, rows: &Rows<'_>) -> bool {
    let Ok(row) = rows.ids.binary_search(&stored.id) else { return false };
    let mut pairs = rows.agree_values(row).zip(&stored.agree);
    pairs.any(|pair| match pair {
        (AgreeValue::Integer(delivered), AgreeValue::Integer(stored)) => *stored > delivered,
        (AgreeValue::Null, AgreeValue::Integer(_)) => true,
        _ => false,
    })
}
