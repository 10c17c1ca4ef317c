//! Writes a table's shares to a share file.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::BoxFuture;
use reshare_engine::party::PartyId;
use reshare_exchange::progress::Progress;
use reshare_format::session::Session;
use reshare_format::share_file::{Kind, ShareFileSpec, ShareFileWriter};
use reshare_postgres::export::{BadRow, Snapshot};
use reshare_postgres::plan::PlannedPart;
use serde::Serialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::error::PipelineError;
use super::left_out::{LeftOutRow, left_out};
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
    /// Rows that were left out because they cannot be read, by ascending ids.
    pub bad_rows: Vec<LeftOutRow>,
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
        let Self { source, workers, progress, .. } = self;
        progress.begin("count the rows", 0);
        let mut snapshot = Snapshot::open(&source.database, &source.table).await?;
        let plan = snapshot.plan(&self.ids.export_ids(), workers.rows_per_part).await?;
        let mut bad = vec![];
        loop {
            match self.write(&snapshot, plan.clone(), &mut bad).await? {
                Some(report) => {
                    snapshot.close().await;
                    return Ok(report);
                }
                None => {
                    let rows = bad.len();
                    tracing::warn!(rows, "found rows that are left out: writing the file again");
                }
            }
        }
    }

    /// Writes the rows of a plan but those that are known as bad; `None` when others were found,
    /// and added to them.
    async fn write(
        &self,
        snapshot: &Snapshot,
        mut plan: Vec<PlannedPart>,
        bad: &mut Vec<BadRow>,
    ) -> Result<Option<ExportReport>, PipelineError> {
        let Self { session, source, workers, progress, .. } = self;
        let known: Vec<i64> = bad.iter().map(|row| row.id).collect();
        plan.iter_mut().for_each(|part| part.leave_out(&known));
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
        let found: Arc<Mutex<Vec<BadRow>>> = Arc::default();
        let first_rows = first_rows(plan.iter().map(|part| part.rows));
        let read = PartRead {
            plan,
            pool: workers.pool(session.layout()),
            progress: Arc::clone(progress),
            connections: workers.connections,
            threads: workers.threads,
            until: None,
            on_bad_row: source.on_bad_row,
            work: Box::new({
                let (writer, found) = (Arc::clone(&writer), Arc::clone(&found));
                move |index, _, batch, bad| {
                    found.lock().unwrap_or_else(PoisonError::into_inner).extend(bad);
                    Ok(writer.write_rows(first_rows[index], &batch.rows())?)
                }
            }),
        };
        if let PartsRead { lost: Some(lost), .. } = read.run(snapshot).await? {
            return Err(lost.into());
        }
        let found = std::mem::take(&mut *found.lock().unwrap_or_else(PoisonError::into_inner));
        if !found.is_empty() {
            bad.extend(found);
            bad.sort_unstable_by_key(|row| row.id);
            return Ok(None);
        }
        let taken_at = rfc3339(snapshot.taken_at());
        let writer = Arc::into_inner(writer).ok_or(PipelineError::WorkerLost)?;
        let digest = blocking(move || Ok(writer.finish()?)).await?;
        let share_bytes = rows * session.layout().row_share_bytes() as u64;
        let (digest, bad_rows) = (digest.to_string(), left_out(session, bad));
        Ok(Some(ExportReport { rows, share_bytes, digest, taken_at, bad_rows }))
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
