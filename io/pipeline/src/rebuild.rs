//! Rebuilds two packages into the receiver's database in one pass.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_format::session::Session;
use reshare_postgres::load::{LoadOptions, Loader, OnConflict};
use reshare_postgres::write::{RangeWriter, Written};
use serde::Serialize;
use tokio::sync::Mutex;

use super::checked_file::rows_digest;
use super::error::PipelineError;
use super::joined_ids::JoinedIds;
use super::merging::{MergedRange, Merging};
use super::packages::Packages;
use super::refused_rows::{Conflicts, RefusedEpochs};
use super::tasks::{Receivers, Tasks};
use super::workers::{Target, Workers};

/// The result of a rebuild.
#[derive(Debug, Clone, Default, Serialize)]
pub struct RebuildReport {
    /// Rows that this run wrote.
    pub rows: u64,
    /// Rows that earlier runs wrote.
    pub rows_skipped: u64,
    /// Bytes of share data that this run wrote.
    pub share_bytes: u64,
    /// Rows that were not rebuilt, over all runs of the session.
    pub leftovers: Leftovers,
}

/// Opens, merges and loads both packages, all at the same time, each range once.
///
/// Rows that only one side has, or whose agree columns differ, are not written but listed in the
/// report. Before anything is written, ids, agree columns and row checks of both packages are
/// checked. Shares are read once, so a part with changed shares is found when it is opened.
///
/// # Errors
/// A [`PipelineError`]; what was committed is kept, and the next run continues there.
pub fn rebuild<'a>(
    session: &'a Session,
    packages: Arc<Packages>,
    target: &'a Target,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<RebuildReport, PipelineError>> {
    Box::pin(async move {
        let workers = workers.within_parts_of(session);
        progress.begin("connect", 0);
        let (source, fingerprint) = (&target.source, session.fingerprint());
        let options = LoadOptions { source: Some(packages.load_source()), ..target.options };
        let mut loader =
            Loader::open(&source.database, &source.table, fingerprint, options).await?;
        let done: Vec<IdRange> = loader.loaded().iter().map(|range| range.ids).collect();
        let segments = packages.bounds().without(done.iter().copied());
        progress.begin("check", 0);
        let on_conflict = target.options.on_conflict;
        let rows = check(&mut loader, on_conflict, &packages, &segments, &progress).await?;
        let mut report = RebuildReport::default();
        for range in loader.loaded() {
            report.rows_skipped += range.rows;
            report.leftovers.extend(&range.leftovers);
        }
        progress.begin("rebuild", rows + report.rows_skipped);
        progress.skip(report.rows_skipped);
        let (tx, rx) = Receivers::queue(1);
        let totals = Arc::new(Mutex::new(report));
        let mut tasks = Tasks::new(&progress);
        let rows_per_range = workers.rows_per_part_of(rows).get();
        let merging = Merging {
            packages,
            segments,
            threads: workers.threads,
            rows_per_range,
            // One being filled, one in the queue, one at every connection.
            ranges: workers.connections + 2,
            progress: Arc::clone(&progress),
            tx,
        };
        tasks.start_thread(move || merging.run());
        for _ in 0..workers.connections.max(1) {
            let loading = Loading {
                rx: rx.clone(),
                totals: Arc::clone(&totals),
                progress: Arc::clone(&progress),
                writer: loader.writer(),
            };
            tasks.start(loading.run());
        }
        drop(rx);
        tasks.finish().await?;
        loader.close().await;
        let mut report = std::mem::take(&mut *totals.lock().await);
        report.leftovers.only_lower_sender.sort_unstable();
        report.leftovers.only_higher_sender.sort_unstable();
        report.leftovers.disagreeing.sort_unstable();
        Ok(report)
    })
}

/// Joins both packages without their shares and looks for rows that the target would refuse, before
/// anything is written. Returns how many rows can be rebuilt.
async fn check(
    loader: &mut Loader,
    on_conflict: OnConflict,
    packages: &Packages,
    segments: &[IdRange],
    progress: &Progress,
) -> Result<u64, PipelineError> {
    let mut epochs = RefusedEpochs::begin(loader);
    let mut conflicts = Conflicts::begin(loader, on_conflict, packages.bounds()).await?;
    let mut joined = JoinedIds::new(packages, segments.to_vec());
    let mut rows = 0;
    loop {
        let ids = tokio::task::block_in_place(|| {
            let next = joined.next()?;
            Ok::<_, PipelineError>(next.map(|next| {
                next.shown_to(epochs.as_mut());
                next.ids()
            }))
        });
        let Some(ids) = ids? else { break };
        if progress.stopped() {
            return Err(PipelineError::Stopped);
        }
        // A caller that waits for this and for a signal must see the signal between two parts.
        tokio::task::yield_now().await;
        rows += ids.len() as u64;
        if let Some(conflicts) = &mut conflicts
            && !conflicts.look_for(&ids).await?
        {
            break;
        }
    }
    conflicts.map_or(Ok(()), Conflicts::finish)?;
    epochs.map_or(Ok(()), RefusedEpochs::finish)?;
    Ok(rows)
}

/// One connection's share of the load.
struct Loading {
    rx: Receivers<MergedRange>,
    totals: Arc<Mutex<RebuildReport>>,
    progress: Arc<Progress>,
    writer: RangeWriter,
}

impl Loading {
    async fn run(mut self) -> Result<(), PipelineError> {
        loop {
            let Some(merged) = self.rx.recv().await else { break };
            if self.progress.stopped() {
                break;
            }
            self.load(&merged).await?;
        }
        self.writer.close().await;
        Ok(())
    }

    async fn load(&mut self, merged: &MergedRange) -> Result<(), PipelineError> {
        let rows = merged.rows.rows();
        let digest = tokio::task::block_in_place(|| rows_digest(&rows));
        let written = self.writer.write(merged.range, &rows, digest, &merged.leftovers).await?;
        let count = rows.len() as u64;
        let share_bytes = count * rows.layout.row_share_bytes() as u64;
        let mut totals = self.totals.lock().await;
        totals.leftovers.extend(&merged.leftovers);
        match written {
            Written::Now => {
                totals.rows += count;
                totals.share_bytes += share_bytes;
                self.progress.add(count, share_bytes);
            }
            Written::AlreadyLoaded => {
                totals.rows_skipped += count;
                self.progress.skip(count);
            }
        }
        Ok(())
    }
}
