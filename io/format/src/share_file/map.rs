//! The only place where a share file is mapped into memory.
#![expect(unsafe_code, reason = "mapping a file is unsafe: another process may change it")]

use std::fs::File;
use std::io;

use memmap2::{Mmap, MmapOptions};

/// Maps a whole file for reading.
///
/// # Errors
/// Any error of the operating system.
pub(super) fn map(file: &File) -> io::Result<Mmap> {
    map_range(file, 0, file.metadata()?.len())
}

/// Maps `bytes` of a file from `offset` on, a multiple of the page size, for reading.
///
/// # Errors
/// Any error of the operating system.
pub(super) fn map_range(file: &File, offset: u64, bytes: u64) -> io::Result<Mmap> {
    let length = usize::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let options = MmapOptions::new().offset(offset).len(length).clone();
    // SAFETY: a process that writes to the mapped file changes bytes under shared slices. A
    // process that truncates it makes a later access end this process with SIGBUS. Changed bytes
    // have limited effects: the columns are plain integers, for which every bit pattern is valid,
    // and no length, offset or index is read from the map after it was checked. So a racing writer
    // can cause wrong shares or wrong ids, but no access outside the map. The callers map a file
    // only if it belongs to this user or root and no other user may write to it. Packages, which
    // come from others, are never mapped.
    unsafe { options.map(file) }
}
