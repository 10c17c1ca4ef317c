//! Run reports: what each run of a session was and how it went, one JSON line a run, in the state
//! directory. They help people and auditors, and change no outcome.
//!
//! A process runs one command, so there is one run: [`begin`] says that it is recorded, and what it does
//! adds to it until [`end`] writes the line. Where nothing was begun, nothing is recorded.

mod record;
mod samples;

use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_exchange::progress::Progress;
use reshare_files::durable::{append_line, create_directory};
use reshare_files::file_error::OnFile;
use reshare_format::session::Session;
use serde::Serialize;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::args::{SessionArgs, StateArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::streams::say;
use crate::text::printable;
pub(crate) use record::{RunRecord, RunStage, directory_in, files_in, read};
pub(crate) use samples::Sample;
use samples::{FIRST_PERIOD, Samples};

static RUN: Mutex<Option<Run>> = Mutex::new(None);

/// What is known of the run.
struct Run {
    command: &'static str,
    /// The state directory; `None` where there is no place for one.
    state: Option<PathBuf>,
    started_at: OffsetDateTime,
    began: Instant,
    session: Option<(String, Fingerprint)>,
    party: Option<u8>,
    retries: Option<Arc<AtomicU64>>,
    receipt: Option<String>,
    report: Option<Value>,
    progress: Option<Arc<Progress>>,
    samples: Samples,
}

/// Does something with the run, if there is one.
fn with<T>(act: impl FnOnce(&mut Run) -> T) -> Option<T> {
    RUN.lock().unwrap_or_else(PoisonError::into_inner).as_mut().map(act)
}

/// This run is recorded, from now on.
pub(crate) fn begin(command: &'static str, session: &SessionArgs, state: &StateArgs) {
    let run = Run {
        command,
        state: state.directory().ok(),
        started_at: OffsetDateTime::now_utc(),
        began: Instant::now(),
        session: None,
        party: session.checks.party_id.and_then(|party| u8::try_from(party).ok()),
        retries: None,
        receipt: None,
        report: None,
        progress: None,
        samples: Samples::default(),
    };
    *RUN.lock().unwrap_or_else(PoisonError::into_inner) = Some(run);
}

/// The run is one of this session: without it there is no place for the record.
pub(crate) fn of_session(session: &Session) {
    with(|run| run.session = Some((session.id().to_string(), session.fingerprint())));
}

/// The run is this party's.
pub(crate) fn of_party(party: PartyId) {
    with(|run| run.party = Some(party.index()));
}

/// Requests are tried again, and counted here.
pub(crate) fn count_retries(retries: &Arc<AtomicU64>) {
    with(|run| run.retries = Some(Arc::clone(retries)));
}

/// A receipt was signed and written.
pub(crate) fn wrote_receipt(path: &str) {
    with(|run| run.receipt = Some(path.to_owned()));
}

/// What the command reports in the end.
pub(crate) fn report(report: &impl Serialize) {
    with(|run| run.report = serde_json::to_value(report).ok());
}

/// Takes samples of a run's progress until it is dropped.
pub(crate) struct Sampler(Option<JoinHandle<()>>);

/// Starts to take samples, where the run is recorded.
pub(crate) fn sample(progress: &Arc<Progress>) -> Sampler {
    let began = with(|run| {
        run.progress = Some(Arc::clone(progress));
        run.began
    });
    let progress = Arc::clone(progress);
    Sampler(began.map(|began| {
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(FIRST_PERIOD);
            loop {
                ticks.tick().await;
                let sample = Sample::of(&progress.snapshot(), began.elapsed());
                with(|run| run.samples.offer(sample));
            }
        })
    }))
}

impl Drop for Sampler {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

/// Writes the record of the run, if it is recorded and there is a session.
pub(crate) fn end(outcome: &Outcome) {
    let run = RUN.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (exit, failure) = match outcome {
        Ok(exit) => (*exit, None),
        Err(failure) => (failure.exit, Some(failure)),
    };
    let Some(run) = run.filter(|run| run.session.is_some() && exit != Exit::Usage) else { return };
    if let Err(failure) = run.write(exit, failure) {
        let why = failure.causes().join(": ");
        say!("{}", printable(&format!("warning: this run is not in the run reports: {why}")));
    }
}

impl Run {
    fn write(self, exit: Exit, failure: Option<&Failure>) -> Result<(), Failure> {
        let Some(state) = &self.state else {
            let error = "there is no home directory, and no --state-dir";
            return Err(Failure::failed(error));
        };
        let Some((_, fingerprint)) = &self.session else { return Ok(()) };
        let directory = directory_in(state, fingerprint);
        create_directory(&directory).on("make", &directory).map_err(Failure::failed)?;
        let path = directory.join(record::file_name(self.party));
        let line = serde_json::to_string(&self.record(exit, failure)).map_err(Failure::failed)?;
        append_line(&path, &line).on("write", &path).map_err(Failure::failed)
    }

    fn record(self, exit: Exit, failure: Option<&Failure>) -> RunRecord {
        let elapsed = self.began.elapsed();
        let (session_id, fingerprint) =
            self.session.map_or_else(Default::default, |(id, print)| (id, print.to_string()));
        let samples = self.progress.as_ref().map_or_else(Vec::new, |progress| {
            self.samples.end(Sample::of(&progress.snapshot(), elapsed))
        });
        let error = failure.and_then(|failure| serde_json::from_value(failure.document()).ok());
        RunRecord {
            format: record::FORMAT.to_owned(),
            version: record::VERSION,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            command: self.command.to_owned(),
            session_id,
            fingerprint,
            party: self.party,
            started_at: self.started_at,
            ended_at: OffsetDateTime::now_utc(),
            seconds: elapsed.as_secs_f64(),
            exit_code: exit.code(),
            error,
            retries: self.retries.map(|retries| retries.load(Ordering::Relaxed)),
            receipt: self.receipt,
            report: self.report,
            stages: self.progress.map_or_else(Vec::new, |progress| stages(&progress, self.began)),
            samples,
        }
    }
}

/// What the run did, one after the other.
fn stages(progress: &Progress, began: Instant) -> Vec<RunStage> {
    let stages = progress.stages();
    let stages = stages.iter().map(|(since, counters)| {
        let begin = since.saturating_duration_since(began);
        let (rows, bytes) = counters.done();
        RunStage {
            name: counters.stage.to_owned(),
            begin: begin.as_secs_f64(),
            end: (begin + counters.elapsed).as_secs_f64(),
            rows,
            rows_skipped: counters.rows_skipped,
            bytes,
        }
    });
    stages.collect()
}
