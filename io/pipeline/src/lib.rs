//! Stages and queues: export, pack, send, merge, load, rebuild.
//!
//! Database connections are tasks, work on parts runs in threads, and bounded queues lie
//! between them. A pool of row batches bounds the memory of every pipeline.

pub mod deliver;
pub mod directory_package;
pub mod error;
pub mod export;
pub mod ledger;
pub mod load;
pub mod merge;
pub mod pack;
pub mod packages;
pub mod preflight;
pub mod purge;
pub mod rebuild;
pub mod rows_wanted;
pub mod sealer;
pub mod send;
pub mod sender;
pub mod tune;
pub mod verify;
pub mod workers;

mod checked_file;
mod destination;
mod joined_ids;
mod merging;
mod open_ahead;
mod pool;
mod read_parts;
mod receiver_package;
mod refused_rows;
mod resume;
mod sealed_buffer;
mod snapshots;
mod sweep;
mod tasks;

/// Threads for work on parts: `RAYON_NUM_THREADS` where it is set, else one a core.
#[must_use]
pub fn default_threads() -> usize {
    rayon::current_num_threads()
}
