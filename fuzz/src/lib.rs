//! What reshare reads from other organisations and from media, one module a reader.
//!
//! Each `check` takes arbitrary bytes, hands them to the reader, and panics when a promise is
//! broken: nothing that is read may panic, nothing that is accepted may contradict itself. The
//! fuzz targets and the test over the corpus call the same functions.

pub mod approval;
pub mod copy;
pub mod manifest;
pub mod part;
pub mod receipt;
pub mod sample;
pub mod session;
pub mod share_file;

/// Hands bytes to a reader, and panics when a promise is broken. Returns whether the reader has
/// accepted them: a target that never does looks at nothing that lies behind.
pub type Check = fn(&[u8]) -> bool;

/// The names of all targets, with their checks.
pub const TARGETS: [(&str, Check); 7] = [
    ("approval", approval::check),
    ("copy", copy::check),
    ("manifest", manifest::check),
    ("part", part::check),
    ("receipt", receipt::check),
    ("session", session::check),
    ("share_file", share_file::check),
];
