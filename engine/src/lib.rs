//! The mathematics of resharing: pure, without files, network, clock, logs or global state.
//!
//! Rows go in and out in columns ([`rows::Rows`], [`row_batch::RowBatch`]).

#[cfg(target_endian = "big")]
compile_error!(
    "reshare maps little-endian files as they are: big-endian targets are not supported"
);

pub mod blind;
mod counters;
pub mod fingerprint;
pub mod kernel;
pub mod key_schedule;
pub mod keystream;
pub mod layout;
pub mod merge;
pub mod party;
pub mod ring;
pub mod row_batch;
pub mod row_key;
pub mod rows;
pub mod rows_mut;
pub mod shamir;
mod tile;
