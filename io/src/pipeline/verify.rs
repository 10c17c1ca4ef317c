//! Compares two tables, or a share file and a table.

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use reshare_engine::ids::IdRange;

use super::error::PipelineError;
use super::open_file::open_checked;
use super::progress::Progress;
use super::workers::{Source, Workers};
use crate::postgres::compare::{Comparison, TableCheck, compare_tables};
use crate::session::Session;
use crate::share_file::{Expected, Kind};

/// The most share data of one batch, however many rows are asked for.
const LARGEST_BATCH_BYTES: usize = 64 << 20;

/// Compares the session's rows of two tables, column by column, bit by bit.
///
/// # Errors
/// A [`PipelineError`] when one cannot be read; a difference is a result.
pub async fn verify_tables(
    left: &Source,
    right: &Source,
    within: IdRange,
    workers: Workers,
    progress: &Progress,
) -> Result<Comparison, PipelineError> {
    progress.begin("verify", 0);
    let limit = LARGEST_BATCH_BYTES / left.table.layout().row_share_bytes();
    let rows_at_once =
        workers.rows_per_part.min(NonZeroUsize::new(limit).unwrap_or(NonZeroUsize::MIN));
    let left = (&left.database, &left.table);
    let right = (&right.database, &right.table);
    let jobs = NonZeroUsize::new(workers.connections);
    let jobs = jobs.unwrap_or(NonZeroUsize::MIN);
    Ok(compare_tables(left, right, within, rows_at_once, jobs).await?)
}

/// Compares a share file of any kind but blinded (the left side) with a table (the right side).
///
/// # Errors
/// A [`PipelineError`] when the file is not what it must be or the table cannot be read.
pub async fn verify_file(
    session: &Session,
    path: &Path,
    kind: Kind,
    source: &Source,
    workers: Workers,
    progress: &Progress,
) -> Result<Comparison, PipelineError> {
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
        TableCheck::open(&source.database, &source.table, within, workers.rows_per_part).await?;
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
}
