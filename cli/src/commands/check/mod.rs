//! `reshare check`: checks everything that a run needs before it begins.
//!
//! The checks of a command are made with the functions that the command calls, so nothing is ok
//! here and refused there. A failed check hides no other: only checks that depend on it are
//! skipped.

use clap::{Args, Subcommand};

use crate::args::OutputArgs;
use crate::failure::Outcome;

mod certificate;
mod checklist;
mod database;
mod delivery;
mod inbox;
mod receiver;
mod receiver_table;
mod sender;
mod sender_table;
mod server;
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
