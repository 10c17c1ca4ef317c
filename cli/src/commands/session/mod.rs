//! `reshare session`: make one, show one, approve one.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::args::{NetworkArgs, OutputArgs, WordsArgs};
use crate::exit::Exit;
use crate::failure::Outcome;
use crate::report;
use crate::setup::network::compare_network;
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
    /// Show a session and its fingerprint, which the operators read to each other; compares it with
    /// the network file, if there is one
    Show(ShowArgs),
    /// Approve a session with this party's certificate, and make a sender's ledger: senders
    /// blind nothing without it
    Approve(Box<ApproveArgs>),
}

impl SessionCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        match &self.action {
            Action::New(args) => args.run(output),
            Action::Approve(args) => args.run(output),
            Action::Show(args) => args.run(output),
        }
    }
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The session file
    #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
    session: PathBuf,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    words: WordsArgs,
}

impl ShowArgs {
    /// Shows the session even if it is none of the network: that is when it is looked at.
    fn run(&self, output: &OutputArgs) -> Outcome {
        let session = load_session(&self.session)?;
        let compared = compare_network(&session, &self.network);
        let network = compared.as_ref().ok().and_then(Option::as_deref);
        report::session(output, &session, network, self.words)?;
        compared.map(|_| Exit::Done)
    }
}
