//! Shared setup for the benches of files, COPY and parts: rows, directories, threads.

use std::path::Path;

use rayon::ThreadPool;
use rayon::prelude::*;
use reshare_engine::blind::Blinder;
use reshare_engine::row_batch::RowBatch;
use reshare_files::ids::IdRange;
use reshare_format::share_file::{Kind, ShareFileSpec};
use tempfile::TempDir;

use crate::{FINGERPRINT, iris_share, keys, party};

/// Rows of a part: the default of the program, 39 MB.
pub const ROWS_PER_PART: usize = 512;

/// Whether each bench runs once for its answers, and not for its figures: `make bench-quick`.
#[must_use]
pub fn quick() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// This many rows, or a few if only the answers matter.
#[must_use]
pub fn rows_or_few(rows: usize) -> usize {
    if quick() { rows.min(20) } else { rows }
}

/// Makes a directory for the measured files: in `RESHARE_BENCH_DIR`, or else in memory if the
/// system has such a file system, or else in the directory for temporary files.
///
/// # Panics
/// When it cannot be made.
#[must_use]
pub fn directory() -> TempDir {
    let named = std::env::var_os("RESHARE_BENCH_DIR").map(Into::into);
    let memory = || Some(Path::new("/dev/shm").to_owned()).filter(|path| path.is_dir());
    let parent = named.or_else(memory).unwrap_or_else(std::env::temp_dir);
    let made = tempfile::Builder::new().prefix("reshare-bench-").tempdir_in(&parent);
    made.unwrap_or_else(|error| panic!("no directory in {}: {error}", parent.display()))
}

/// Makes rows as party 0 delivers them to party 2, with party 1 as the other sender.
///
/// # Panics
/// When memory for them cannot be had.
#[must_use]
pub fn blinded(rows: usize) -> RowBatch {
    let mut batch = iris_share(0, rows);
    Blinder::new(&keys(), &FINGERPRINT, party(0), party(1), party(2))
        .expect("parties")
        .blind_in_place(&mut batch)
        .expect("blinds");
    batch
}

/// The spec of a file with these rows.
///
/// # Panics
/// When there is no row.
#[must_use]
pub fn spec(kind: Kind, part_index: usize, rows: &RowBatch) -> ShareFileSpec {
    let last = i64::try_from(rows.len()).expect("few rows");
    ShareFileSpec {
        kind,
        fingerprint: FINGERPRINT,
        party: party(0),
        part_index: part_index as u64,
        ids: IdRange::new(1, last).expect("at least one row"),
        rows: rows.len() as u64,
        layout: rows.layout().clone(),
    }
}

/// Does something once on every thread, all at the same time.
pub fn on_each(pool: &ThreadPool, work: impl Fn(usize) + Sync) {
    let places: Vec<usize> = (0..pool.current_num_threads()).collect();
    pool.install(|| places.par_iter().with_max_len(1).for_each(|place| work(*place)));
}
