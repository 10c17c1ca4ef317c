//! What is checked before and after a run: `reshare check`, what a run leaves behind, and that
//! no secret is in it.

mod check;
mod remains;
mod secrets;

use reshare_fixtures::network::{Network, Setup};

const RESHARE: &str = env!("CARGO_BIN_EXE_reshare");

/// Three parties with certificates, to whom nothing is missing for a run.
fn network() -> Network {
    Setup::certified(RESHARE).make()
}
