//! Runs a pipeline: runtime, progress and signals.

use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use reshare_exchange::progress::Progress;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Rerun};
use crate::progress::Watch;
use crate::runs;

/// How long a run that was asked to stop may take to end by itself.
const STOP_TIMEOUT: Duration = Duration::from_secs(2);

/// Runs `work` to its end and says how long it took, or until the first Ctrl-C or SIGTERM.
///
/// `rerun` says what the command does when it is run again.
///
/// # Errors
/// What `work` returns, or that the run was interrupted.
pub(crate) fn run<T, F>(
    output: &OutputArgs,
    rerun: Rerun,
    work: impl FnOnce(Arc<Progress>) -> F,
) -> Result<(T, Duration), Failure>
where
    F: Future<Output = Result<T, Failure>>,
{
    check_threads()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::failed)?;
    let progress = Arc::new(Progress::default());
    let start = Instant::now();
    let result = runtime.block_on(async {
        let watch = Watch::start(Arc::clone(&progress), output.quiet);
        let work = work(Arc::clone(&progress));
        let sampler = runs::sample(&progress);
        let result = until_signal(Arc::clone(&progress), rerun, work).await;
        drop((watch, sampler));
        result
    });
    // No need to wait for threads in the middle of a part: files appear whole or not at all.
    runtime.shutdown_timeout(STOP_TIMEOUT);
    let done = result.map_err(|failure| failure.rerun(rerun).after_loading(&progress))?;
    Ok((done, start.elapsed()))
}

/// Finds out, before the work, whether as many threads as a run has at least can be started:
/// libraries panic when one cannot.
fn check_threads() -> Result<(), Failure> {
    let count = 2 * reshare_pipeline::default_threads() + 2;
    let barrier = Arc::new(Barrier::new());
    let mut started = Vec::with_capacity(count);
    let mut result = Ok(());
    for _ in 0..count {
        let barrier = Arc::clone(&barrier);
        match std::thread::Builder::new().spawn(move || barrier.wait()) {
            Ok(thread) => started.push(thread),
            Err(error) => {
                result = Err(Failure::failed(format!(
                    "cannot start {count} threads, only {}: {error}",
                    started.len()
                ))
                .hint(
                    "raise the limit on address space (ulimit -v, RLIMIT_AS) or on processes (ulimit -u, \
                     RLIMIT_NPROC, the container's pids limit)",
                ));
                break;
            }
        }
    }
    barrier.open();
    for thread in started {
        // It does nothing that could panic.
        let _ = thread.join();
    }
    result
}

/// Holds threads until all of them are there.
struct Barrier {
    is_open: Mutex<bool>,
    opened: Condvar,
}

impl Barrier {
    fn new() -> Self {
        Self { is_open: Mutex::new(false), opened: Condvar::new() }
    }

    fn wait(&self) {
        let is_open = self.is_open.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(is_open, |is_open| !*is_open));
    }

    fn open(&self) {
        *self.is_open.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.opened.notify_all();
    }
}

/// Runs short work without progress: a signal ends it, and the program with it.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::failed)?.block_on(work)
}

/// Runs `work` until it ends, or until a signal: then it has [`STOP_TIMEOUT`] to end by itself.
///
/// A separate task waits for the signal: `work` may block the thread that polls it, and is asked to
/// stop anyway.
async fn until_signal<T>(
    progress: Arc<Progress>,
    rerun: Rerun,
    work: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Failure::failed)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(Failure::failed)?;
    let signalled = Arc::new(OnceLock::new());
    let sets_signalled = Arc::clone(&signalled);
    let listener = tokio::spawn(async move {
        let exit = first_of(&mut interrupt, &mut terminate).await;
        // Before the work can end because of it.
        let _ = sets_signalled.set(exit);
        progress.stop();
    });
    let stop_timeout = async {
        // It ends with the signal; it is not aborted and does not panic.
        let _ = listener.await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    let result = tokio::select! {
        result = work => Some(result),
        () = stop_timeout => None,
    };
    match (result, signalled.get()) {
        // It may have ended well just before it could stop.
        (Some(Ok(done)), _) => Ok(done),
        (Some(Err(failure)), None) => Err(failure),
        (_, exit) => Err(Failure::stopped(exit.copied().unwrap_or(Exit::Interrupted), rerun)),
    }
}

async fn first_of(interrupt: &mut Signal, terminate: &mut Signal) -> Exit {
    tokio::select! {
        _ = interrupt.recv() => Exit::Interrupted,
        _ = terminate.recv() => Exit::Terminated,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_that_blocks_its_thread_is_stopped_by_a_signal() {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let progress = Arc::new(Progress::default());
        let ended = runtime.expect("a runtime").block_on(async {
            let seen = Arc::clone(&progress);
            let work = async move {
                let process = std::process::id().to_string();
                let sent = std::process::Command::new("kill").args(["-TERM", &process]).status();
                assert!(sent.expect("procps: kill").success());
                tokio::task::block_in_place(|| {
                    let begin = Instant::now();
                    while !seen.stopped() {
                        assert!(begin.elapsed() < Duration::from_secs(60), "not asked to stop");
                        std::thread::sleep(Duration::from_millis(1));
                    }
                });
                Err::<(), _>(Failure::failed("stopped on request"))
            };
            until_signal(Arc::clone(&progress), Rerun::Continues, work).await
        });
        assert_eq!(ended.expect_err("it was stopped").exit, Exit::Terminated);
    }
}
