//! What the resharing programs of worldcoin/iris-mpc were seen to get wrong when they were run,
//! and what this program does instead: a test for each, of real processes and databases.
//!
//! | there | here |
//! | --- | --- |
//! | an insert fails: both senders exit 0, nothing is stored | `storing` |
//! | one sender ran alone: it exits 0, nothing is stored | `storing` |
//! | a broken run leaves batches that poison the next one | `storing` |
//! | a retry rewrites every row and its `last_modified_at` | `storing` |
//! | ranges cut differently: batches are dropped | `cutting` |
//! | a gap in the ids: an abort, or a row that is missing in silence | `cutting` |
//! | `version_id` is not sent | `versions` |
//! | two versions of a row: a wrong share is stored | `versions` |
//! | a session run again reuses its blinding for a changed row | `blinding` |
//! | anybody may claim to be a sender | `claims` |
//! | one side waits for the other without end | `waiting` |
//!
//! `ids` has the ids of which the ranges there are made: any, first and last, one and none.

mod agreed;
mod blinding;
mod claims;
mod cutting;
mod ids;
mod storing;
mod versions;
mod waiting;
