//! Export, load and comparison of PostgreSQL tables that hold shares.
//!
//! Rows are only moved by COPY in its binary format: one round trip a part, and no row in a
//! prepared statement. A load records each range of ids in the transaction that writes its
//! rows, so an interrupted run continues where it was.
//!
//! # Reading order
//! * Which table: [`connect`] (where the database is, and how it is reached), [`table`] (names and
//!   types),
//!   [`schema`] (the catalog fits the session).
//! * [`transaction`]: how every transaction begins; [`statement`]: how a query is put.
//! * Rows on the wire: [`copy`].
//! * Reading: [`plan`] (how rows are cut into parts), then [`export`] (one snapshot, read over
//!   several connections).
//! * Writing: [`load`] (one process at a time, by the lock in `turn`), [`mod@write`] (one range in
//!   one transaction), [`tries`] (a transaction that is undone for another one is tried again),
//!   [`redo`] (a loaded range taken back and written again), [`progress_table`] and
//!   [`load_source`] (what is recorded of a range).
//! * After a load: [`sequence`] (which ids the application gets next).
//! * What can break a load: [`triggers`], [`references`] (foreign keys) and [`iris_mpc`] (the
//!   triggers of its tables); `stored` reads which rows are already there.
//! * Checking: [`compare`] (two tables, or rows and a table), [`verified`] (which loads were
//!   compared).
//! * Errors: [`error`] reduces what the server says to what may be shown; [`load_error`] has the
//!   reasons why a load stops.
//!
//! # What is absent
//! No key, file or package, and no blinding: rows come and go as plain shares in memory. No query
//! text and no value of a row is logged. Only tests start a server.
//!
//! # Example
//! Two rows, encoded for a table and decoded again; no server is needed:
//!
//! ```
//! use std::sync::Arc;
//!
//! use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
//! use reshare_engine::row_batch::RowBatch;
//! use reshare_engine::rows::AgreeValue;
//! use reshare_files::ids::IdRange;
//! use reshare_postgres::copy::{Decoder, Encoder};
//! use reshare_postgres::table::{AgreeType, IntegerWidth, Table, TableName, TableSpec};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let layout = Arc::new(RowLayout::new(
//!     vec![AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer }],
//!     vec![ShareColumn { name: "code".into(), len: 4 }],
//! )?);
//! let spec = TableSpec::new(TableName::new("public", "irises")?, "id", Arc::clone(&layout))?;
//! assert_eq!(spec.name().sql(), r#""public"."irises""#);
//! assert_eq!(spec.columns_sql(), r#""id", "version_id", "code""#);
//!
//! // A session reads the types from the catalog; here they are given.
//! let types = vec![AgreeType::Integer(IntegerWidth::Two)];
//! let table = Arc::new(Table::new(spec, IntegerWidth::Eight, types).ok_or("other types")?);
//!
//! let mut rows = RowBatch::with_capacity(Arc::clone(&layout), 2);
//! rows.push_bytes(7, &[AgreeValue::Integer(1)], &[&[1; 8]])?;
//! rows.push_bytes(9, &[AgreeValue::Null], &[&[2; 8]])?;
//!
//! let mut encoder = Encoder::new(Arc::clone(&table));
//! let mut decoder = Decoder::new(&table, IdRange::ALL);
//! let mut decoded = RowBatch::with_capacity(layout, 2);
//! while let Some(message) = encoder.next_message(&rows.rows())? {
//!     decoder.push(message, &mut decoded)?;
//! }
//! assert_eq!(decoder.finish()?, 2);
//! assert_eq!(decoded.rows().ids, [7, 9]);
//! # Ok(())
//! # }
//! ```

pub mod compare;
pub mod connect;
pub mod copy;
pub mod error;
pub mod export;
pub mod iris_mpc;
pub mod load;
pub mod load_error;
pub mod load_options;
pub mod load_source;
pub mod plan;
pub mod progress_table;
pub mod redo;
pub mod references;
pub mod schema;
pub mod sequence;
pub mod statement;
mod stored;
pub mod table;
pub mod transaction;
pub mod tries;
pub mod triggers;
mod turn;
pub mod verified;
pub mod write;
