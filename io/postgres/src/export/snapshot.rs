//! A snapshot of a table, and the parts that its rows are cut into.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use reshare_files::ids::IdRange;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use time::OffsetDateTime;

use super::error::ExportError;
use super::part_reader::{PartReader, but};
use crate::connect::Database;
use crate::error::DatabaseError;
use crate::plan::{ExportIds, Grouping, PlannedPart};
use crate::schema::SchemaError;
use crate::table::{Table, TableName, TableSpec};
use crate::transaction::Purpose;

/// A snapshot of a table, held by an open transaction.
///
/// Its readers do not see later writes; TRUNCATE and ALTER TABLE wait until it is closed, unless
/// the server is a standby: that ends the snapshot instead, after a while
/// ([`ExportError::SnapshotLost`]). Dropping it closes the connection; [`Snapshot::close`] ends the
/// transaction first.
pub struct Snapshot {
    database: Database,
    table: Arc<Table>,
    control: PgConnection,
    snapshot_id: String,
    taken_at: OffsetDateTime,
    opened: Instant,
    on_standby: bool,
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
                    (extract(epoch FROM pg_catalog.now()) * 1000000)::bigint, \
                    pg_catalog.pg_is_in_recovery()",
            );
            let row = row.fetch_one(&mut control).await.map_err(failed)?;
            let snapshot_id = row.try_get(0).map_err(failed)?;
            let on_standby = row.try_get(2).map_err(failed)?;
            let microseconds: i64 = row.try_get(1).map_err(failed)?;
            let taken_at =
                OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1_000)
                    .unwrap_or(OffsetDateTime::UNIX_EPOCH);
            let database = database.clone();
            Ok(Self { database, table, control, snapshot_id, taken_at, opened, on_standby })
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
            let failed = |error| ExportError::in_snapshot(name, self.on_standby, error);
            let count: i64 = count.map_err(failed)?;
            Ok(count.unsigned_abs())
        })
    }

    /// Makes one part of the rows within `bounds`, but those of the ids in `without`, and keeps
    /// these bounds: for a part that an earlier run has cut. The part may have no row.
    ///
    /// # Errors
    /// [`ExportError::Database`].
    pub fn recut<'a>(
        &'a mut self,
        ids: &'a ExportIds<'a>,
        bounds: IdRange,
        without: &'a [i64],
    ) -> BoxFuture<'a, Result<PlannedPart, ExportError>> {
        Box::pin(async move {
            let range = match ids {
                ExportIds::Range(range) => *range,
                ExportIds::List(ids) => {
                    let mut present = self.present_ids(bounds, ids).await?;
                    present.retain(|id| !without.contains(id));
                    let (rows, listed) = (present.len() as u64, Some(present));
                    return Ok(PlannedPart { ids: bounds, rows, listed, without: vec![] });
                }
            };
            let Some(common) = range.intersection(bounds) else {
                let listed = Some(vec![]);
                return Ok(PlannedPart { ids: bounds, rows: 0, listed, without: vec![] });
            };
            let spec = self.table.spec();
            let (name, within) = (spec.name(), spec.within_sql(common));
            let others = but(spec, without);
            let sql = format!("SELECT count(*) FROM {} WHERE {within}{others}", name.sql());
            let count = crate::statement::query_scalar(AssertSqlSafe(sql))
                .fetch_one(&mut self.control)
                .await;
            let failed = |error| ExportError::in_snapshot(name, self.on_standby, error);
            let count: i64 = count.map_err(failed)?;
            let (rows, without) = (count.unsigned_abs(), without.to_vec());
            Ok(PlannedPart { ids: common, rows, listed: None, without })
        })
    }

    /// A reader of this snapshot. It connects when it first reads.
    #[must_use]
    pub fn reader(&self) -> PartReader {
        let (database, table) = (self.database.clone(), Arc::clone(&self.table));
        PartReader::new(database, table, self.snapshot_id.clone(), self.on_standby)
    }

    /// Ends the transaction and closes the connection.
    pub async fn close(self) {
        super::end(self.control).await;
    }

    async fn plan_range(
        &mut self,
        range: IdRange,
        rows_per_part: NonZeroUsize,
    ) -> Result<Vec<PlannedPart>, ExportError> {
        let (spec, on_standby) = (self.table.spec(), self.on_standby);
        let failed = |error| ExportError::in_snapshot(spec.name(), on_standby, error);
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
                .map_err(|error| ExportError::in_snapshot(spec.name(), self.on_standby, error))?;
            present.extend(found);
        }
        Ok(present)
    }
}

fn listed_part(chunk: &[i64]) -> Option<PlannedPart> {
    Some(PlannedPart {
        ids: IdRange::of(chunk)?,
        rows: chunk.len() as u64,
        listed: Some(chunk.to_vec()),
        without: vec![],
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
