//! `reshare check`: everything a run needs, looked at before it begins.
//!
//! What a command checks is asked of the function that the command calls, so that nothing is ok
//! here and refused there. A check that fails hides no other: only what depends on it is skipped.

use clap::{Args, Subcommand};

use crate::args::OutputArgs;
use crate::failure::Outcome;

mod certificate;
mod checklist;
mod database;
mod delivery;
mod inbox;
mod receiver;
mod sender;
mod session;
mod trigger;

#[derive(Debug, Args)]
pub(crate) struct CheckCommand {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// What `send` and `upload` need: give as many of their flags as you have
    Sender(Box<sender::CheckSenderArgs>),
    /// What `receive --rebuild` needs: give as many of its flags as you have
    Receiver(Box<receiver::CheckReceiverArgs>),
}

impl CheckCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        match &self.role {
            Role::Sender(args) => args.run(output),
            Role::Receiver(args) => args.run(output),
        }
    }
}
