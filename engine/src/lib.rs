//! The mathematics of resharing: pure, without files, network, clock, logs or global state.
//!
//! Rows go in and out in columns ([`rows::Rows`], [`row_batch::RowBatch`]).

#[cfg(target_endian = "big")]
compile_error!(
    "reshare maps little-endian files as they are: big-endian targets are not supported"
);

pub mod fingerprint;
pub mod ids;
pub mod key_schedule;
pub mod keystream;
pub mod layout;
pub mod party;
pub mod ring;
pub mod row_batch;
pub mod rows;
pub mod shamir;
