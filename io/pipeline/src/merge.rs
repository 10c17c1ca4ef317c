//! Merges two packages into one share file of rebuilt shares.

use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_exchange::progress::Progress;
use reshare_files::leftovers::Leftovers;
use reshare_format::session::Session;
use reshare_format::share_file::{Kind, ShareFileSpec, ShareFileWriter};
use serde::Serialize;

use super::delivered_parts::DeliveredParts;
use super::error::PipelineError;
use super::joined_ids::count_rows;
use super::merging::Merger;
use super::open_ahead::{OpenAhead, pool_of_parts};
use super::packages::Packages;
use super::pool::BatchPool;
use super::sweep::{Sweep, parts_needed};
use super::tasks::blocking;
use super::workers::Workers;

/// The result of a merge.
#[derive(Debug, Clone, Serialize)]
pub struct MergeReport {
    /// Rows in the file.
    pub rows: u64,
    /// Bytes of share data in them.
    pub share_bytes: u64,
    /// BLAKE3 of the file after its header.
    pub digest: String,
    /// Rows that were not rebuilt.
    pub leftovers: Leftovers,
}

/// Merges both packages into a share file, which appears when it is complete.
///
/// Reads the packages twice: first ids and agree columns, since the layout of a share file depends
/// on its number of rows, then everything.
///
/// # Errors
/// A [`PipelineError`]; then there is no file.
pub fn merge<'a>(
    session: &'a Session,
    packages: Arc<Packages>,
    path: &'a Path,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<MergeReport, PipelineError>> {
    Box::pin(async move {
        let workers = workers.within_parts_of(session);
        let spec = ShareFileSpec {
            kind: Kind::Rebuilt,
            fingerprint: session.fingerprint(),
            party: session.receiver().party,
            part_index: 0,
            ids: packages.parts().bounds(),
            rows: 0,
            layout: Arc::clone(session.layout()),
        };
        let path = path.to_owned();
        blocking(move || merge_to_file(packages.parts(), spec, &path, workers, &progress)).await
    })
}

fn merge_to_file(
    delivered: &Arc<DeliveredParts>,
    spec: ShareFileSpec,
    path: &Path,
    workers: Workers,
    progress: &Progress,
) -> Result<MergeReport, PipelineError> {
    progress.begin("count the rows", 0);
    let rows = count_rows(delivered, progress)?;
    progress.begin("merge", rows);
    let (layout, segments) = (Arc::clone(&spec.layout), vec![spec.ids]);
    let writer = ShareFileWriter::create(path, ShareFileSpec { rows, ..spec })?;
    let parts = pool_of_parts(&layout, delivered.part_rows_at_most(), workers.threads);
    let open = Box::new({
        let delivered = Arc::clone(delivered);
        move |part, batch: &mut _| delivered.open_part(part, batch)
    });
    let needed = parts_needed(delivered.ranges(), &segments);
    let mut ahead = OpenAhead::start(needed, workers.threads, parts, open)?;
    let rows_per_range = workers.rows_per_part.get();
    let mut merger =
        Merger::new(BatchPool::new(Arc::clone(&layout), rows_per_range, 2), rows_per_range);
    let mut sweep = Sweep::new(delivered.ranges(), segments);
    let (mut written, mut leftovers) = (0, Leftovers::default());
    while let Some(range) = merger.next(&mut sweep, |part| ahead.fetch(part))? {
        if progress.stopped() {
            return Err(PipelineError::Stopped);
        }
        writer.write_rows(written, &range.rows.rows())?;
        let count = range.rows.len() as u64;
        written += count;
        leftovers.extend(&range.leftovers);
        progress.add(count, count * layout.row_share_bytes() as u64);
    }
    let digest = writer.finish()?.to_string();
    let share_bytes = rows * layout.row_share_bytes() as u64;
    Ok(MergeReport { rows, share_bytes, digest, leftovers })
}
