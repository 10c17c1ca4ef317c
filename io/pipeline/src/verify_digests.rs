//! Compares a table with the digests that were recorded as its rows were loaded.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_engine::row_batch::RowBatch;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_postgres::export::{ExportError, PartReader, Snapshot};
use reshare_postgres::progress_table::LoadedRange;
use reshare_postgres::redo::Redo;
use tokio::sync::Mutex;

use super::checked_file::RowsDigest;
use super::error::PipelineError;
use super::tasks::{Tasks, WorkList};
use super::workers::{Source, Workers};

/// What a comparison of a table with the digests of its load found.
#[derive(Debug, Clone, Default)]
pub struct DigestComparison {
    /// Rows of the ranges that are as they were loaded, bit for bit.
    pub rows_equal: u64,
    /// The ranges that are not, ascending.
    pub differing: Vec<IdRange>,
    /// Rows that were loaded into those ranges.
    pub rows_differing: u64,
    /// Rows that were left over by the load: the table may have one of theirs or none, and neither
    /// is compared.
    pub left_over: u64,
}

/// Reads every range that the session has loaded and compares its digest with the recorded one.
///
/// Needs no package and no identity. What it proves is that the table holds what was written; that
/// this is what was delivered was checked while it was merged.
///
/// # Errors
/// A [`PipelineError`] when the table cannot be read; a difference is a result.
pub fn verify_digests<'a>(
    source: &'a Source,
    loaded: Vec<LoadedRange>,
    workers: Workers,
    progress: &'a Arc<Progress>,
) -> BoxFuture<'a, Result<DigestComparison, PipelineError>> {
    Box::pin(async move {
        progress.begin("verify", loaded.iter().map(|range| range.rows).sum());
        let snapshot = Snapshot::open(&source.database, &source.table).await?;
        let loaded = Arc::new(WorkList::new(loaded));
        let found = Arc::new(Mutex::new(DigestComparison::default()));
        let mut tasks = Tasks::new(progress);
        for _ in 0..workers.connections.max(1) {
            let comparing = Comparing {
                reader: snapshot.reader(),
                page: RowBatch::with_capacity(
                    Arc::clone(source.table.layout()),
                    workers.rows_per_part.get(),
                ),
                loaded: Arc::clone(&loaded),
                found: Arc::clone(&found),
                progress: Arc::clone(progress),
            };
            tasks.start(comparing.run());
        }
        tasks.finish().await?;
        snapshot.close().await;
        let mut found = std::mem::take(&mut *found.lock().await);
        found.differing.sort_unstable();
        Ok(found)
    })
}

/// One connection's share of a comparison.
struct Comparing {
    reader: PartReader,
    page: RowBatch,
    loaded: Arc<WorkList<LoadedRange>>,
    found: Arc<Mutex<DigestComparison>>,
    progress: Arc<Progress>,
}

impl Comparing {
    async fn run(mut self) -> Result<(), PipelineError> {
        let loaded = Arc::clone(&self.loaded);
        while let Some((_, range)) = loaded.take() {
            if self.progress.stopped() {
                break;
            }
            let Self { reader, page, progress, .. } = &mut self;
            let row_bytes = page.layout().row_share_bytes() as u64;
            let count = |rows| progress.add(rows, rows * row_bytes);
            let (rows, digest) = digest_of(range, reader, page, count).await?;
            let mut found = self.found.lock().await;
            found.left_over += range.leftovers.len() as u64;
            if (rows, digest) == (range.rows, range.digest) {
                found.rows_equal += rows;
            } else {
                found.differing.push(range.ids);
                found.rows_differing += range.rows;
            }
        }
        self.reader.close().await;
        Ok(())
    }
}

/// A connection that reads the rows of a range page by page.
pub(crate) trait ReadPages {
    /// Reads the first rows of a range, as many as `page` has room for.
    fn read_page<'a>(
        &'a mut self,
        ids: IdRange,
        page: &'a mut RowBatch,
    ) -> BoxFuture<'a, Result<(), ExportError>>;
}

impl ReadPages for PartReader {
    fn read_page<'a>(
        &'a mut self,
        ids: IdRange,
        page: &'a mut RowBatch,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        Self::read_page(self, ids, page)
    }
}

impl ReadPages for Redo<'_> {
    fn read_page<'a>(
        &'a mut self,
        ids: IdRange,
        page: &'a mut RowBatch,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        Self::read_page(self, ids, page)
    }
}

/// Counts and digests the rows of a range without those that were left over.
pub(crate) async fn digest_of(
    range: &LoadedRange,
    reader: &mut impl ReadPages,
    page: &mut RowBatch,
    count: impl Fn(u64),
) -> Result<(u64, [u8; 32]), PipelineError> {
    let left_over: HashSet<i64> = range.leftovers.ids().collect();
    let (mut rows, mut digest) = (0, RowsDigest::default());
    let mut ahead = Some(range.ids);
    while let Some(ids) = ahead {
        reader.read_page(ids, page).await?;
        let found = page.rows();
        let compared =
            tokio::task::block_in_place(|| digest.update(&found, |id| !left_over.contains(&id)));
        rows += compared;
        count(compared);
        // A page that is not full is the last one.
        let last = found.ids.last().filter(|_| found.len() == page.capacity());
        ahead = last.and_then(|last| IdRange::new(last.checked_add(1)?, ids.last()));
    }
    Ok((rows, digest.finish()))
}
