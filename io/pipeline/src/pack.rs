//! Packs a sender's share file.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_exchange::progress::Progress;
use reshare_files::file_error::OnFile;
use reshare_files::ids::IdRange;
use reshare_format::package::Timestamp;
use reshare_format::session::Session;
use reshare_format::share_file::{Expected, Kind, ShareFile};

use super::checked_file::open_checked;
use super::covers::tile;
use super::destination::Destination;
use super::directory_package::DirectoryPackage;
use super::error::PipelineError;
use super::pool::BatchPool;
use super::resume::{Resume, closed_before};
use super::sealer::{LeftOut, PackReport, PartPlace, Sealer, check_parts};
use super::sender::LedgeredSender;
use super::tasks::{Tasks, WorkList};
use super::workers::Workers;

/// Blinds and seals the plain shares of one file.
///
/// # Errors
/// A [`PipelineError`]; the package then stays open, and the next run continues it.
pub fn pack<'a>(
    session: &'a Session,
    sender: LedgeredSender,
    path: &'a Path,
    directory: &'a Path,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<PackReport, PipelineError>> {
    Box::pin(async move {
        workers.check_part(session)?;
        let expected = Expected {
            fingerprint: session.fingerprint(),
            kind: Kind::Plain,
            party: Some(sender.keys().sender()),
            layout: Some(Arc::clone(session.layout())),
        };
        if let Some(report) = closed_before(session, &sender, directory)? {
            return Ok(report);
        }
        let file = open_checked(path, expected, &progress).await?;
        let exported_at = written_at(&file)?;
        let package = DirectoryPackage::create(session, &sender, directory)?;
        let sealer = Sealer::new(sender, Destination::Directory(Box::new(package)));
        let resume = tokio::task::block_in_place(|| {
            Resume::begin(&sealer, session.ids().range(), &progress)
        })?;
        let cuts = Cutting { session, workers, exported_at, sealer: &sealer }.cut(&file, resume)?;
        check_parts(cuts.len())?;
        let part_rows = cuts.iter().map(|cut| cut.rows.len() as u64);
        progress.begin("pack", part_rows.clone().sum());
        let packing = Arc::new(Packing {
            pool: workers.pool_for(session.layout(), part_rows),
            progress: Arc::clone(&progress),
            cuts: WorkList::new(cuts),
            file,
            sealer,
        });
        let mut tasks = Tasks::new(&progress);
        for _ in 0..workers.threads.max(1) {
            let packing = Arc::clone(&packing);
            tasks.start_thread(move || packing.run());
        }
        tasks.finish().await?;
        let packing = Arc::into_inner(packing).ok_or(PipelineError::WorkerLost)?;
        packing.sealer.close(session).await
    })
}

/// A part and the positions of its rows in the file.
struct Cut {
    place: PartPlace,
    rows: Range<usize>,
}

/// What the cut of the parts depends on.
struct Cutting<'a> {
    session: &'a Session,
    workers: Workers,
    exported_at: Timestamp,
    sealer: &'a Sealer,
}

impl Cutting<'_> {
    /// Cuts the file's rows into parts: first as an earlier run did, then the rest.
    fn cut(&self, file: &ShareFile, resume: Resume) -> Result<Vec<Cut>, PipelineError> {
        let Resume { missing, mut gaps, mut next_index, .. } = resume;
        let rows = file.rows();
        let within = |ids: IdRange| {
            rows.ids.partition_point(|id| *id < ids.first())
                ..rows.ids.partition_point(|id| *id <= ids.last())
        };
        let exported_at = self.exported_at;
        let mut cuts = Vec::new();
        for record in missing {
            let (rows, ids) = (within(record.ids), record.ids);
            let place = PartPlace { index: record.index, ids, exported_at };
            if rows.is_empty() {
                self.sealer.record_empty(place, LeftOut::default())?;
            } else if rows.len() > self.session.part_rows_limit() {
                gaps.push(ids);
            } else {
                cuts.push(Cut { place, rows });
            }
        }
        for gap in gaps {
            let mut in_gap = self.cut_gap(rows.ids, within(gap), next_index);
            tile(gap, in_gap.iter_mut().map(|cut| &mut cut.place.ids));
            if in_gap.is_empty() {
                self.sealer.record_empty(
                    PartPlace { index: next_index, ids: gap, exported_at },
                    LeftOut::default(),
                )?;
                next_index += 1;
            }
            next_index += in_gap.len() as u64;
            cuts.append(&mut in_gap);
        }
        Ok(cuts)
    }

    /// Cuts the rows at some positions, none of which an earlier run has cut.
    fn cut_gap(&self, ids: &[i64], positions: Range<usize>, first_index: u64) -> Vec<Cut> {
        let rows_per_part = self.workers.rows_per_part_of(positions.len() as u64).get();
        let starts = positions.clone().step_by(rows_per_part);
        let cut = |(index, start): (u64, usize)| {
            let rows = start..start.saturating_add(rows_per_part).min(positions.end);
            let ends = ids[rows.clone()].first().zip(ids[rows.clone()].last());
            let ids = ends.and_then(|(first, last)| IdRange::new(*first, *last))?;
            Some(Cut { place: PartPlace { index, ids, exported_at: self.exported_at }, rows })
        };
        (first_index..).zip(starts).filter_map(cut).collect()
    }
}

/// When the file was finished. Its rows are at least as old.
fn written_at(file: &ShareFile) -> Result<Timestamp, PipelineError> {
    let modified = std::fs::metadata(file.path()).and_then(|metadata| metadata.modified());
    let modified = modified.on("find out the age of the share file", file.path())?;
    Ok(Timestamp::from(time::OffsetDateTime::from(modified)))
}

/// What the threads share.
struct Packing {
    file: ShareFile,
    sealer: Sealer,
    pool: Arc<BatchPool>,
    cuts: WorkList<Cut>,
    progress: Arc<Progress>,
}

impl Packing {
    fn run(&self) -> Result<(), PipelineError> {
        let rows = self.file.rows();
        let mut batch = self.pool.take_blocking();
        while !self.progress.stopped() {
            let Some((_, cut)) = self.cuts.take() else { break };
            let part = rows.slice(cut.rows.clone());
            self.sealer.seal_from(cut.place, &part, &mut batch)?;
            let count = part.len() as u64;
            self.progress.add(count, count * part.layout.row_share_bytes() as u64);
        }
        Ok(())
    }
}
