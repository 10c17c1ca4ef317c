//! Failures: runs that are killed or cut off, files that are not what they should be, and parties
//! that try what they may not do.

mod crash;
mod hostile;
mod refusals;

const RESHARE: &str = env!("CARGO_BIN_EXE_reshare");
