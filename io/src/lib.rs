//! Everything of reshare that lies outside the process: files, keys, databases.
//!
//! Arrows: [`pipeline`] uses all the rest; [`exchange`] uses [`session`], [`keys`] and [`package`]; [`package`] uses [`share_file`] and [`durable`];
//! [`postgres`] knows nothing of files; nothing here knows a terminal.

pub mod durable;
pub mod exchange;
pub mod ids;
pub mod input_file;
pub mod keys;
pub mod ledger;
pub mod leftovers;
pub mod package;
pub mod pipeline;
pub mod postgres;
pub mod preflight;
pub mod progress;
pub mod purge;
pub mod receipt;
pub mod session;
pub mod share_file;
pub mod timestamp;
pub mod tune;
