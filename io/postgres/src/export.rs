//! Reads a table part by part in one snapshot, over any number of connections.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use reshare_engine::row_batch::RowBatch;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Row};
use time::OffsetDateTime;

use super::connect::{ConnectError, Database};
use super::copy::{DecodeError, Decoder};
use super::error::DatabaseError;
use super::plan::{ExportIds, Grouping, PlannedPart};
use super::schema::{SchemaError, children};
use super::table::{Table, TableName, TableSpec, quote_identifier};
use super::transaction::Purpose;

/// A snapshot of a table, held by an open transaction.
///
/// Its readers do not see later writes; TRUNCATE and ALTER TABLE wait until it is closed. Dropping
/// it closes the connection; [`Snapshot::close`] ends the transaction first.
pub struct Snapshot {
    database: Database,
    table: Arc<Table>,
    control: PgConnection,
    snapshot_id: String,
    taken_at: OffsetDateTime,
    opened: Instant,
}

/// A connection that reads parts of a [`Snapshot`].
///
/// Cancel safe: a read that is dropped or fails leaves its connection in the middle of a COPY. That
/// connection is closed, and the next read opens another; the [`Snapshot`] must still be open then.
pub struct PartReader {
    database: Database,
    table: Arc<Table>,
    snapshot_id: String,
    connection: Option<PgConnection>,
}

/// Ids of one query when they come from a list.
const LISTED_IDS_PER_QUERY: usize = 10_000;

impl Snapshot {
    /// Takes a snapshot of the database and checks the table in it.
    ///
    /// # Errors
    /// An [`ExportError`]: no connection, or not the session's table.
    pub fn open<'a>(
        database: &'a Database,
        spec: &'a TableSpec,
    ) -> BoxFuture<'a, Result<Self, ExportError>> {
        Box::pin(async move {
            let mut control = database.connect().await?;
            let failed = |error| ExportError::database(spec.name(), error);
            let opened = Instant::now();
            // The lock comes before the snapshot: otherwise a TRUNCATE in between would empty the
            // table for this snapshot.
            let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", spec.name().sql());
            let begun = database.begin(&mut control, Purpose::Snapshot, &lock).await;
            if let Err(error) = begun {
                return Err(begin_failure(spec.name(), error));
            }
            let table = Arc::new(Table::inspect(&mut control, spec).await?);
            let row = crate::statement::query(
                "SELECT pg_catalog.pg_export_snapshot(), \
                    (extract(epoch FROM pg_catalog.now()) * 1000000)::bigint",
            );
            let row = row.fetch_one(&mut control).await.map_err(failed)?;
            let snapshot_id = row.try_get(0).map_err(failed)?;
            let microseconds: i64 = row.try_get(1).map_err(failed)?;
            let taken_at =
                OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1_000)
                    .unwrap_or(OffsetDateTime::UNIX_EPOCH);
            Ok(Self { database: database.clone(), table, control, snapshot_id, taken_at, opened })
        })
    }

    /// The table with its real types.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// When the snapshot's transaction began, by the server's clock. Every row is at least as new.
    #[must_use]
    pub fn taken_at(&self) -> OffsetDateTime {
        self.taken_at
    }

    /// When the snapshot is `age` old, by this machine's clock; `None` when that is never.
    #[must_use]
    pub fn reaches_age_at(&self, age: Duration) -> Option<Instant> {
        self.opened.checked_add(age)
    }

    /// Cuts the rows into parts of `rows_per_part`, in id order.
    ///
    /// One pass over the ids on the server, which returns only the ends of the parts.
    ///
    /// # Errors
    /// [`ExportError::Database`].
    pub fn plan<'a>(
        &'a mut self,
        ids: &'a ExportIds<'a>,
        rows_per_part: NonZeroUsize,
    ) -> BoxFuture<'a, Result<Vec<PlannedPart>, ExportError>> {
        Box::pin(async move {
            match ids {
                ExportIds::Range(range) => self.plan_range(*range, rows_per_part).await,
                ExportIds::List(ids) => {
                    let present = self.present_ids(IdRange::ALL, ids).await?;
                    let chunks = present.chunks(rows_per_part.get());
                    Ok(chunks.filter_map(listed_part).collect())
                }
            }
        })
    }

    /// Counts the rows up to `limit`, so that a large table is not read to its end. A list counts
    /// as if each of its ids had a row.
    ///
    /// # Errors
    /// [`ExportError::Database`].
    pub fn count_up_to<'a>(
        &'a mut self,
        ids: &'a ExportIds<'a>,
        limit: u64,
    ) -> BoxFuture<'a, Result<u64, ExportError>> {
        Box::pin(async move {
            let range = match ids {
                ExportIds::Range(range) => *range,
                ExportIds::List(ids) => return Ok(limit.min(ids.len() as u64)),
            };
            let spec = self.table.spec();
            let (name, within) = (spec.name(), spec.within_sql(range));
            let sql = format!(
                "SELECT count(*) FROM (SELECT FROM {} WHERE {within} LIMIT {limit}) AS counted",
                name.sql()
            );
            let count = crate::statement::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&mut self.control)
                .await;
            let count: i64 = count.map_err(|error| ExportError::database(name, error))?;
            Ok(count.unsigned_abs())
        })
    }

    /// Makes one part of the rows within `bounds` and keeps these bounds: for a part that an earlier
    /// run has cut. The part may have no row.
    ///
    /// # Errors
    /// [`ExportError::Database`].
    pub fn recut<'a>(
        &'a mut self,
        ids: &'a ExportIds<'a>,
        bounds: IdRange,
    ) -> BoxFuture<'a, Result<PlannedPart, ExportError>> {
        Box::pin(async move {
            let range = match ids {
                ExportIds::Range(range) => *range,
                ExportIds::List(ids) => {
                    let present = self.present_ids(bounds, ids).await?;
                    let rows = present.len() as u64;
                    return Ok(PlannedPart { ids: bounds, rows, listed: Some(present) });
                }
            };
            let Some(common) = range.intersection(bounds) else {
                return Ok(PlannedPart { ids: bounds, rows: 0, listed: Some(vec![]) });
            };
            let spec = self.table.spec();
            let (name, within) = (spec.name(), spec.within_sql(common));
            let sql = format!("SELECT count(*) FROM {} WHERE {within}", name.sql());
            let count = crate::statement::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&mut self.control)
                .await;
            let count: i64 = count.map_err(|error| ExportError::database(name, error))?;
            Ok(PlannedPart { ids: common, rows: count.unsigned_abs(), listed: None })
        })
    }

    /// A reader of this snapshot. It connects when it first reads.
    #[must_use]
    pub fn reader(&self) -> PartReader {
        PartReader {
            database: self.database.clone(),
            table: Arc::clone(&self.table),
            snapshot_id: self.snapshot_id.clone(),
            connection: None,
        }
    }

    /// Ends the transaction and closes the connection.
    pub async fn close(self) {
        end(self.control).await;
    }

    async fn plan_range(
        &mut self,
        range: IdRange,
        rows_per_part: NonZeroUsize,
    ) -> Result<Vec<PlannedPart>, ExportError> {
        let spec = self.table.spec();
        let failed = |error| ExportError::database(spec.name(), error);
        let (id, table, within) = (spec.id_sql(), spec.name().sql(), spec.within_sql(range));
        let sql = format!(
            "SELECT id::bigint, n, next IS NULL FROM (\
                 SELECT {id} AS id, row_number() OVER w AS n, lead({id}) OVER w AS next \
                 FROM {table} WHERE {within} WINDOW w AS (ORDER BY {id})) AS numbered \
             WHERE (n - 1) % {rows_per_part} = 0 OR n % {rows_per_part} = 0 OR next IS NULL \
             ORDER BY id"
        );
        let mut grouping = Grouping::new(rows_per_part.get() as u64);
        let mut rows = crate::statement::query(AssertSqlSafe(sql)).fetch(&mut self.control);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            let (id, number, is_last) = numbered(&row).map_err(failed)?;
            grouping.push(id, number, is_last);
        }
        drop(rows);
        Ok(grouping.into_parts())
    }

    /// The listed ids that are within `bounds` and have a row, ascending.
    async fn present_ids(
        &mut self,
        bounds: IdRange,
        listed: &[i64],
    ) -> Result<Vec<i64>, ExportError> {
        let mut listed: Vec<i64> =
            listed.iter().copied().filter(|id| bounds.contains(*id)).collect();
        listed.sort_unstable();
        listed.dedup();
        let spec = self.table.spec();
        let (id, table) = (spec.id_sql(), spec.name().sql());
        let sql: Arc<str> =
            format!("SELECT {id}::bigint FROM {table} WHERE {id} = ANY($1) ORDER BY {id}").into();
        let mut present = vec![];
        for chunk in listed.chunks(LISTED_IDS_PER_QUERY) {
            let query = crate::statement::query_scalar(AssertSqlSafe(Arc::clone(&sql))).bind(chunk);
            let found: Vec<i64> = query
                .fetch_all(&mut self.control)
                .await
                .map_err(|error| ExportError::database(spec.name(), error))?;
            present.extend(found);
        }
        Ok(present)
    }
}

impl PartReader {
    /// The table with its real types.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Reads one part into `batch`, in id order, replacing the rows in it.
    ///
    /// # Errors
    /// An [`ExportError`]; `batch` then holds nothing.
    pub fn read<'a>(
        &'a mut self,
        part: &'a PlannedPart,
        batch: &'a mut RowBatch,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        Box::pin(async move {
            let spec = self.table.spec();
            let condition = match &part.listed {
                None => spec.within_sql(part.ids),
                Some(ids) => format!("{} = ANY({})", spec.id_sql(), array_literal(ids)),
            };
            let got = self.copy(&condition, "", part.ids, batch).await?;
            if got == part.rows {
                return Ok(());
            }
            batch.clear();
            let table = self.table.spec().name().clone();
            Err(ExportError::RowCount { table, ids: part.ids, expected: part.rows, got })
        })
    }

    /// Reads the first rows of a range, as many as `batch` has room for.
    ///
    /// # Errors
    /// An [`ExportError`]; `batch` then holds nothing.
    pub fn read_page<'a>(
        &'a mut self,
        range: IdRange,
        batch: &'a mut RowBatch,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        Box::pin(async move {
            let condition = self.table.spec().within_sql(range);
            let limit = format!("LIMIT {}", batch.capacity());
            self.copy(&condition, &limit, range, batch).await?;
            Ok(())
        })
    }

    /// Closes the connection.
    pub async fn close(self) {
        if let Some(connection) = self.connection {
            end(connection).await;
        }
    }

    async fn copy(
        &mut self,
        condition: &str,
        limit: &str,
        ids: IdRange,
        batch: &mut RowBatch,
    ) -> Result<u64, ExportError> {
        batch.clear();
        // Taken out until the COPY is complete: see "Cancel safe" above.
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        match copy_rows(&mut connection, &self.table, condition, limit, (ids, batch)).await {
            Ok(rows) => {
                self.connection = Some(connection);
                Ok(rows)
            }
            // One bad row ends the COPY: the others are found without reading a share.
            Err(ExportError::Decode(
                DecodeError::FieldLength { .. } | DecodeError::NullShare { .. },
            )) if limit.is_empty() => {
                let mut connection = self.connect().await?;
                let found = bad_rows(&mut connection, self.table.spec(), ids, condition).await;
                self.connection = Some(connection);
                Err(found?.unwrap_or_else(|| ExportError::RowCount {
                    table: self.table.spec().name().clone(),
                    ids,
                    expected: 0,
                    got: 0,
                }))
            }
            // No key holds for the rows of an inheriting table.
            Err(ExportError::Decode(DecodeError::UnexpectedId { id, last, .. }))
                if last == Some(id) =>
            {
                let mut connection = self.connect().await?;
                let name = self.table.spec().name();
                let children = children(&mut connection, name).await?.join(", ").into();
                self.connection = Some(connection);
                Err(ExportError::RepeatedId { table: name.clone(), id, children })
            }
            Err(error) => Err(error),
        }
    }

    async fn connect(&self) -> Result<PgConnection, ExportError> {
        let mut connection = self.database.connect().await?;
        let sql = format!("SET TRANSACTION SNAPSHOT '{}'", self.snapshot_id.replace('\'', "''"));
        let begun = self.database.begin(&mut connection, Purpose::Snapshot, &sql).await;
        begun.map_err(|error| ExportError::database(self.table.spec().name(), error))?;
        Ok(connection)
    }
}

/// A text as an SQL literal, for any value of `standard_conforming_strings`.
fn text_literal(text: &str) -> String {
    format!("E'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// Bad rows that are listed.
const LISTED_BAD_ROWS: usize = 10;

/// Finds the rows whose shares do not have the session's lengths; `None` if there is none. The server
/// does not read a share for that.
async fn bad_rows(
    connection: &mut PgConnection,
    spec: &TableSpec,
    ids: IdRange,
    condition: &str,
) -> Result<Option<ExportError>, ExportError> {
    let failed = |error| ExportError::database(spec.name(), error);
    let id = spec.id_sql();
    let columns = spec.layout().shares().iter().map(|column| {
        let (name, bytes) = (quote_identifier(&column.name), 2 * column.len);
        format!("({}, pg_catalog.octet_length({name}), {bytes})", text_literal(&column.name))
    });
    let columns: Vec<String> = columns.collect();
    let sql = format!(
        "WITH bad AS (SELECT {id}::bigint AS id, c.bad_column AS name, c.bad_bytes::bigint AS got \
             FROM {}, LATERAL (VALUES {}) AS c(bad_column, bad_bytes, right_bytes) \
             WHERE {condition} AND c.bad_bytes IS DISTINCT FROM c.right_bytes) \
         SELECT id, name, got, (SELECT count(DISTINCT id) FROM bad) FROM bad \
         ORDER BY id, name LIMIT {LISTED_BAD_ROWS}",
        spec.name().sql(),
        columns.join(", ")
    );
    let mut found = crate::statement::query(AssertSqlSafe(sql)).fetch(connection);
    let (mut rows, mut count) = (vec![], 0);
    while let Some(row) = found.try_next().await.map_err(failed)? {
        let number: i64 = row.try_get(3).map_err(failed)?;
        count = number.unsigned_abs();
        let row = (row.try_get(0), row.try_get(1), row.try_get(2));
        rows.push((row.0.map_err(failed)?, row.1.map_err(failed)?, row.2.map_err(failed)?));
    }
    let table = spec.name().clone();
    Ok((count > 0).then_some(ExportError::BadRows { table, ids, count, rows }))
}

/// Looks for rows of a range whose shares do not have the session's lengths, for at most `limit`.
///
/// # Errors
/// [`ExportError::BadRows`], and [`ExportError::Database`] when that takes too long.
pub fn check_lengths<'a>(
    connection: &'a mut PgConnection,
    spec: &'a TableSpec,
    ids: IdRange,
    limit: Duration,
) -> BoxFuture<'a, Result<(), ExportError>> {
    Box::pin(async move {
        let sql = format!("SET LOCAL statement_timeout = {}", limit.as_millis().max(1));
        let set = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *connection).await;
        set.map_err(|error| ExportError::database(spec.name(), error))?;
        let found = bad_rows(connection, spec, ids, &spec.within_sql(ids)).await?;
        found.map_or(Ok(()), Err)
    })
}

/// Reads the first rows of a range over any connection, as many as `batch` has room for.
pub(super) async fn read_page(
    connection: &mut PgConnection,
    table: &Table,
    range: IdRange,
    batch: &mut RowBatch,
) -> Result<(), ExportError> {
    let condition = table.spec().within_sql(range);
    let limit = format!("LIMIT {}", batch.capacity());
    copy_rows(connection, table, &condition, &limit, (range, batch)).await.map(drop)
}

/// Reads rows whose ids are in a range into a batch, which holds nothing after a failure.
async fn copy_rows(
    connection: &mut PgConnection,
    table: &Table,
    condition: &str,
    limit: &str,
    (ids, batch): (IdRange, &mut RowBatch),
) -> Result<u64, ExportError> {
    batch.clear();
    let spec = table.spec();
    let (columns, name, id) = (spec.columns_sql(), spec.name().sql(), spec.id_sql());
    let sql = format!(
        "COPY (SELECT {columns} FROM {name} WHERE {condition} ORDER BY {id} {limit}) \
         TO STDOUT (FORMAT binary)"
    );
    let rows = decode_copy(connection, &sql, table, ids, batch).await;
    rows.inspect_err(|_| batch.clear()).map_err(|error| match error {
        ExportError::Database { table, source } if source.is_damage() => {
            ExportError::Damaged { table, ids, source: Box::new(source) }
        }
        error => error,
    })
}

async fn decode_copy(
    connection: &mut PgConnection,
    sql: &str,
    table: &Table,
    ids: IdRange,
    batch: &mut RowBatch,
) -> Result<u64, ExportError> {
    let failed = |error| ExportError::database(table.spec().name(), error);
    let mut decoder = Decoder::new(table, ids);
    let mut pieces = connection.copy_out_raw(sql).await.map_err(failed)?;
    while let Some(piece) = pieces.try_next().await.map_err(failed)? {
        decoder.push(&piece, batch)?;
    }
    Ok(decoder.finish()?)
}

/// Ends a transaction that has nothing to keep, then closes. A pooler would otherwise close its own
/// connection too, and after ours: what it holds would be there for a moment longer.
pub async fn end(mut connection: PgConnection) {
    if let Err(error) = sqlx::raw_sql("ROLLBACK").execute(&mut connection).await {
        let error = DatabaseError::from(error);
        tracing::debug!(%error, "a transaction did not end in order");
    }
    close(connection).await;
}

/// A failure to close cleanly has no effect: the server sees the connection end anyway.
pub async fn close(connection: PgConnection) {
    if let Err(error) = connection.close().await {
        let error = DatabaseError::from(error);
        tracing::debug!(%error, "a connection did not close in order");
    }
}

/// An array of ids as SQL.
pub(super) fn array_literal(ids: &[i64]) -> String {
    let mut sql = String::with_capacity(ids.len() * 12 + 16);
    sql.push_str("'{");
    for (index, id) in ids.iter().enumerate() {
        if index > 0 {
            sql.push(',');
        }
        sql.push_str(&id.to_string());
    }
    sql.push_str("}'::bigint[]");
    sql
}

fn listed_part(chunk: &[i64]) -> Option<PlannedPart> {
    Some(PlannedPart {
        ids: IdRange::of(chunk)?,
        rows: chunk.len() as u64,
        listed: Some(chunk.to_vec()),
    })
}

fn numbered(row: &PgRow) -> Result<(i64, u64, bool), sqlx::Error> {
    let number: i64 = row.try_get(1)?;
    Ok((row.try_get(0)?, number.unsigned_abs().max(1), row.try_get(2)?))
}

/// SQLSTATE 42P01 and 3F000: no such table, no such schema.
fn begin_failure(table: &TableName, error: sqlx::Error) -> ExportError {
    let error = DatabaseError::from(error);
    if matches!(error.code(), Some("42P01" | "3F000")) {
        return SchemaError::NoSuchTable { table: table.clone() }.into();
    }
    ExportError::Database { table: table.clone(), source: error }
}

fn rows_do(count: &u64) -> String {
    if *count == 1 { "1 row does".to_owned() } else { format!("{count} rows do") }
}

fn list_bad(rows: &[(i64, String, Option<i64>)]) -> String {
    let shown = rows.iter().map(|(id, column, bytes)| match bytes {
        Some(bytes) => format!("id {id} ({column:?} has {bytes} bytes)"),
        None => format!("id {id} ({column:?} is NULL)"),
    });
    let mut shown: Vec<String> = shown.collect();
    shown.extend((rows.len() == LISTED_BAD_ROWS).then(|| "...".to_owned()));
    shown.join(", ")
}

/// Why an export stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not the table the session is about.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A row that is not of the session's layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The server failed.
    #[error("reading table {table} failed")]
    Database {
        /// The table.
        table: TableName,
        /// What the server says.
        #[source]
        source: DatabaseError,
    },
    /// Rows that are not as the session says.
    #[error(
        "table {table}, ids {ids}: {} not have the session's lengths: {}",
        rows_do(.count),
        list_bad(.rows)
    )]
    BadRows {
        /// The table.
        table: TableName,
        /// The part, or what was looked at.
        ids: IdRange,
        /// How many rows.
        count: u64,
        /// Id, column and bytes found of the first of them; `None` is NULL.
        rows: Vec<(i64, String, Option<i64>)>,
    },
    /// The server cannot read what it has stored.
    #[error("table {table}, ids {ids}: the server finds its data damaged")]
    Damaged {
        /// The table.
        table: TableName,
        /// The ids: one of these rows, or more.
        ids: IdRange,
        /// What the server says.
        #[source]
        source: Box<DatabaseError>,
    },
    /// One id has several rows.
    #[error(
        "table {table}: id {id} has several rows; tables that inherit from it have rows too: {children}"
    )]
    RepeatedId {
        /// The table.
        table: TableName,
        /// The first such id.
        id: i64,
        /// Their names.
        children: Box<str>,
    },
    /// More or fewer rows than planned, though in the same snapshot.
    #[error("table {table}, ids {ids}: {got} rows came, expected {expected}")]
    RowCount {
        /// The table.
        table: TableName,
        /// The part.
        ids: IdRange,
        /// Rows by the plan.
        expected: u64,
        /// Rows received.
        got: u64,
    },
}

impl Refusable for ExportError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_refusal(),
            Self::Schema(error) => error.is_refusal(),
            Self::Decode(error) => !matches!(error, DecodeError::Truncated { .. }),
            Self::Database { source, .. } => source.is_refusal(),
            Self::RowCount { .. }
            | Self::BadRows { .. }
            | Self::Damaged { .. }
            | Self::RepeatedId { .. } => true,
        }
    }
}

impl ExportError {
    fn database(table: &TableName, error: sqlx::Error) -> Self {
        Self::Database { table: table.clone(), source: DatabaseError::from(error) }
    }
}
