//! Measures blinding, sealing and writing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rayon::ThreadPool;
use rayon::prelude::*;
use reshare_engine::blind::Blinder;
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::key_schedule::{KeySchedule, SharedSecret};
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_format::keys::{Identity, Recipient, SealKind};
use reshare_format::package::{Compression, PartError, PartName, seal_part, seal_part_to};
use reshare_format::share_file::{Kind, ShareFileSpec};
use serde::Serialize;

use super::{Speed, TuneError, fewest_workers, over_and_over, some_rows, worker_counts};
use crate::error::PipelineError;

/// The speeds of this machine for rows in memory.
#[derive(Debug, Clone, Serialize)]
pub struct MachineSpeed {
    /// Blinding with the fastest kernels, by threads.
    pub blind: Vec<Speed>,
    /// Sealing into memory, by threads.
    pub seal: Vec<Speed>,
    /// Blinding, sealing, writing and syncing parts, by rows of a part.
    pub write: Vec<WriteSpeed>,
}

/// The speed for parts of one size.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct WriteSpeed {
    /// Rows of a part.
    pub batch_size: usize,
    /// The speed with the best number of sealing threads.
    #[serde(flatten)]
    pub speed: Speed,
}

/// The part sizes to try, in rows. Each thread has two such parts in memory.
const BATCH_SIZES: [usize; 3] = [128, 256, 512];
const USUAL_BATCH: usize = 256;
const MAX_PART_BYTES: u64 = 1 << 30;

impl MachineSpeed {
    /// The fewest threads that seal about as fast as any number.
    #[must_use]
    pub fn threads(&self) -> usize {
        fewest_workers(&self.seal).map_or(1, |speed| speed.workers)
    }

    /// The largest part that is written about as fast as any size: each part costs a file and a
    /// record.
    #[must_use]
    pub fn batch_size(&self) -> usize {
        let best = self.write.iter().map(|write| write.speed.rows_per_second).fold(0.0, f64::max);
        let enough = self.write.iter().filter(|write| write.speed.rows_per_second >= 0.95 * best);
        enough.map(|write| write.batch_size).max().unwrap_or(USUAL_BATCH)
    }
}

/// Measures for about `time`. Parts are written to a new directory in `directory`, which is removed
/// at the end.
///
/// # Errors
/// A [`TuneError`].
pub fn measure_machine(
    layout: &Arc<RowLayout>,
    directory: &Path,
    most_threads: usize,
    time: Duration,
    progress: &Progress,
) -> Result<MachineSpeed, TuneError> {
    let threads = worker_counts(most_threads);
    let slot = time / u32::try_from(2 * threads.len() + BATCH_SIZES.len()).unwrap_or(u32::MAX);
    let mut bench = Bench::new(layout, most_threads, progress);
    let (mut blind, mut seal) = (vec![], vec![]);
    for &workers in &threads {
        let pool = pool(workers)?;
        bench.take(USUAL_BATCH, &pool);
        blind.push(bench.measure(&pool, slot, |bench, worker| bench.blind(worker))?);
        seal.push(bench.measure(&pool, slot, |bench, worker| bench.seal_to_memory(worker))?);
    }
    let mut speed = MachineSpeed { blind, seal, write: vec![] };
    let made = tempfile::Builder::new().prefix(".reshare-tune-").tempdir_in(directory);
    let made = made.map_err(TuneError::Directory)?;
    let pool = pool(speed.threads())?;
    for batch_size in BATCH_SIZES {
        bench.take(batch_size, &pool);
        let written = bench.measure(&pool, slot, |bench, worker| {
            bench.blind(worker)?;
            bench.seal_to(made.path(), worker)
        })?;
        speed.write.push(WriteSpeed { batch_size, speed: written });
    }
    made.close().map_err(TuneError::Directory)?;
    Ok(speed)
}

/// One thread's rows.
struct Worker {
    place: usize,
    plain: RowBatch,
    blinded: RowBatch,
    sealed: Vec<u8>,
}

struct Bench<'a> {
    layout: &'a Arc<RowLayout>,
    progress: &'a Progress,
    blinder: Blinder,
    recipient: Recipient,
    workers: Vec<Worker>,
}

impl<'a> Bench<'a> {
    fn new(layout: &'a Arc<RowLayout>, most_threads: usize, progress: &'a Progress) -> Self {
        // Only made-up rows are blinded with this.
        let keys = KeySchedule::derive(&SharedSecret::new([7; 32]), "tune", &FINGERPRINT);
        let blinder = Blinder::new(&keys, &FINGERPRINT, party(0), party(1), party(2));
        let blinder = blinder.expect("three parties");
        let recipient = Identity::generate(SealKind::Hybrid).to_public();
        Self { layout, progress, blinder, recipient, workers: Vec::with_capacity(most_threads) }
    }

    /// Gives each thread its own batch, so that no cache holds all of them.
    fn take(&mut self, rows: usize, pool: &ThreadPool) {
        if self.workers.first().is_some_and(|worker| worker.plain.len() != rows) {
            self.workers.clear();
        }
        let (layout, blinder, workers) = (self.layout, &self.blinder, pool.current_num_threads());
        self.workers.truncate(workers);
        let more = (self.workers.len()..workers).into_par_iter();
        self.workers.par_extend(more.map(|place| {
            let plain = some_rows(layout, rows);
            let mut blinded = RowBatch::with_capacity(Arc::clone(layout), rows);
            // So that sealing is measured by itself, with pages that were touched before.
            let blinds = blinder.blind(&plain.rows(), &mut blinded);
            blinds.expect("rows of the layout");
            Worker { place, plain, blinded, sealed: Vec::new() }
        }));
    }

    fn measure(
        &mut self,
        pool: &ThreadPool,
        slot: Duration,
        work: impl Fn(&Work<'_>, &mut Worker) -> Result<(), TuneError> + Sync,
    ) -> Result<Speed, TuneError> {
        let Self { layout, progress, blinder, recipient, workers } = self;
        let bench = Work { layout, blinder, recipient };
        let rows: u64 = workers.iter().map(|worker| worker.plain.len() as u64).sum();
        let mut once = || {
            let each = || {
                workers.par_iter_mut().with_max_len(1).try_for_each(|worker| work(&bench, worker))
            };
            pool.install(each).map(|()| rows)
        };
        once()?;
        let (rows, took) = over_and_over(slot, progress, once)?;
        Ok(Speed::of(pool.current_num_threads(), rows, layout, took))
    }
}

/// What all workers share.
struct Work<'a> {
    layout: &'a Arc<RowLayout>,
    blinder: &'a Blinder,
    recipient: &'a Recipient,
}

impl Work<'_> {
    fn blind(&self, worker: &mut Worker) -> Result<(), TuneError> {
        let mut tags = Vec::with_capacity(worker.plain.len());
        let blinded =
            self.blinder.tag_and_blind(&worker.plain.rows(), &mut worker.blinded, &mut tags);
        Ok(blinded.map_err(PipelineError::from)?)
    }

    fn seal_to_memory(&self, worker: &mut Worker) -> Result<(), TuneError> {
        let mut buffer = std::mem::take(&mut worker.sealed);
        buffer.clear();
        let (spec, rows) = (self.spec(worker), worker.blinded.rows());
        let sealed = seal_part_to(buffer, &spec, &rows, self.recipient, Compression::Auto);
        let (buffer, _) = sealed.map_err(|defect| PartError {
            path: "in memory".into(),
            name: PartName::new(spec.part_index),
            defect: Box::new(defect),
        })?;
        worker.sealed = buffer;
        Ok(())
    }

    fn seal_to(&self, directory: &Path, worker: &mut Worker) -> Result<(), TuneError> {
        let (spec, rows) = (self.spec(worker), worker.blinded.rows());
        seal_part(directory, &spec, &rows, self.recipient, MAX_PART_BYTES)?;
        Ok(())
    }

    fn spec(&self, worker: &Worker) -> ShareFileSpec {
        ShareFileSpec {
            kind: Kind::Blinded,
            fingerprint: FINGERPRINT,
            party: party(0),
            part_index: worker.place as u64,
            ids: IdRange::ALL,
            rows: worker.blinded.len() as u64,
            layout: Arc::clone(self.layout),
        }
    }
}

const FINGERPRINT: Fingerprint = Fingerprint([7; 32]);

fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

fn pool(threads: usize) -> Result<ThreadPool, TuneError> {
    Ok(rayon::ThreadPoolBuilder::new().num_threads(threads).build()?)
}
