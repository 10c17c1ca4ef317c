//! Stages and queues: export, pack, send, merge, load, rebuild.
//!
//! Database connections are tasks, work on parts runs in threads, and bounded queues lie
//! between them. A pool of row batches bounds the memory of every pipeline.

use reshare_exchange::progress::Progress;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::task::JoinSet;

use error::PipelineError;

pub mod deliver;
pub mod directory_package;
pub mod error;
pub mod export;
pub mod ledger;
pub mod load;
pub mod merge;
pub mod pack;
pub mod packages;
pub mod preflight;
pub mod purge;
pub mod rebuild;
pub mod rows_wanted;
pub mod sealer;
pub mod send;
pub mod sender;
pub mod tune;
pub mod verify;
pub mod workers;

mod conflicts;
mod destination;
mod epochs;
mod joined_ids;
mod merged;
mod merging;
mod open_ahead;
mod open_file;
mod pool;
mod read_parts;
mod receiver_package;
mod resume;
mod rows_digest;
mod sealed_buffer;
mod snapshots;
mod sweep;

/// Threads for work on parts: `RAYON_NUM_THREADS` where it is set, else one a core.
#[must_use]
pub fn default_threads() -> usize {
    rayon::current_num_threads()
}

/// Runs work that blocks, off the threads that drive connections.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, PipelineError> + Send + 'static,
) -> Result<T, PipelineError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(PipelineError::WorkerLost))
}

/// Waits for all tasks, tells the others to stop when one fails, and returns its error.
async fn all(
    mut tasks: JoinSet<Result<(), PipelineError>>,
    progress: &Progress,
) -> Result<(), PipelineError> {
    let mut first = Ok(());
    while let Some(task) = tasks.join_next().await {
        let result = task.unwrap_or(Err(PipelineError::WorkerLost));
        if first.is_ok() && result.is_err() {
            progress.stop();
        }
        first = first.and(result);
    }
    if progress.stopped() { first.and(Err(PipelineError::Stopped)) } else { first }
}

fn rfc3339(time: OffsetDateTime) -> String {
    time.format(&Rfc3339).unwrap_or_else(|_| time.to_string())
}
