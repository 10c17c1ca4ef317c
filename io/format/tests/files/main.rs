//! Share files, parts and packages: round trips, and every defect they can have.
#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps in vain")]

mod allocations;
mod common;
mod hybrid_seal;
mod manifest;
mod numpy;
mod package;
mod part;
mod share_file;
