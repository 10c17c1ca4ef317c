//! What travels between parties and what stays on their disks: sessions, keys, packages.
//!
//! Modules: [`keys`] <- [`session`] <- [`package`] <- [`receipt`], and [`share_file`] below
//! [`package`]. Nothing here knows a database or a network.

pub mod keys;
pub mod package;
pub mod receipt;
pub mod session;
pub mod share_file;
