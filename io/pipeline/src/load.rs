//! Loads a share file of rebuilt shares into the receiver's database.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_format::session::Session;
use reshare_format::share_file::{Expected, Kind, ShareFile};
use reshare_postgres::load::Loader;
use reshare_postgres::load_options::OnConflict;
use reshare_postgres::load_source::LoadSource;
use reshare_postgres::write::{RangeWriter, Written};
use serde::Serialize;

use super::checked_file::{open_checked, rows_digest};
use super::error::PipelineError;
use super::refused_rows::{Conflicts, RefusedEpochs};
use super::tasks::{Tasks, WorkList};
use super::workers::{Target, Workers};

/// The result of a load.
#[derive(Debug, Clone, Serialize)]
pub struct LoadReport {
    /// Rows that this run wrote.
    pub rows: u64,
    /// Rows that earlier runs wrote.
    pub rows_skipped: u64,
    /// Bytes of share data that this run wrote.
    pub share_bytes: u64,
    /// The SQL that moves a sequence of the ids that stands below the table's highest id.
    pub sequences_behind: Vec<String>,
}

/// Loads the rebuilt shares of one file, each range once.
///
/// # Errors
/// A [`PipelineError`]; what was committed is kept, and the next run continues there.
pub fn load<'a>(
    session: &'a Session,
    path: &'a Path,
    target: &'a Target,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<LoadReport, PipelineError>> {
    Box::pin(async move {
        let workers = workers.within_parts_of(session);
        let expected = Expected {
            fingerprint: session.fingerprint(),
            kind: Kind::Rebuilt,
            party: Some(session.receiver().party),
            layout: Some(Arc::clone(session.layout())),
        };
        let file = Arc::new(open_checked(path, expected, &progress).await?);
        let source = &target.source;
        let fingerprint = session.fingerprint();
        let digest = LoadSource::ShareFile(file.header().digest);
        let mut loader =
            Loader::open(&source.database, &source.table, fingerprint, target.options).await?;
        loader.check_sources(|_| Some(digest))?;
        let on_conflict = target.options.on_conflict;
        let ranges = ranges_to_load(&file, &loader, workers.rows_per_part.get());
        refuse_rows(&mut loader, on_conflict, &file, &ranges).await?;
        let rows_to_load = ranges.iter().map(|(_, rows)| (rows.end - rows.start) as u64).sum();
        let rows_skipped = file.rows().len() as u64 - rows_to_load;
        progress.begin("load", rows_to_load + rows_skipped);
        progress.skip(rows_skipped);
        let connections = workers.connections.min(ranges.len()).max(1);
        let ranges = Arc::new(WorkList::new(ranges));
        let mut tasks = Tasks::new(&progress);
        for _ in 0..connections {
            let mut writer = loader.writer();
            writer.set_source(digest);
            let task = FileLoad {
                file: Arc::clone(&file),
                ranges: Arc::clone(&ranges),
                progress: Arc::clone(&progress),
                writer,
            };
            tasks.start(task.run());
        }
        tasks.finish().await?;
        let behind = loader.sequences_behind().await?;
        loader.close().await;
        let sequences_behind = behind.into_iter().map(|sequence| sequence.setval).collect();
        let share_bytes = rows_to_load * session.layout().row_share_bytes() as u64;
        Ok(LoadReport { rows: rows_to_load, rows_skipped, share_bytes, sequences_behind })
    })
}

/// A range of ids and the positions of its rows in the file.
pub(crate) type FileRange = (IdRange, std::ops::Range<usize>);

/// Cuts the rows that are not loaded yet into ranges. With the loaded ranges they cover the file's
/// range without a gap.
fn ranges_to_load(file: &ShareFile, loader: &Loader, rows_per_range: usize) -> Vec<FileRange> {
    let done = loader.loaded().iter().map(|range| range.ids);
    let rows = file.rows();
    let mut ranges = Vec::new();
    for segment in file.header().spec.ids.without(done) {
        let end = rows.ids.partition_point(|id| *id <= segment.last());
        let mut start = rows.ids.partition_point(|id| *id < segment.first());
        let mut first = segment.first();
        while start < end {
            let stop = (start + rows_per_range).min(end);
            let last = if stop == end { segment.last() } else { rows.ids[stop - 1] };
            ranges.extend(IdRange::new(first, last).map(|ids| (ids, start..stop)));
            // Not the last range: an id comes after it.
            first = last.saturating_add(1);
            start = stop;
        }
    }
    ranges
}

/// Looks for rows that the target would refuse, before anything is written.
async fn refuse_rows(
    loader: &mut Loader,
    on_conflict: OnConflict,
    file: &ShareFile,
    ranges: &[FileRange],
) -> Result<(), PipelineError> {
    refuse_conflicts(loader, on_conflict, file, ranges).await?;
    let Some(mut epochs) = RefusedEpochs::begin(loader) else { return Ok(()) };
    tokio::task::block_in_place(|| {
        let rows = file.rows();
        ranges.iter().for_each(|(_, positions)| epochs.look_at(&rows, positions.clone()));
    });
    epochs.finish()
}

/// Looks for the file's ids in the target.
async fn refuse_conflicts(
    loader: &mut Loader,
    on_conflict: OnConflict,
    file: &ShareFile,
    ranges: &[FileRange],
) -> Result<(), PipelineError> {
    let bounds = file.header().spec.ids;
    let Some(mut conflicts) = Conflicts::begin(loader, on_conflict, bounds).await? else {
        return Ok(());
    };
    for (_, positions) in ranges {
        if !conflicts.look_for(&file.rows().ids[positions.clone()]).await? {
            break;
        }
    }
    conflicts.finish()
}

/// One connection's share of a load.
struct FileLoad {
    file: Arc<ShareFile>,
    ranges: Arc<WorkList<FileRange>>,
    progress: Arc<Progress>,
    writer: RangeWriter,
}

impl FileLoad {
    async fn run(mut self) -> Result<(), PipelineError> {
        while !self.progress.stopped() {
            let Some((_, (ids, positions))) = self.ranges.take() else { break };
            let rows = self.file.rows().slice(positions.clone());
            let digest = tokio::task::block_in_place(|| rows_digest(&rows));
            let written = self.writer.write(*ids, &rows, digest, &Leftovers::default()).await?;
            let count = rows.len() as u64;
            match written {
                Written::Now => {
                    self.progress.add(count, count * rows.layout.row_share_bytes() as u64);
                }
                Written::AlreadyLoaded => self.progress.skip(count),
            }
        }
        self.writer.close().await;
        Ok(())
    }
}
