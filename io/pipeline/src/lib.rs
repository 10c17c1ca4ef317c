//! The stages that move shares: export, pack, send, deliver, merge, load, rebuild and verify.
//!
//! Database connections are tasks, work on parts runs in threads, and bounded queues connect them.
//! A pool of row batches bounds the memory of every pipeline. An interrupted run is started again:
//! it keeps what is complete and continues there.
//!
//! # Reading order
//! * A run: [`workers`] (sources, targets, how many threads), [`rows_wanted`] (which ids), `tasks`,
//!   `pool` and [`error`].
//! * Sender, what may be blinded: [`ledger`] first (one blinding, one content) and [`receivers`]
//!   (one number for one party), then [`sender`] (the keys) and [`sealer`] (tags, blinds and seals
//!   a part).
//! * Sender, from rows to a package: `read_parts` and `snapshots` read a table, [`left_out`] names
//!   rows that cannot be read, `resume` finds what earlier runs did, `destination` is a directory (`directory_package`) or the receiver
//!   (`receiver_package` with `sealed_buffer`).
//! * Sender, the commands: [`send`] and [`deliver`] read the table in one pass; [`export`] and
//!   [`pack`] use a share file in between.
//! * Receiver: `delivered_parts` are both senders' parts, of two closed [`packages`] or
//!   [`arriving`] in the inbox. `sweep` walks them side by side, `open_ahead` opens parts in
//!   advance, `joined_ids` and `refused_rows` find trouble before anything is written, `merging`
//!   rebuilds the rows, and `commit_frontier` knows which of them are in the table.
//! * Receiver, the commands: [`rebuild`] loads packages into the table in one pass; [`merge`] and
//!   [`load`] use a share file (`checked_file`) in between; [`verify`] compares the result with
//!   what was delivered, [`verify_digests`] with what was recorded of it. `redo` takes loaded
//!   ranges back and loads them again.
//! * Around a run: [`preflight`] (checks before it), [`tune`] (measures the machine), [`purge`]
//!   (removes what it left).
//!
//! # What is absent
//! No mathematics: blinding and merging are the engine's. No SQL but that of checks and
//! measurements, and no HTTP. No flags, terminal or exit codes. No setting is read from the
//! environment except `RAYON_NUM_THREADS`.
//!
//! # Example
//! The ledger admits a row once it has recorded the row's content tag. The same content is admitted
//! again; another content with the same id and agree values is not:
//!
//! ```
//! use std::sync::Arc;
//!
//! use reshare_engine::fingerprint::Fingerprint;
//! use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
//! use reshare_engine::party::PartyId;
//! use reshare_engine::row_batch::RowBatch;
//! use reshare_engine::row_key::ContentTag;
//! use reshare_engine::rows::AgreeValue;
//! use reshare_pipeline::ledger::Ledger;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let state = tempfile::tempdir()?;
//! let (session, sender) = (Fingerprint([3; 32]), PartyId::new(1)?);
//! assert!(Ledger::create(state.path(), &session, sender)?);
//!
//! let layout = Arc::new(RowLayout::new(
//!     vec![AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer }],
//!     vec![ShareColumn { name: "code".into(), len: 4 }],
//! )?);
//! let mut rows = RowBatch::with_capacity(layout, 1);
//! rows.push_bytes(7, &[AgreeValue::Integer(0)], &[&[1; 8]])?;
//!
//! // A sender derives the tag from the row's shares; here it is given.
//! let (tag, changed) = (ContentTag([1; 16]), ContentTag([2; 16]));
//! let ledger = Ledger::open(state.path(), &session, sender)?;
//! assert_eq!(ledger.admit(&rows.rows(), &[tag])?, [true]);
//! assert_eq!(ledger.admit(&rows.rows(), &[changed])?, [false]);
//!
//! // The next process reads the same record.
//! drop(ledger);
//! let ledger = Ledger::open(state.path(), &session, sender)?;
//! assert_eq!(ledger.admit(&rows.rows(), &[changed])?, [false]);
//! assert_eq!(ledger.admit(&rows.rows(), &[tag])?, [true]);
//! # Ok(())
//! # }
//! ```

pub mod arriving;
pub mod deliver;
pub mod directory_package;
pub mod error;
pub mod evidence;
pub mod export;
pub mod ledger;
pub mod left_out;
pub mod load;
pub mod merge;
pub mod pack;
pub mod packages;
pub mod preflight;
pub mod purge;
pub mod rebuild;
pub mod receivers;
pub mod rows_wanted;
pub mod sealer;
pub mod send;
pub mod sender;
pub mod tune;
pub mod verify;
pub mod verify_digests;
pub mod workers;

mod checked_file;
mod commit_frontier;
mod covers;
mod delivered_parts;
mod destination;
mod joined_ids;
mod merging;
mod open_ahead;
mod pool;
mod read_parts;
mod receiver_package;
mod redo;
mod refused_rows;
mod resume;
mod snapshots;
mod sweep;
mod tasks;

/// Threads for work on parts: `RAYON_NUM_THREADS` if it is set, else one a core.
#[must_use]
pub fn default_threads() -> usize {
    rayon::current_num_threads()
}
