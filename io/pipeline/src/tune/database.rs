//! Measures COPY out of a table and into a temporary one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use reshare_engine::layout::AgreeKind;
use reshare_engine::row_batch::RowBatch;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_postgres::copy::Encoder;
use reshare_postgres::export::{ExportError, PartReader, Snapshot, close};
use reshare_postgres::load_error::LoadError;
use reshare_postgres::table::{
    AgreeType, IntegerWidth, Table, TableName, TableSpec, quote_identifier,
};
use reshare_postgres::transaction::Purpose;
use serde::Serialize;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;
use tokio::task::JoinSet;

use super::{Speed, TuneError, fewest_workers, some_rows, worker_counts};
use crate::error::PipelineError;
use crate::workers::Source;

/// The speeds of the database.
#[derive(Debug, Clone, Serialize)]
pub struct DatabaseSpeed {
    /// COPY out of the table, by connections; empty if the table has no row.
    pub copy_out: Vec<Speed>,
    /// COPY into a temporary table, by connections; empty if the role may not create one.
    pub copy_in: Vec<Speed>,
    /// Why `copy_in` is empty, if it is.
    pub copy_in_refused: Option<String>,
}

impl DatabaseSpeed {
    /// The fewest connections that are about as fast as any number, in both directions; `None` when
    /// nothing was measured.
    #[must_use]
    pub fn connections(&self) -> Option<usize> {
        let ways = [&self.copy_out, &self.copy_in];
        ways.into_iter().filter_map(|way| fewest_workers(way)).map(|speed| speed.workers).max()
    }
}

/// Rows of one COPY.
const ROWS: usize = 256;

/// Measures for about `time`: reads in a read-only transaction, writes to temporary tables in
/// transactions that are rolled back.
///
/// # Errors
/// A [`TuneError`].
pub fn measure_database<'a>(
    source: &'a Source,
    most_connections: usize,
    time: Duration,
    progress: &'a Progress,
) -> BoxFuture<'a, Result<DatabaseSpeed, TuneError>> {
    Box::pin(async move {
        let connections = worker_counts(most_connections);
        let slot = time / u32::try_from(2 * connections.len()).unwrap_or(u32::MAX);
        let snapshot = opened(Snapshot::open(&source.database, &source.table).await)?;
        let mut copy_out = vec![];
        for &workers in &connections {
            copy_out.extend(copy_out_with(&snapshot, workers, slot, progress).await?);
        }
        let spec = source.table.clone();
        snapshot.close().await;
        let (mut copy_in, mut copy_in_refused) = (vec![], None);
        for &workers in &connections {
            match copy_in_with(source, &spec, workers, slot, progress).await {
                Ok(speed) => copy_in.push(speed),
                Err(LoadError::Database { source, .. }) => {
                    copy_in_refused = Some(source.to_string());
                    copy_in.clear();
                    break;
                }
                Err(error) => return Err(PipelineError::from(error).into()),
            }
            if progress.stopped() {
                return Err(PipelineError::Stopped.into());
            }
        }
        Ok(DatabaseSpeed { copy_out, copy_in, copy_in_refused })
    })
}

/// Reads pages of rows; `None` when there are no rows.
async fn copy_out_with(
    snapshot: &Snapshot,
    workers: usize,
    slot: Duration,
    progress: &Progress,
) -> Result<Option<Speed>, TuneError> {
    let layout = Arc::clone(snapshot.table().spec().layout());
    let mut tasks = JoinSet::new();
    let mut ready = vec![];
    for _ in 0..workers {
        let (mut reader, mut batch) =
            (snapshot.reader(), RowBatch::with_capacity(Arc::clone(&layout), ROWS));
        // Connects and reads its first rows before the clock starts.
        opened(reader.read_page(IdRange::ALL, &mut batch).await)?;
        ready.push((reader, batch));
    }
    if ready.iter().all(|(_, batch)| batch.is_empty()) {
        return Ok(None);
    }
    let start = Instant::now();
    for (reader, batch) in ready {
        tasks.spawn(read_pages(reader, batch, start + slot));
    }
    let mut rows = 0;
    while let Some(read) = tasks.join_next().await {
        rows += opened(read.map_err(|_| PipelineError::WorkerLost)?)?;
        if progress.stopped() {
            return Err(PipelineError::Stopped.into());
        }
    }
    Ok(Some(Speed::of(workers, rows, &layout, start.elapsed())))
}

/// Reads the table page by page, then starts again from its beginning.
async fn read_pages(
    mut reader: PartReader,
    mut batch: RowBatch,
    until: Instant,
) -> Result<u64, ExportError> {
    let mut rows = 0;
    while rows == 0 || Instant::now() < until {
        let next = batch.rows().ids.last().and_then(|last| last.checked_add(1));
        let ahead = next.and_then(|first| IdRange::new(first, i64::MAX));
        reader.read_page(ahead.unwrap_or(IdRange::ALL), &mut batch).await?;
        rows += batch.len() as u64;
    }
    reader.close().await;
    Ok(rows)
}

async fn copy_in_with(
    source: &Source,
    like: &TableSpec,
    workers: usize,
    slot: Duration,
    progress: &Progress,
) -> Result<Speed, LoadError> {
    let table = Arc::new(temporary(like)?);
    let rows = Arc::new(some_rows(like.layout(), ROWS));
    let mut ready = vec![];
    for _ in 0..workers {
        let mut connection = source.database.connect().await?;
        let begun = source.database.begin(&mut connection, Purpose::Write, "").await;
        begun.map_err(|error| LoadError::database(table.spec().name(), error))?;
        run(&mut connection, &table, &create_sql(&table)).await?;
        ready.push(connection);
    }
    let start = Instant::now();
    let mut tasks = JoinSet::new();
    for connection in ready {
        let (table, rows) = (Arc::clone(&table), Arc::clone(&rows));
        tasks.spawn(write_pages(connection, table, rows, start + slot));
    }
    let mut written = 0;
    while let Some(task) = tasks.join_next().await {
        let lost = |_| LoadError::database(table.spec().name(), sqlx::Error::WorkerCrashed);
        written += task.map_err(lost)??;
        if progress.stopped() {
            break;
        }
    }
    Ok(Speed::of(workers, written, like.layout(), start.elapsed()))
}

async fn write_pages(
    mut connection: PgConnection,
    table: Arc<Table>,
    rows: Arc<RowBatch>,
    until: Instant,
) -> Result<u64, LoadError> {
    let name = table.spec().name();
    let failed = |error| LoadError::database(name, error);
    let columns = table.spec().columns_sql();
    let sql = format!("COPY {} ({columns}) FROM STDIN (FORMAT binary)", name.sql());
    let (mut encoder, mut written) = (Encoder::new(Arc::clone(&table)), 0);
    while written == 0 || Instant::now() < until {
        let mut copy = connection.copy_in_raw(&sql).await.map_err(failed)?;
        encoder.restart();
        while let Some(message) = encoder.next_message(&rows.rows())? {
            copy.send(message).await.map_err(failed)?;
        }
        written += copy.finish().await.map_err(failed)?;
    }
    run(&mut connection, &table, "ROLLBACK").await?;
    close(connection).await;
    Ok(written)
}

async fn run(connection: &mut PgConnection, table: &Table, sql: &str) -> Result<(), LoadError> {
    let done = sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await;
    done.map(drop).map_err(|error| LoadError::database(table.spec().name(), error))
}

/// A table of the same columns that only its connection sees.
fn temporary(like: &TableSpec) -> Result<Table, LoadError> {
    let name = TableName::new("pg_temp", "reshare_tune")?;
    let spec = TableSpec::new(name, like.id_column(), Arc::clone(like.layout()))?;
    let agree = spec.layout().agree().iter().map(|column| match column.kind {
        AgreeKind::Integer => AgreeType::Integer(IntegerWidth::Eight),
        AgreeKind::Uuid => AgreeType::Uuid,
    });
    let agree = agree.collect();
    Ok(Table::new(spec, IntegerWidth::Eight, agree).expect("types of the layout's kinds"))
}

/// Creates the table in a transaction, with which it disappears.
fn create_sql(table: &Table) -> String {
    let spec = table.spec();
    let mut columns = vec![format!("{} bigint", spec.id_sql())];
    columns.extend(spec.layout().agree().iter().zip(table.agree_types()).map(|(column, agree)| {
        let sort = match agree {
            AgreeType::Integer(_) => "bigint",
            AgreeType::Uuid => "uuid",
        };
        format!("{} {sort}", quote_identifier(&column.name))
    }));
    let shares: Vec<String> =
        spec.layout().shares().iter().map(|column| quote_identifier(&column.name)).collect();
    columns.extend(shares.iter().map(|name| format!("{name} bytea")));
    let name = spec.name().sql();
    let mut sql = format!("CREATE TABLE {name} ({}) ON COMMIT DROP;", columns.join(", "));
    for share in shares {
        sql.push_str(&format!("ALTER TABLE {name} ALTER COLUMN {share} SET STORAGE EXTERNAL;"));
    }
    sql
}

fn opened<T>(result: Result<T, ExportError>) -> Result<T, TuneError> {
    Ok(result.map_err(PipelineError::from)?)
}
