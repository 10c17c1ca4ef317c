//! A connection that reads parts of a snapshot.

use std::sync::Arc;

use futures_util::TryStreamExt;
use futures_util::future::BoxFuture;
use reshare_engine::row_batch::RowBatch;
use reshare_files::ids::IdRange;
use sqlx::postgres::PgConnection;

use super::bad_rows::{BadRow, bad_rows, damaged_rows, wrong_lengths};
use super::error::{ExportError, LISTED_BAD_ROWS};
use super::{array_literal, end};
use crate::connect::Database;
use crate::copy::{DecodeError, Decoder};
use crate::error::DatabaseError;
use crate::plan::PlannedPart;
use crate::schema::children;
use crate::table::{Table, TableSpec};
use crate::transaction::Purpose;

/// A connection that reads parts of a [`Snapshot`](super::Snapshot).
///
/// Cancel safe: a read that is dropped or fails leaves its connection in the middle of a COPY. That
/// connection is closed, and the next read opens another; the snapshot must still be open then.
pub struct PartReader {
    database: Database,
    table: Arc<Table>,
    snapshot_id: String,
    on_standby: bool,
    connection: Option<PgConnection>,
}

/// SQLSTATEs of a snapshot that is not there, up to PostgreSQL 15 and since.
const NO_SUCH_SNAPSHOT: [&str; 2] = ["22023", "42704"];

impl PartReader {
    pub(super) fn new(
        database: Database,
        table: Arc<Table>,
        snapshot_id: String,
        on_standby: bool,
    ) -> Self {
        Self { database, table, snapshot_id, on_standby, connection: None }
    }

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
            let condition = self.condition(part, &[]);
            let got = self.copy(&condition, "", part.ids, batch).await?;
            self.check_count(part, part.rows, got).inspect_err(|_| batch.clear())
        })
    }

    /// Reads one part as [`Self::read`] does, without the rows that are not as the session says and
    /// those that the server cannot read. Returns these, by ascending ids.
    ///
    /// # Errors
    /// As [`Self::read`], but for such rows.
    pub fn read_good<'a>(
        &'a mut self,
        part: &'a PlannedPart,
        batch: &'a mut RowBatch,
    ) -> BoxFuture<'a, Result<Vec<BadRow>, ExportError>> {
        Box::pin(async move {
            let mut bad: Vec<BadRow> = vec![];
            loop {
                let condition = self.condition(part, &bad);
                let error = match self.copy(&condition, "", part.ids, batch).await {
                    Ok(got) => {
                        let expected = part.rows.saturating_sub(bad.len() as u64);
                        let counted = self.check_count(part, expected, got);
                        counted.inspect_err(|_| batch.clear())?;
                        return Ok(bad);
                    }
                    Err(error @ (ExportError::BadRows { .. } | ExportError::Damaged { .. })) => {
                        error
                    }
                    Err(error) => return Err(error),
                };
                let found = self.find_bad(&condition).await?;
                if found.is_empty() {
                    return Err(error);
                }
                bad.extend(found);
                bad.sort_unstable_by_key(|row| row.id);
            }
        })
    }

    /// Finds all rows of a part that cannot be read.
    async fn find_bad(&mut self, condition: &str) -> Result<Vec<BadRow>, ExportError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let spec = self.table.spec();
        let failed = |error| ExportError::in_snapshot(spec.name(), self.on_standby, error);
        let mut bad = wrong_lengths(&mut connection, spec, condition).await.map_err(failed)?;
        let others = format!("{condition}{}", but(spec, &ids_of(&bad)));
        let damaged = damaged_rows(&mut connection, spec, &others, usize::MAX).await;
        bad.extend(damaged.map_err(failed)?);
        self.connection = Some(connection);
        Ok(bad)
    }

    /// The rows of a part but the bad ones.
    fn condition(&self, part: &PlannedPart, bad: &[BadRow]) -> String {
        let spec = self.table.spec();
        let rows = match &part.listed {
            None => spec.within_sql(part.ids),
            Some(ids) => format!("{} = ANY({})", spec.id_sql(), array_literal(ids)),
        };
        format!("{rows}{}{}", but(spec, &part.without), but(spec, &ids_of(bad)))
    }

    fn check_count(&self, part: &PlannedPart, expected: u64, got: u64) -> Result<(), ExportError> {
        if got == expected {
            return Ok(());
        }
        let table = self.table.spec().name().clone();
        Err(ExportError::RowCount { table, ids: part.ids, expected, got })
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
            // The server names no row. What fails here too has its reason in the first error.
            Err(ExportError::Damaged { table, ids, source, .. }) if limit.is_empty() => {
                let mut rows = vec![];
                if let Ok(mut connection) = self.connect().await {
                    let spec = self.table.spec();
                    let most = LISTED_BAD_ROWS;
                    let found = damaged_rows(&mut connection, spec, condition, most).await;
                    rows = found.map(|found| ids_of(&found)).unwrap_or_default();
                    self.connection = Some(connection);
                }
                Err(ExportError::Damaged { table, ids, rows, source })
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
            Err(ExportError::Database { table, source }) => {
                Err(ExportError::of_snapshot(&table, self.on_standby, source))
            }
            Err(error) => Err(error),
        }
    }

    async fn connect(&self) -> Result<PgConnection, ExportError> {
        let mut connection = self.database.connect().await?;
        let sql = format!("SET TRANSACTION SNAPSHOT '{}'", self.snapshot_id.replace('\'', "''"));
        let begun = self.database.begin(&mut connection, Purpose::Snapshot, &sql).await;
        let Err(error) = begun else { return Ok(connection) };
        let (name, source) = (self.table.spec().name(), DatabaseError::from(error));
        // The connection that holds the snapshot may end while nothing is asked over it.
        if source.code().is_some_and(|code| NO_SUCH_SNAPSHOT.contains(&code)) {
            let (table, on_standby) = (name.clone(), self.on_standby);
            return Err(ExportError::SnapshotLost { table, on_standby, source: Box::new(source) });
        }
        Err(ExportError::of_snapshot(name, self.on_standby, source))
    }
}

/// Reads the first rows of a range over any connection, as many as `batch` has room for.
pub(crate) async fn read_page(
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
            ExportError::Damaged { table, ids, rows: vec![], source: Box::new(source) }
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

fn ids_of(rows: &[BadRow]) -> Vec<i64> {
    rows.iter().map(|row| row.id).collect()
}

/// SQL that takes some ids out of a condition.
pub(super) fn but(spec: &TableSpec, ids: &[i64]) -> String {
    if ids.is_empty() {
        return String::new();
    }
    format!(" AND {} <> ALL({})", spec.id_sql(), array_literal(ids))
}
