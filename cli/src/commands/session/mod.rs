//! `reshare session`: make one, show one, approve one.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::report;
use crate::setup::session::load_session;

mod approve;
mod new;

use self::approve::ApproveArgs;
use self::new::NewArgs;

#[derive(Debug, Args)]
pub(crate) struct SessionCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a session file: one operator makes it, all three parties get the same file
    New(Box<NewArgs>),
    /// Show a session and its fingerprint, which the operators read to each other
    Show {
        /// The session file
        #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
        session: PathBuf,
    },
    /// Approve a session with this party's certificate, and make a sender's ledger: senders
    /// blind nothing without it
    Approve(Box<ApproveArgs>),
}

impl SessionCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        match &self.action {
            Action::New(args) => args.run(output),
            Action::Approve(args) => args.run(output),
            Action::Show { session } => {
                let session = load_session(session)?;
                report::session(output, &session)?;
                Ok(Exit::Done)
            }
        }
    }
}
