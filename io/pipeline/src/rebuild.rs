//! Rebuilds two packages into the receiver's database in one pass.

use std::sync::{Arc, PoisonError};

use futures_util::future::BoxFuture;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_format::session::Session;
use reshare_postgres::load::Loader;
use reshare_postgres::load_options::OnConflict;
use reshare_postgres::write::{RangeWriter, Written};
use serde::Serialize;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{Sender, channel};

use super::arriving::Arriving;
use super::checked_file::rows_digest;
use super::commit_frontier::CommitFrontier;
use super::delivered_parts::DeliveredParts;
use super::error::PipelineError;
use super::joined_ids::JoinedIds;
use super::merging::{MergedRange, Merging, Stretch, pool_of_ranges};
use super::packages::{Packages, PackagesSoFar, SideSoFar};
use super::redo::{Redoing, Redone};
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
    /// The first and last ids of loaded ranges that this run has loaded again.
    pub redone: Vec<(i64, i64)>,
    /// The same of ranges that it was to load again, and that were of these packages already.
    pub redo_kept: Vec<(i64, i64)>,
    /// Where a package was not closed: what was rebuilt of both.
    pub so_far: Option<SoFar>,
    /// The SQL that moves a sequence of the ids that stands below the table's highest id.
    pub sequences_behind: Vec<String>,
}

/// What is rebuilt of packages that are not closed.
#[derive(Debug, Clone, Serialize)]
pub struct SoFar {
    /// The last id up to which everything is loaded or left over; `None` while there is none.
    pub loaded_up_to: Option<i64>,
    /// Both packages, the lower party's first.
    pub senders: [SideSoFar; 2],
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
    let feed = Feed::Packages(Arc::clone(packages.parts()));
    Rebuilding::new(session, feed, target, workers, progress).run()
}

/// As [`rebuild`], from packages that need not be closed: ids that both cover are loaded. Loaded
/// ranges that have some of the ids of `redo` are first loaded again, from these packages: each as a
/// whole, in one transaction.
///
/// # Errors
/// As [`rebuild`]; [`LoadError::NothingToRedo`](reshare_postgres::load_error::LoadError) and
/// [`PipelineError::RowsChanged`], before anything is changed.
pub fn rebuild_so_far<'a>(
    session: &'a Session,
    packages: &'a PackagesSoFar,
    target: &'a Target,
    redo: &'a [IdRange],
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<RebuildReport, PipelineError>> {
    Box::pin(async move {
        let feed = Feed::Packages(Arc::clone(packages.parts()));
        let rebuilding =
            Rebuilding { redo, ..Rebuilding::new(session, feed, target, workers, progress) };
        let report = rebuilding.run().await?;
        let so_far = (!packages.is_closed()).then(|| SoFar {
            loaded_up_to: packages.parts().frontier(),
            senders: packages.sides(),
        });
        Ok(RebuildReport { so_far, ..report })
    })
}

/// As [`rebuild`], from parts that are still arriving: a range is loaded as soon as both senders
/// cover it. Ends when both packages are closed and all of them is loaded.
///
/// Rows that the target would not take are looked for before a stretch of ids is written, and not
/// before the first one is.
///
/// # Errors
/// As [`rebuild`].
pub fn rebuild_arriving<'a>(
    session: &'a Session,
    arriving: Arriving,
    target: &'a Target,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<RebuildReport, PipelineError>> {
    Rebuilding::new(session, Feed::Arriving(arriving), target, workers, progress).run()
}

/// Where the parts of a rebuild come from.
enum Feed {
    Packages(Arc<DeliveredParts>),
    Arriving(Arriving),
}

impl Feed {
    /// Parts that cover ids after `after`; waits until there are some.
    async fn next(
        &self,
        after: Option<i64>,
        progress: &Progress,
    ) -> Result<Arc<DeliveredParts>, PipelineError> {
        match self {
            Self::Packages(parts) => Ok(Arc::clone(parts)),
            Self::Arriving(arriving) => Ok(Arc::new(arriving.next(after, progress).await?)),
        }
    }

    /// Everything that is known by now.
    fn known(&self) -> Result<Arc<DeliveredParts>, PipelineError> {
        match self {
            Self::Packages(parts) => Ok(Arc::clone(parts)),
            Self::Arriving(arriving) => Ok(Arc::new(arriving.taken(None)?)),
        }
    }

    fn bounds(&self) -> IdRange {
        match self {
            Self::Packages(parts) => parts.bounds(),
            Self::Arriving(arriving) => arriving.bounds(),
        }
    }

    fn is_arriving(&self) -> bool {
        matches!(self, Self::Arriving(_))
    }

    /// Notes that everything up to an id is in the table.
    fn use_up(&self, up_to: i64) -> Result<(), PipelineError> {
        match self {
            Self::Packages(_) => Ok(()),
            Self::Arriving(arriving) => arriving.use_up(up_to),
        }
    }
}

/// A rebuild, whatever its parts come from.
struct Rebuilding<'a> {
    session: &'a Session,
    feed: Arc<Feed>,
    target: &'a Target,
    workers: Workers,
    progress: Arc<Progress>,
    /// Loaded ids that are to be loaded again.
    redo: &'a [IdRange],
}

impl<'a> Rebuilding<'a> {
    fn new(
        session: &'a Session,
        feed: Feed,
        target: &'a Target,
        workers: Workers,
        progress: Arc<Progress>,
    ) -> Self {
        let workers = workers.within_parts_of(session);
        Self { session, feed: Arc::new(feed), target, workers, progress, redo: &[] }
    }

    fn run(self) -> BoxFuture<'a, Result<RebuildReport, PipelineError>> {
        Box::pin(self.run_all())
    }

    async fn run_all(self) -> Result<RebuildReport, PipelineError> {
        let Self { session, feed, target, progress, .. } = &self;
        let mut loader = match &**feed {
            Feed::Packages(_) => {
                progress.begin("connect to the database", 0);
                open_loader(session, target).await?
            }
            Feed::Arriving(arriving) => {
                // The first rows should not wait for it, and a database for days of nothing.
                arriving.begun(progress).await?;
                arriving.unless_closed(progress, || open_loader(session, target)).await?
            }
        };
        let mut report = self.redo(&mut loader).await?;
        check_sources(&loader, feed)?;
        for range in loader.loaded() {
            report.rows_skipped += range.rows;
            report.leftovers.extend(&range.leftovers);
        }
        report.rows_skipped -= report.rows;
        let stage = if feed.is_arriving() { "receive and rebuild" } else { "check the packages" };
        progress.begin(stage, report.rows_skipped);
        progress.set_open(feed.is_arriving());
        progress.skip(report.rows_skipped);
        let totals = Arc::new(Mutex::new(report));
        let mut tasks = Tasks::new(progress);
        let stretches = self.start(&loader, &mut tasks, &totals);
        let feeding = async {
            let fed = self.feed(&mut loader, stretches).await;
            if fed.is_err() {
                progress.stop();
            }
            fed
        };
        let (fed, ran) = tokio::join!(feeding, tasks.finish());
        match (fed, ran) {
            // Each stops the other: the cause is what is not a request to stop.
            (Err(PipelineError::Stopped) | Ok(()), Err(error)) => return Err(error),
            (fed, _) => fed?,
        }
        if feed.is_arriving() {
            loader.refresh().await?;
            check_sources(&loader, feed)?;
            feed.use_up(feed.bounds().last())?;
        }
        let behind = loader.sequences_behind().await?;
        loader.close().await;
        let mut report = std::mem::take(&mut *totals.lock().await);
        report.sequences_behind = behind.into_iter().map(|sequence| sequence.setval).collect();
        report.leftovers.only_lower_sender.sort_unstable();
        report.leftovers.only_higher_sender.sort_unstable();
        report.leftovers.disagreeing.sort_unstable();
        Ok(report)
    }

    /// Loads again what is to be loaded again.
    async fn redo(&self, loader: &mut Loader) -> Result<RebuildReport, PipelineError> {
        let Self { feed, target, workers, progress, redo, .. } = self;
        if redo.is_empty() {
            return Ok(RebuildReport::default());
        }
        let parts = &feed.known()?;
        let redoing = Redoing { parts, target, workers: *workers, progress };
        let Redone { ranges, kept, rows } = redoing.run(loader, redo).await?;
        loader.refresh().await?;
        let ends = |ranges: Vec<IdRange>| {
            ranges.into_iter().map(|range| (range.first(), range.last())).collect()
        };
        let share_bytes = rows * self.session.layout().row_share_bytes() as u64;
        let (redone, redo_kept) = (ends(ranges), ends(kept));
        Ok(RebuildReport { rows, share_bytes, redone, redo_kept, ..RebuildReport::default() })
    }

    /// Starts what merges and loads; the stretches that are sent are worked on in their order.
    fn start(
        &self,
        loader: &Loader,
        tasks: &mut Tasks,
        totals: &Arc<Mutex<RebuildReport>>,
    ) -> Sender<Stretch> {
        let Workers { connections, threads, rows_per_part } = self.workers;
        let (stretch_tx, stretches) = channel(1);
        let (tx, rx) = Receivers::queue(1);
        let frontier = Arc::<std::sync::Mutex<CommitFrontier>>::default();
        let merging = Merging {
            threads,
            // One being filled, one on its way, one at every connection.
            pool: pool_of_ranges(self.session.layout(), rows_per_part.get(), connections + 2),
            progress: Arc::clone(&self.progress),
            frontier: Arc::clone(&frontier),
            tx,
        };
        tasks.start_thread(move || merging.run(stretches));
        for _ in 0..connections.max(1) {
            let loading = Loading {
                rx: rx.clone(),
                totals: Arc::clone(totals),
                feed: Arc::clone(&self.feed),
                frontier: Arc::clone(&frontier),
                progress: Arc::clone(&self.progress),
                writer: loader.writer(),
            };
            tasks.start(loading.run());
        }
        stretch_tx
    }

    /// Checks and passes on what can be merged, until nothing of the session is left.
    async fn feed(
        &self,
        loader: &mut Loader,
        stretches: Sender<Stretch>,
    ) -> Result<(), PipelineError> {
        let (bounds, progress) = (self.feed.bounds(), &self.progress);
        let done: Vec<IdRange> = loader.loaded().iter().map(|range| range.ids).collect();
        let mut after = None;
        loop {
            let parts = self.feed.next(after, progress).await?;
            let first = after.map_or(bounds.first(), |last: i64| last.saturating_add(1));
            // Where nothing is covered, or nothing more, there is nothing to do.
            let ahead =
                parts.frontier().and_then(|last| IdRange::new(first, last.min(bounds.last())));
            let Some(ahead) = ahead else { return Ok(()) };
            let last = ahead.last();
            let segments = ahead.without(done.iter().copied());
            parts.check_there(&segments)?;
            let on_conflict = self.target.options.on_conflict;
            let rows = check(loader, on_conflict, &parts, ahead, &segments, progress).await?;
            if !self.feed.is_arriving() {
                let skipped = progress.snapshot().rows_skipped;
                progress.begin("rebuild", rows + skipped);
                progress.skip(skipped);
            } else {
                progress.expect_more(rows);
            }
            let rows_per_range = self.rows_per_range(rows);
            let records_empty = self.feed.is_arriving();
            let stretch = Stretch { parts, segments, rows_per_range, records_empty };
            if stretches.send(stretch).await.is_err() {
                // The merger has ended: it returns the cause.
                return Ok(());
            }
            if last == bounds.last() {
                progress.set_open(false);
                return Ok(());
            }
            after = Some(last);
        }
    }

    /// Rows of one transaction.
    fn rows_per_range(&self, rows: u64) -> usize {
        if !self.feed.is_arriving() {
            return self.workers.rows_per_part_of(rows).get();
        }
        // A stretch of what has just arrived is short: a range for each connection.
        let even = rows.div_ceil(self.workers.connections.max(1) as u64);
        let most = self.workers.rows_per_part.get();
        usize::try_from(even).unwrap_or(most).clamp(most.min(LEAST_ROWS_PER_RANGE), most)
    }
}

/// Compares what was loaded with the parts that are known now.
fn check_sources(loader: &Loader, feed: &Feed) -> Result<(), PipelineError> {
    let known = feed.known()?;
    Ok(loader.check_sources(|ids| known.load_source(ids))?)
}

async fn open_loader(session: &Session, target: &Target) -> Result<Loader, PipelineError> {
    let Target { source, options } = target;
    let fingerprint = session.fingerprint();
    Ok(Loader::open(&source.database, &source.table, fingerprint, *options).await?)
}

/// Fewer rows in a transaction cost more than they win.
const LEAST_ROWS_PER_RANGE: usize = 64;

/// Joins both senders' parts without their shares and looks for rows that the target would not take,
/// before anything is written, and returns how many rows can be rebuilt.
pub(super) async fn check(
    loader: &mut Loader,
    on_conflict: OnConflict,
    parts: &DeliveredParts,
    bounds: IdRange,
    segments: &[IdRange],
    progress: &Progress,
) -> Result<u64, PipelineError> {
    let mut epochs = RefusedEpochs::begin(loader);
    let mut conflicts = Conflicts::begin(loader, on_conflict, bounds).await?;
    let mut joined = JoinedIds::new(parts, segments.to_vec());
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
    feed: Arc<Feed>,
    frontier: Arc<std::sync::Mutex<CommitFrontier>>,
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
        if let Some(source) = merged.source {
            self.writer.set_source(source);
        }
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
        drop(totals);
        tokio::task::block_in_place(|| self.use_up(merged.range))
    }

    /// Notes that a range is in the table, and lets go of the parts that are all there.
    fn use_up(&self, range: IdRange) -> Result<(), PipelineError> {
        let up_to = {
            let mut frontier = self.frontier.lock().unwrap_or_else(PoisonError::into_inner);
            frontier.committed(range);
            frontier.up_to()
        };
        up_to.map_or(Ok(()), |up_to| self.feed.use_up(up_to))
    }
}
