//! `reshare report`.

use std::path::PathBuf;

use clap::Args;
use reshare_files::durable::write_whole;
use reshare_files::file_error::OnFile;
use reshare_format::session::Session;
use serde::Serialize;

use crate::args::{OutputArgs, StateArgs};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::runs::{self, RunRecord, directory_in, files_in};
use crate::setup::session::load_session;
use crate::text::printable;

mod facts;
mod page;
mod plot;
mod text;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// The session whose runs are shown
    #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
    session: PathBuf,

    #[command(flatten)]
    state: StateArgs,

    /// Another party's run report, so that one report shows all parties: may be given several times
    #[arg(long = "runs", value_name = "FILE", num_args = 1)]
    runs: Vec<PathBuf>,

    /// Also write the report to this file, as one page for a browser that needs no network
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// A session and its runs.
#[derive(Debug, Serialize)]
struct RunsReport {
    session_id: String,
    fingerprint: String,
    environment: String,
    /// The one that adds the keystream, then the one that subtracts it.
    senders: [u8; 2],
    receiver: u8,
    /// In the order in which they began.
    runs: Vec<RunRecord>,
}

impl ReportArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let session = load_session(&self.session)?;
        let report = RunsReport::of(&session, self.records(&session)?);
        if let Some(path) = &self.html {
            let page = page::page(&report);
            write_whole(path, page.as_bytes()).on("write", path).map_err(Failure::failed)?;
        }
        let json = || serde_json::to_string_pretty(&report).map_err(Failure::failed);
        report::line(&if output.json { json()? } else { printable(&text::text(&report)) })?;
        Ok(Exit::Done)
    }

    /// The runs of the state directory and of the files that are named, each once.
    fn records(&self, session: &Session) -> Result<Vec<RunRecord>, Failure> {
        let state = self.state.directory().ok();
        let directory = state.map(|state| directory_in(&state, &session.fingerprint()));
        let mut files = match &directory {
            Some(directory) => files_in(directory)?,
            None => Vec::new(),
        };
        files.extend(self.runs.iter().cloned());
        let mut records: Vec<RunRecord> = Vec::new();
        for file in &files {
            let found = runs::read(file, session)?;
            found.into_iter().for_each(|record| {
                if !records.contains(&record) {
                    records.push(record);
                }
            });
        }
        if records.is_empty() {
            let place = directory.unwrap_or_else(|| PathBuf::from("the state directory"));
            let error = format!("no run of this session is recorded in {}", place.display());
            return Err(Failure::usage(error).hint(
                "give the directory with --state-dir, or what another party has of its runs with --runs",
            ));
        }
        records.sort_by_key(|record| record.started_at);
        Ok(records)
    }
}

impl RunsReport {
    fn of(session: &Session, runs: Vec<RunRecord>) -> Self {
        Self {
            session_id: session.id().to_string(),
            fingerprint: session.fingerprint().to_string(),
            environment: session.environment().as_str().to_owned(),
            senders: session.senders().map(|sender| sender.party.index()),
            receiver: session.receiver().party.index(),
            runs,
        }
    }

    /// What a party is in this session.
    fn role(&self, party: Option<u8>) -> String {
        match party {
            None => "party not known".to_owned(),
            Some(party) if party == self.receiver => format!("party {party} (receiver)"),
            Some(party) if self.senders.contains(&party) => format!("party {party} (sender)"),
            Some(party) => format!("party {party}"),
        }
    }
}
