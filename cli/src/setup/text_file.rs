//! Small text files that flags name.

use std::path::Path;

use reshare_files::file_error::OnFile;
use reshare_files::input_file::{read_input, without_bom};

use crate::failure::Failure;

/// The largest text file that a flag names: a public key takes a few hundred bytes.
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// Reads a small text file that a flag names.
pub(crate) fn read_text(path: &Path, flag: &str) -> Result<String, Failure> {
    let bytes = read_input(path, MAX_TEXT_BYTES).on("read", path).map_err(|error| {
        Failure::of(error).hint(format!("check {flag}, and that this user may read the file"))
    })?;
    let refused = |why: &str| {
        let failure = Failure::refused(format!("cannot read {}: {why}", path.display()));
        failure.hint(format!("check {flag}: another file is meant"))
    };
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(refused(&format!("it has more than {MAX_TEXT_BYTES} bytes")));
    }
    String::from_utf8(without_bom(&bytes).to_vec()).map_err(|_| refused("it is no text"))
}
