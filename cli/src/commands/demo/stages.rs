//! What the demo's stages have in common: the parties, the rows, and how long each stage takes.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use reshare_engine::party::PartyId;
use reshare_exchange::progress::Progress;
use reshare_pipeline::workers::Workers;
use serde::Serialize;

use super::parties::Parties;
use crate::failure::Failure;

/// One stage and how long it took.
#[derive(Debug, Serialize)]
pub(super) struct TimedStage {
    pub(super) stage: String,
    pub(super) rows: u64,
    pub(super) share_bytes: u64,
    pub(super) seconds: f64,
}

/// What every stage needs.
pub(super) struct Demo {
    pub(super) parties: Parties,
    pub(super) rows: usize,
    pub(super) seed: u64,
    pub(super) workers: Workers,
    pub(super) directory: PathBuf,
    pub(super) progress: Arc<Progress>,
}

/// The stages that are done, timed.
pub(super) struct Stages {
    pub(super) row_bytes: u64,
    pub(super) rows: u64,
    pub(super) done: Vec<TimedStage>,
}

impl Demo {
    pub(super) fn receiver(&self) -> PartyId {
        self.parties.session.receiver().party
    }
}

impl Stages {
    /// Runs one stage, which moves every row's shares `copies` times, and keeps its time.
    pub(super) async fn run<T>(
        &mut self,
        stage: impl Into<String>,
        copies: u64,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let start = Instant::now();
        let done = work.await?;
        self.done.push(TimedStage {
            stage: stage.into(),
            rows: self.rows,
            share_bytes: copies * self.rows * self.row_bytes,
            seconds: start.elapsed().as_secs_f64(),
        });
        Ok(done)
    }
}
