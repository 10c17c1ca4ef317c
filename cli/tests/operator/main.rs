//! The program as operators run it, against a real PostgreSQL: every command, the tables that
//! iris-mpc makes, keys in KMS, and what the program promises.

mod compression;
mod everyday;
mod hybrid;
mod kms;
mod log_format;
mod media;
mod party;
mod promises;
mod receive;
mod redo;
mod reports;
mod settings;
mod statements;
mod tables;
mod transcripts;
mod tune;
mod who_is_who;

use std::process::Command;

use reshare_fixtures::network::{Network, Setup};

const RESHARE: &str = env!("CARGO_BIN_EXE_reshare");

/// Rows of each party in [`network`].
const ROWS: usize = 60;

/// Three parties with a session without certificates.
fn network() -> Network {
    Setup::of(RESHARE).rows(ROWS as u64).make()
}

fn program() -> Command {
    reshare_fixtures::network::program(RESHARE)
}
