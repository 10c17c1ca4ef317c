//! A cheap estimate of the rows to move.

use std::sync::Arc;

use reshare_engine::row_batch::RowBatch;
use reshare_files::ids::IdRange;
use reshare_format::package::MAX_PARTS;
use reshare_format::session::Session;
use reshare_postgres::error::DatabaseError;
use reshare_postgres::export::{ExportError, Snapshot};
use reshare_postgres::table::TableSpec;
use sqlx::{AssertSqlSafe, Row};

use super::Probe;
use crate::error::PipelineError;
use crate::rows_wanted::RowIds;
use crate::workers::{Source, Workers};

/// The rows of a table, estimated without counting them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowEstimate {
    /// Their number, at most the number of possible ids.
    pub rows: u64,
    /// How it is known.
    pub known: RowsKnown,
    /// The first and the last existing id in the session's range; `None` when there is no row.
    pub ids: Option<IdRange>,
}

/// How a number of rows is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsKnown {
    /// By the planner's statistics.
    Estimated,
    /// By counting: the table was never analysed.
    Counted,
    /// There are at least so many: the table was never analysed, and is too large to count here.
    AtLeast,
}

/// Rows that are counted where there are no statistics.
const COUNTED_ROWS: u64 = 1_000_000;

impl Probe {
    /// Estimates the rows of the session's ids: two reads of the index of the ids and the planner's
    /// statistics, however large the table is.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn rows(
        &mut self,
        spec: &TableSpec,
        ids: &RowIds,
    ) -> Result<RowEstimate, DatabaseError> {
        let bounds = ids.bounds();
        let (table, within, id) = (spec.name().sql(), spec.within_sql(bounds), spec.id_sql());
        let sql =
            format!("SELECT min({id})::bigint, max({id})::bigint FROM {table} WHERE {within}");
        let row = reshare_postgres::statement::query(AssertSqlSafe(sql))
            .fetch_one(self.ask().await?)
            .await?;
        let ends: (Option<i64>, Option<i64>) = (row.try_get(0)?, row.try_get(1)?);
        let Some(found) = ends.0.zip(ends.1).and_then(|(first, last)| IdRange::new(first, last))
        else {
            return Ok(RowEstimate { rows: 0, known: RowsKnown::Counted, ids: None });
        };
        let room = found.last().abs_diff(found.first()).saturating_add(1);
        let (rows, known) = match ids {
            RowIds::List(ids) => (ids.len() as u64, RowsKnown::Estimated),
            RowIds::Range(_) if self.is_analysed(spec).await? => {
                (self.planned_rows(spec, found).await?, RowsKnown::Estimated)
            }
            RowIds::Range(_) => match self.counted_rows(spec, found).await? {
                rows if rows > COUNTED_ROWS => (rows, RowsKnown::AtLeast),
                rows => (rows, RowsKnown::Counted),
            },
        };
        Ok(RowEstimate { rows: room.min(rows), known, ids: Some(found) })
    }

    /// Whether the planner knows more of the table than a guess. Before version 14 a table without
    /// statistics has no rows there.
    async fn is_analysed(&mut self, spec: &TableSpec) -> Result<bool, DatabaseError> {
        let sql = "SELECT bool_and(reltuples > 0) FROM pg_catalog.pg_class \
                   WHERE oid = pg_catalog.to_regclass($1) OR oid IN \
                       (SELECT relid FROM pg_catalog.pg_partition_tree(pg_catalog.to_regclass($1)) \
                        WHERE isleaf)";
        let analysed = reshare_postgres::statement::query_scalar(sql).bind(spec.name().sql());
        let analysed: Option<bool> = analysed.fetch_one(self.ask().await?).await?;
        Ok(analysed.unwrap_or(false))
    }

    async fn counted_rows(
        &mut self,
        spec: &TableSpec,
        range: IdRange,
    ) -> Result<u64, DatabaseError> {
        let (table, within) = (spec.name().sql(), spec.within_sql(range));
        let limit = COUNTED_ROWS + 1;
        let sql = format!(
            "SELECT count(*) FROM (SELECT FROM {table} WHERE {within} LIMIT {limit}) AS counted"
        );
        let count = reshare_postgres::statement::query_scalar(AssertSqlSafe(sql));
        let count: i64 = count.fetch_one(self.ask().await?).await?;
        Ok(count.unsigned_abs())
    }

    async fn planned_rows(
        &mut self,
        spec: &TableSpec,
        range: IdRange,
    ) -> Result<u64, DatabaseError> {
        let (table, within) = (spec.name().sql(), spec.within_sql(range));
        let sql = format!("EXPLAIN (FORMAT JSON) SELECT 1 FROM {table} WHERE {within}");
        let row = reshare_postgres::statement::query(AssertSqlSafe(sql))
            .fetch_one(self.ask().await?)
            .await?;
        let plan: serde_json::Value = serde_json::from_str(row.try_get_unchecked(0)?)
            .map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
        let rows = plan.pointer("/0/Plan/Plan Rows").and_then(serde_json::Value::as_f64);
        // At least the two ends exist.
        Ok(rows.map_or(1, |rows| rows.max(1.0) as u64))
    }
}

impl RowEstimate {
    /// Refuses a part size that a run would refuse.
    ///
    /// # Errors
    /// [`PipelineError::PartRows`] and [`PipelineError::TooManyParts`].
    pub fn check_parts(&self, session: &Session, workers: &Workers) -> Result<(), PipelineError> {
        workers.check_part(session)?;
        let parts = self.rows.div_ceil(workers.rows_per_part.get() as u64);
        let (parts, limit) = (usize::try_from(parts).unwrap_or(usize::MAX), MAX_PARTS);
        crate::sealer::check_parts(parts.min(limit + 1)).map_err(|error| match error {
            PipelineError::TooManyParts { .. } => PipelineError::TooManyParts { parts, limit },
            error => error,
        })
    }
}

/// Reads the first row of a range as an export does: in a snapshot, through COPY, with
/// every column's length checked. Returns its id; `None` when there is no row.
///
/// # Errors
/// As for an export.
///
/// # Secrecy
/// The row is plain shares. It is in memory for a moment and wiped with its batch.
pub async fn read_first_row(source: &Source, bounds: IdRange) -> Result<Option<i64>, ExportError> {
    let snapshot = Snapshot::open(&source.database, &source.table).await?;
    let mut reader = snapshot.reader();
    let mut batch = RowBatch::with_capacity(Arc::clone(source.table.layout()), 1);
    reader.read_page(bounds, &mut batch).await?;
    reader.close().await;
    snapshot.close().await;
    Ok(batch.rows().ids.first().copied())
}
