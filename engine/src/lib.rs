//! The mathematics of resharing: pure, without files, network, clock, logs or global state.
//!
//! A sender blinds its rows with a [`Blinder`](blind::Blinder). The receiver joins what two senders
//! deliver with [`join`](merge::join) and rebuilds its own share with [`merge`](merge::merge). Rows
//! go in and out in columns: [`RowBatch`](row_batch::RowBatch) owns them, [`Rows`](rows::Rows)
//! borrows them.
//!
//! # Example
//!
//! Parties 0 and 1 rebuild the share of party 2, which has lost it:
//!
//! ```
//! use std::sync::Arc;
//!
//! use reshare_engine::blind::Blinder;
//! use reshare_engine::fingerprint::Fingerprint;
//! use reshare_engine::key_schedule::{KeySchedule, SharedSecret};
//! use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
//! use reshare_engine::merge::{join, merge};
//! use reshare_engine::party::PartyId;
//! use reshare_engine::ring::RingElement;
//! use reshare_engine::row_batch::RowBatch;
//! use reshare_engine::rows::AgreeValue;
//! use reshare_engine::shamir::share;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // All parties have the same columns: here a version, and two ring elements of shares.
//! let version = AgreeColumn { name: "version_id".to_owned(), kind: AgreeKind::Integer };
//! let code = ShareColumn { name: "code".to_owned(), len: 8 };
//! let layout = Arc::new(RowLayout::new(vec![version], vec![code])?);
//!
//! // One record, shared among the parties. In production, each party reads its own share from its
//! // database, and the coefficients are random.
//! let secrets = [RingElement([1, 2, 3, 4]), RingElement([5, 6, 7, 8])];
//! let coefficients = [RingElement([40_000, 7, 1, 9]), RingElement([3, 50_000, 2, 6])];
//! let share_of = |party: PartyId| -> Result<RowBatch, Box<dyn std::error::Error>> {
//!     let elements = [0, 1].map(|i| share(secrets[i], coefficients[i], party));
//!     let mut batch = RowBatch::with_capacity(layout.clone(), 1);
//!     batch.push_bytes(7, &[AgreeValue::Integer(3)], &[bytemuck::cast_slice(&elements)])?;
//!     Ok(batch)
//! };
//!
//! // Both senders derive the same keys from a secret that the receiver does not have.
//! let fingerprint = Fingerprint([0x5a; 32]);
//! let keys = KeySchedule::derive(&SharedSecret::new([3; 32]), "a session", &fingerprint);
//!
//! // Each sender weights and blinds its share of the row, in place.
//! let (first, second, receiver) = (PartyId::new(0)?, PartyId::new(1)?, PartyId::new(2)?);
//! let (mut from_first, mut from_second) = (share_of(first)?, share_of(second)?);
//! Blinder::new(&keys, &fingerprint, first, second, receiver)?.blind_in_place(&mut from_first)?;
//! Blinder::new(&keys, &fingerprint, second, first, receiver)?.blind_in_place(&mut from_second)?;
//!
//! // The receiver pairs the rows by id and adds them: the blinding cancels.
//! let (from_first, from_second) = (from_first.rows(), from_second.rows());
//! let join = join(&from_first, &from_second)?;
//! let mut rebuilt = RowBatch::with_capacity(layout.clone(), join.pairs.len());
//! merge(&from_first, &from_second, &join.pairs, &mut rebuilt)?;
//!
//! let lost = share_of(receiver)?;
//! assert_eq!(rebuilt.rows().ids, [7]);
//! assert!(rebuilt.rows().agree == lost.rows().agree);
//! assert!(rebuilt.rows().shares == lost.rows().shares);
//! # Ok(())
//! # }
//! ```

#[cfg(target_endian = "big")]
compile_error!(
    "reshare maps little-endian files as they are: big-endian targets are not supported"
);

pub mod agreed_secrets;
pub mod blind;
pub mod cipher;
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
mod rows_mut;
pub mod shamir;
pub mod staged_hasher;
mod tile;
