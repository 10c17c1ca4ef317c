//! Runs a pipeline: runtime, progress and signals.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reshare_io::pipeline::progress::Progress;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::OutputArgs;
use crate::exit::{Exit, Failure};
use crate::progress::Watch;

/// How long a run that was asked to stop may take to end by itself.
const PATIENCE: Duration = Duration::from_secs(2);

/// Runs `work` to its end and says how long it took, or until the first Ctrl-C or SIGTERM.
///
/// # Errors
/// What `work` returns, or that the run was interrupted.
pub(crate) fn run<T, F>(
    output: &OutputArgs,
    work: impl FnOnce(Arc<Progress>) -> F,
) -> Result<(T, Duration), Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::failed)?;
    let progress = Arc::new(Progress::default());
    let start = Instant::now();
    let result = runtime.block_on(async {
        let watch = Watch::start(Arc::clone(&progress), output.quiet);
        let result = until_signal(Arc::clone(&progress), work(Arc::clone(&progress))).await;
        drop(watch);
        result
    });
    // Threads that are in the middle of a part need not be waited for: files appear whole or not.
    runtime.shutdown_timeout(PATIENCE);
    result.map(|done| (done, start.elapsed()))
}

/// Runs a short work without progress: a signal ends it, and the program with it.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::failed)?.block_on(work)
}

async fn until_signal<T>(
    progress: Arc<Progress>,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let mut work = std::pin::pin!(work);
    let exit = tokio::select! {
        result = &mut work => return result,
        exit = first_of(&mut interrupt, &mut terminate) => exit,
    };
    progress.stop();
    let stopped = tokio::time::timeout(PATIENCE, work).await;
    match stopped {
        // It ended well just before it could stop.
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_)) | Err(_) => Err(Failure::stopped(exit)),
    }
}

async fn first_of(interrupt: &mut Signal, terminate: &mut Signal) -> Exit {
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}
