//! Small text files that flags name.

use std::path::Path;

use reshare_files::input_file::{read_input, without_bom};

use crate::failure::Failure;

/// The largest text file that a flag names: a public key takes a few hundred bytes.
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// Reads a small text file that a flag names.
pub(crate) fn read_text(path: &Path, flag: &str) -> Result<String, Failure> {
    let failed = |why| {
        let failure = Failure::failed(format!("cannot read {}: {why}", path.display()));
        failure.hint(format!("check {flag}, and that this user may read the file"))
    };
    let bytes = read_input(path, MAX_TEXT_BYTES).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(failed(format!("it has more than {MAX_TEXT_BYTES} bytes")));
    }
    String::from_utf8(without_bom(&bytes).to_vec()).map_err(|_| failed("it is no text".to_owned()))
}
