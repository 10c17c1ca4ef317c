//! How reshare reads and writes files, and the small types that files and tables share.
//!
//! [`durable`] writes files that appear whole or not at all; [`input_file`] opens what a flag
//! names; [`file_error`] says which file the
//! file system refuses, and [`fault`] what a refusal is. [`ids`], [`leftovers`] and [`timestamp`] are the words that a session, a part, a
//! database and a report have in common.

pub mod durable;
pub mod fault;
pub mod file_error;
pub mod ids;
pub mod input_file;
pub mod leftovers;
pub mod timestamp;
