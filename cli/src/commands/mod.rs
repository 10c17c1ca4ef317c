//! The commands, one file each.

use clap::{CommandFactory, Parser, Subcommand};

use crate::args::OutputArgs;
use crate::failure::Outcome;

mod check;
mod completions;
mod config;
#[cfg(feature = "demo")]
mod demo;
mod export;
mod inspect;
mod keygen;
#[cfg(feature = "kms")]
mod kms;
mod load;
mod man;
mod merge;
mod network;
mod pack;
mod party;
mod pki;
mod purge;
mod rebuild;
mod receipt;
mod receive;
mod report;
mod seed;
mod send;
mod session;
mod status;
mod tune;
mod upload;
mod verify;

pub(crate) use receive::needs_rebuild as receive_needs_rebuild;

/// Moves and rebuilds the secret shares of an MPC network in bulk
///
/// Two senders blind and seal their shares into packages; the receiver merges the two packages into
/// its own share. No party learns a record.
#[derive(Debug, Parser)]
#[command(name = "reshare", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    failed: running it again may help
  2    usage: the command line is not valid
  3    done, but rows were left over: the report lists them
  4    refused: integrity, keys or session do not match, `verify` found a difference, or
       `check` found something not ok
  130  stopped by Ctrl-C (143: by SIGTERM); run it again to continue";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make an agreement key (sender) or an age identity (receiver)
    Keygen(keygen::KeygenArgs),
    /// Make or show a sender's agreement key in AWS KMS
    #[cfg(feature = "kms")]
    Kms(kms::KmsCommand),
    /// Make everything that a new party needs, in one directory
    Party(party::PartyCommand),
    /// Make a certificate authority, and certificates for the parties
    Pki(pki::PkiArgs),
    /// Show which settings hold, and where each one comes from
    Config(config::ConfigCommand),
    /// Make, extend or show the network file: which number belongs to which party, for good
    Network(network::NetworkCommand),
    /// Make, show or approve a session
    Session(session::SessionCommand),
    /// Check everything that a run needs before it starts; changes nothing
    Check(check::CheckCommand),
    /// Sender: write the table's shares to a share file
    Export(export::ExportArgs),
    /// Sender: blind and seal a share file into a package
    Pack(pack::PackArgs),
    /// Sender: database to receiver (or package) in one pass, no plain share on disk
    Send(send::SendArgs),
    /// Sender: deliver a package to the receiver over mutual TLS
    Upload(upload::UploadArgs),
    /// Receiver: accept both senders' packages over mutual TLS, and rebuild on request
    Receive(receive::ReceiveArgs),
    /// Receiver: merge two packages into a share file
    Merge(merge::MergeArgs),
    /// Receiver: load a share file into the database
    Load(load::LoadArgs),
    /// Receiver: two packages to database in one pass
    Rebuild(rebuild::RebuildArgs),
    /// Compare a table with the packages it was rebuilt from, a share file or another table
    Verify(verify::VerifyArgs),
    /// Show how far each side is: ledger, packages, inbox, load; only reads, and takes no lock
    Status(status::StatusArgs),
    /// Show what the runs of a session have done: text, JSON, or a page for a browser
    Report(report::ReportArgs),
    /// Remove a session's share files and packages, once its load is verified
    Purge(purge::PurgeArgs),
    /// Check the receiver's receipt
    Receipt(receipt::ReceiptCommand),
    /// Describe a file or package
    Inspect(inspect::InspectArgs),
    /// Measure this machine for some seconds and recommend flags; changes nothing
    Tune(tune::TuneArgs),
    /// Fill databases with synthetic records and their shares
    Seed(seed::SeedArgs),
    /// Run the whole job once, on synthetic records
    #[cfg(feature = "demo")]
    Demo(demo::DemoArgs),
    /// Print a shell's completions
    Completions(completions::CompletionsArgs),
    /// Print the manual page, or write one for each command
    Man(man::ManArgs),
}

impl Cli {
    /// Does what the command line asks for.
    pub(crate) fn run(&self) -> Outcome {
        let output = &self.output;
        match &self.command {
            Command::Keygen(args) => args.run(output),
            #[cfg(feature = "kms")]
            Command::Kms(command) => command.run(output),
            Command::Party(command) => command.run(output),
            Command::Pki(args) => args.run(output),
            Command::Config(command) => command.run(output),
            Command::Network(command) => command.run(output),
            Command::Session(command) => command.run(output),
            Command::Check(command) => command.run(output),
            Command::Export(args) => args.run(output),
            Command::Pack(args) => args.run(output),
            Command::Send(args) => args.run(output),
            Command::Upload(args) => args.run(output),
            Command::Receive(args) => args.run(output),
            Command::Merge(args) => args.run(output),
            Command::Load(args) => args.run(output),
            Command::Rebuild(args) => args.run(output),
            Command::Verify(args) => args.run(output),
            Command::Status(args) => args.run(output),
            Command::Report(args) => args.run(output),
            Command::Purge(args) => args.run(output),
            Command::Receipt(command) => command.run(output),
            Command::Inspect(args) => args.run(output),
            Command::Tune(args) => args.run(output),
            Command::Seed(args) => args.run(output),
            #[cfg(feature = "demo")]
            Command::Demo(args) => args.run(output),
            Command::Completions(args) => args.run(Self::command()),
            Command::Man(args) => args.run(Self::command()),
        }
    }
}
