//! Writes a table's shares to a share file.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_engine::party::PartyId;
use reshare_exchange::progress::Progress;
use reshare_format::session::Session;
use reshare_format::share_file::{Kind, ShareFileSpec, ShareFileWriter};
use reshare_postgres::export::Snapshot;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::PipelineError;
use super::read_parts::{PartRead, PartsRead};
use super::rows_wanted::RowIds;
use super::snapshots::Patience;
use super::tasks::blocking;
use super::workers::{Source, Workers};

/// The result of an export.
#[derive(Debug, Clone, Serialize)]
pub struct ExportReport {
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of share data in them.
    pub share_bytes: u64,
    /// BLAKE3 of the file after its header.
    pub digest: String,
    /// When the snapshot was taken, by the server's clock.
    pub taken_at: String,
}

/// Exports the session's rows of one sender's table to a plain share file.
///
/// All rows are of one snapshot, however long that takes: the file's number of rows is written
/// before the rows. Where a standby ends the snapshot, the export begins again in another one. The
/// file appears when it is complete.
///
/// # Errors
/// A [`PipelineError`]; then there is no file.
pub fn export<'a>(
    session: &'a Session,
    ids: &'a RowIds,
    sender: PartyId,
    source: &'a Source,
    path: &'a Path,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<ExportReport, PipelineError>> {
    Box::pin(async move {
        let workers = workers.within_parts_of(session);
        let exporting = Exporting { session, ids, sender, source, path, workers, progress };
        let mut patience = Patience::default();
        loop {
            let lost = match exporting.one_snapshot().await {
                Err(PipelineError::Export(error)) if error.is_lost_on_standby() => error,
                exported => return exported,
            };
            patience.after(lost, false, &exporting.progress).await?;
        }
    })
}

/// What an export needs.
struct Exporting<'a> {
    session: &'a Session,
    ids: &'a RowIds,
    sender: PartyId,
    source: &'a Source,
    path: &'a Path,
    workers: Workers,
    progress: Arc<Progress>,
}

impl Exporting<'_> {
    async fn one_snapshot(&self) -> Result<ExportReport, PipelineError> {
        let Self { session, source, workers, progress, .. } = self;
        progress.begin("count the rows", 0);
        let mut snapshot = Snapshot::open(&source.database, &source.table).await?;
        let plan = snapshot.plan(&self.ids.export_ids(), workers.rows_per_part).await?;
        let rows = plan.iter().map(|part| part.rows).sum();
        progress.begin("export", rows);
        let spec = ShareFileSpec {
            kind: Kind::Plain,
            fingerprint: session.fingerprint(),
            party: self.sender,
            part_index: 0,
            ids: self.ids.bounds(),
            rows,
            layout: Arc::clone(session.layout()),
        };
        let writer = Arc::new(ShareFileWriter::create(self.path, spec)?);
        let first_rows = first_rows(plan.iter().map(|part| part.rows));
        let read = PartRead {
            plan,
            pool: workers.pool(session.layout()),
            progress: Arc::clone(progress),
            connections: workers.connections,
            threads: workers.threads,
            until: None,
            work: Box::new({
                let writer = Arc::clone(&writer);
                move |index, _, batch| Ok(writer.write_rows(first_rows[index], &batch.rows())?)
            }),
        };
        let PartsRead { lost, .. } = read.run(&snapshot).await?;
        let taken_at = rfc3339(snapshot.taken_at());
        snapshot.close().await;
        if let Some(lost) = lost {
            return Err(lost.into());
        }
        let writer = Arc::into_inner(writer).ok_or(PipelineError::WorkerLost)?;
        let digest = blocking(move || Ok(writer.finish()?)).await?;
        let share_bytes = rows * session.layout().row_share_bytes() as u64;
        Ok(ExportReport { rows, share_bytes, digest: digest.to_string(), taken_at })
    }
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}

/// The position of each part's first row.
fn first_rows(rows: impl Iterator<Item = u64>) -> Vec<u64> {
    rows.scan(0, |next, rows| {
        let first = *next;
        *next += rows;
        Some(first)
    })
    .collect()
}
