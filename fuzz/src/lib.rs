//! Checks of everything that reshare reads from other organisations and media, one module a reader.
//!
//! Each `check` passes arbitrary bytes to the reader, and panics when a promise is broken: no input
//! may make the reader panic, and accepted input must not contradict itself. The fuzz targets and
//! the test over the corpus call the same functions.

pub mod approval;
pub mod copy;
pub mod manifest;
pub mod network;
pub mod part;
pub mod part_record;
pub mod party;
pub mod receipt;
pub mod sample;
pub mod session;
pub mod share_file;

/// Passes bytes to a reader, and panics when a promise is broken. Returns whether the reader
/// accepted them: a target that accepts nothing never reaches the code after the first check.
pub type Check = fn(&[u8]) -> bool;

/// The names of all targets, with their checks.
pub const TARGETS: [(&str, Check); 10] = [
    ("approval", approval::check),
    ("copy", copy::check),
    ("manifest", manifest::check),
    ("network", network::check),
    ("part", part::check),
    ("part_record", part_record::check),
    ("party", party::check),
    ("receipt", receipt::check),
    ("session", session::check),
    ("share_file", share_file::check),
];
