//! What a command says when it is done.

mod output;
mod session;
mod summary;

pub(crate) use output::{ReportFiles, bytes, line, line_once, print};
pub(crate) use session::{blinding, fingerprint, session, session_text};
pub(crate) use summary::{
    bad_rows, delivered, exit_of, exit_of_pack, leftovers, loaded, packed, rate, rebuilt,
    sequences, uploaded,
};
