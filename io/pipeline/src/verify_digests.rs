//! Compares a table with the digests that were recorded as its rows were loaded.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_engine::row_batch::RowBatch;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_postgres::export::{PartReader, Snapshot};
use reshare_postgres::progress_table::LoadedRange;
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
            let (rows, digest) = self.digest(range).await?;
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

    /// Counts and digests the rows of a range without those that were left over.
    async fn digest(&mut self, range: &LoadedRange) -> Result<(u64, [u8; 32]), PipelineError> {
        let left_over: HashSet<i64> = range.leftovers.ids().collect();
        let (mut rows, mut digest) = (0, RowsDigest::default());
        let mut ahead = Some(range.ids);
        while let Some(ids) = ahead {
            self.reader.read_page(ids, &mut self.page).await?;
            let page = self.page.rows();
            let compared =
                tokio::task::block_in_place(|| digest.update(&page, |id| !left_over.contains(&id)));
            rows += compared;
            self.progress.add(compared, compared * page.layout.row_share_bytes() as u64);
            // A page that is not full is the last one.
            let is_full = page.len() == self.page.capacity();
            let last = page.ids.last().filter(|_| is_full);
            ahead = last.and_then(|last| IdRange::new(last.checked_add(1)?, ids.last()));
        }
        Ok((rows, digest.finish()))
    }
}
