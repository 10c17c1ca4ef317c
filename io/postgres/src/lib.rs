//! Export, load and comparison of tables.
//!
//! [`connect::Database`] says where, [`table::TableSpec`] what. [`export::Snapshot`] reads,
//! [`load::Loader`] writes, [`compare`] compares; the rows travel in [`copy`]'s binary form.
//! Every statement that moves rows is a COPY: one round trip a part, no row on a prepared path.

pub mod compare;
pub mod connect;
pub mod copy;
pub mod error;
pub mod export;
pub mod iris_mpc;
pub mod load;
pub mod load_error;
pub mod load_source;
mod pgpass;
pub mod plan;
pub mod progress_table;
pub mod references;
pub mod schema;
mod stored;
pub mod table;
pub mod triggers;
mod turn;
pub mod verified;
pub mod write;
