//! The digest of a share file.

use std::fs::File;
use std::io;

use super::HEADER_BYTES;
use super::map::map_range;

/// The bytes that are mapped at a time: a map counts as memory of the process, and a file may be
/// larger than all memory.
const WINDOW_BYTES: u64 = 64 << 20;

/// BLAKE3 of all bytes after the header of a file of `file_bytes`, on all threads.
///
/// # Errors
/// Any error of the operating system.
pub(super) fn digest_of(file: &File, file_bytes: u64) -> io::Result<blake3::Hash> {
    let mut hasher = blake3::Hasher::new();
    let mut offset = HEADER_BYTES as u64;
    while offset < file_bytes {
        let bytes = WINDOW_BYTES.min(file_bytes - offset);
        hasher.update_rayon(&map_range(file, offset, bytes)?);
        offset += bytes;
    }
    Ok(hasher.finalize())
}
