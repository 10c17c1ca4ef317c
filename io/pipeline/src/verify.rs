//! Compares a table with another one, with a share file, or with the packages it was rebuilt from.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_exchange::progress::Progress;
use reshare_files::leftovers::Leftovers;
use reshare_format::session::Session;
use reshare_format::share_file::{Expected, Kind};
use reshare_postgres::compare::{Comparison, TableCheck, compare_tables};
use tokio::sync::mpsc::channel;

use super::checked_file::open_checked;
use super::error::PipelineError;
use super::joined_ids::count_rows;
use super::merging::{Merging, Stretch, pool_of_ranges};
use super::packages::Packages;
use super::rows_wanted::RowIds;
use super::workers::{Source, Workers};

/// The most share data of one batch, however many rows are requested.
const LARGEST_BATCH_BYTES: usize = 64 << 20;

/// Compares the session's rows of two tables, column by column, bit by bit.
///
/// # Errors
/// A [`PipelineError`] when a table cannot be read; a difference is not an error.
pub fn verify_tables<'a>(
    left: &'a Source,
    right: &'a Source,
    ids: &'a RowIds,
    workers: Workers,
    progress: &'a Progress,
) -> BoxFuture<'a, Result<Comparison, PipelineError>> {
    Box::pin(async move {
        progress.begin("verify", 0);
        let limit = LARGEST_BATCH_BYTES / left.table.layout().row_share_bytes();
        let rows_at_once =
            workers.rows_per_part.min(NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
        let left = (&left.database, &left.table);
        let right = (&right.database, &right.table);
        let jobs = NonZeroUsize::new(workers.connections);
        let jobs = jobs.unwrap_or(NonZeroUsize::MIN);
        Ok(compare_tables(left, right, &ids.export_ids(), rows_at_once, jobs).await?)
    })
}

/// Compares a share file of any kind except blinded (the left side) with a table (the right side).
///
/// # Errors
/// A [`PipelineError`] when the file is refused or the table cannot be read.
pub fn verify_file<'a>(
    session: &'a Session,
    path: &'a Path,
    kind: Kind,
    source: &'a Source,
    workers: Workers,
    progress: &'a Progress,
) -> BoxFuture<'a, Result<Comparison, PipelineError>> {
    Box::pin(async move {
        let workers = workers.within_parts_of(session);
        let expected = Expected {
            fingerprint: session.fingerprint(),
            kind,
            party: None,
            layout: Some(Arc::clone(session.layout())),
        };
        let file = open_checked(path, expected, progress).await?;
        let rows = file.rows();
        progress.begin("verify", rows.len() as u64);
        let within = file.header().spec.ids;
        let mut check =
            TableCheck::open(&source.database, &source.table, within, workers.rows_per_part)
                .await?;
        let rows_at_once = workers.rows_per_part.get();
        for start in (0..rows.len()).step_by(rows_at_once) {
            if progress.stopped() {
                return Err(PipelineError::Stopped);
            }
            let part = rows.slice(start..(start + rows_at_once).min(rows.len()));
            check.rows(&part).await?;
            let count = part.len() as u64;
            progress.add(count, count * part.layout.row_share_bytes() as u64);
        }
        Ok(check.finish().await?)
    })
}

/// The result of comparing two packages with a table.
#[derive(Debug, Clone)]
pub struct PackagesComparison {
    /// The rows that can be rebuilt from the packages, compared with those of the table.
    pub comparison: Comparison,
    /// Rows that cannot be rebuilt: the table may have such a row or not; they are not compared.
    pub leftovers: Leftovers,
}

/// Rebuilds the rows of two packages (the left side) once more, and compares them with the
/// table (the right side): no reference is needed.
///
/// Memory is bounded by the parts in flight. Nothing is written.
///
/// # Errors
/// A [`PipelineError`] when a package or the table cannot be read; a difference is not an error.
pub fn verify_packages<'a>(
    packages: Arc<Packages>,
    source: &'a Source,
    workers: Workers,
    progress: &'a Arc<Progress>,
) -> BoxFuture<'a, Result<PackagesComparison, PipelineError>> {
    Box::pin(async move {
        progress.begin("count the rows", 0);
        let rows = tokio::task::block_in_place(|| count_rows(packages.parts(), progress))?;
        progress.begin("verify", rows);
        let within = packages.parts().bounds();
        let rows_per_range = workers.rows_per_part_of(rows);
        let mut check =
            TableCheck::open(&source.database, &source.table, within, rows_per_range).await?;
        if let Some(listed) = packages.parts().listed() {
            check = check.only(listed);
        }
        let (tx, mut rx) = channel(1);
        let (stretch_tx, stretches) = channel(1);
        let parts = Arc::clone(packages.parts());
        let merging = Merging {
            threads: workers.threads,
            // One being filled, one on its way, one being compared.
            pool: pool_of_ranges(parts.layout(), rows_per_range.get(), 3),
            progress: Arc::clone(progress),
            frontier: Arc::default(),
            tx,
        };
        let stretch = Stretch {
            parts,
            segments: vec![within],
            rows_per_range: rows_per_range.get(),
            records_empty: false,
        };
        // The queue has room for it.
        let _ = stretch_tx.try_send(stretch);
        drop(stretch_tx);
        let merging = tokio::task::spawn_blocking(move || merging.run(stretches));
        let mut leftovers = Leftovers::default();
        while let Some(merged) = rx.recv().await {
            let rows = merged.rows.rows();
            check.leave_out(merged.leftovers.ids());
            check.rows(&rows).await?;
            leftovers.extend(&merged.leftovers);
            let count = rows.len() as u64;
            progress.add(count, count * rows.layout.row_share_bytes() as u64);
        }
        merging.await.unwrap_or(Err(PipelineError::WorkerLost))?;
        Ok(PackagesComparison { comparison: check.finish().await?, leftovers })
    })
}
