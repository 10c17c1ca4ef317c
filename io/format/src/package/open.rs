//! Opening: file -> age -> zstd -> checked rows.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::keys::Identity;
use reshare_engine::row_batch::RowBatch;
use reshare_files::durable::open_regular;

use super::age_payload::{self, Pieces, SealedInput};
use super::manifest_check::rows_fit;
use super::zstd_store::FrameReader;
use super::{PackageExpectations, PartDefect, PartEntry, PartError};
use crate::share_file::{self, RowPrefix, ShareFileDefect};

/// Opens a part into a batch, and checks all of it: size and digest of the file, seal,
/// header, and every column except the shares, for which any bits are valid.
///
/// The file is read once, and its digest is computed on the way. On any error the batch is empty.
///
/// # Errors
/// [`PartError`]. For a changed byte it is [`PartDefect::SealedDigest`], even if the change breaks
/// other things too.
pub fn open_part(
    path: &Path,
    entry: &PartEntry,
    identity: &Identity,
    session: &PackageExpectations,
    batch: &mut RowBatch,
) -> Result<(), PartError> {
    let mut open = || {
        let mut file = DigestReader::new(open_listed(path, entry, session)?, entry.sealed_bytes);
        let spec = session.part_spec(entry);
        let opened = unseal(Pieces::new(&mut file), identity, |plain| {
            share_file::read_rows(plain, &spec, batch)
        });
        file.finish(entry)?;
        opened
    };
    let opened = open();
    if opened.is_err() {
        batch.clear();
    }
    opened.map_err(|defect| part_error(path, entry, defect))
}

/// Opens the beginning of a part: ids, agree columns and row checks. Reads no further.
///
/// The seal authenticates what is returned. The digest of the whole file and the share columns are
/// only checked by [`open_part`].
///
/// # Errors
/// [`PartError`].
pub fn open_part_prefix(
    path: &Path,
    entry: &PartEntry,
    identity: &Identity,
    session: &PackageExpectations,
) -> Result<RowPrefix, PartError> {
    let open = || {
        let file = open_listed(path, entry, session)?;
        let spec = session.part_spec(entry);
        unseal(Pieces::new(file), identity, |plain| share_file::read_prefix(plain, &spec))
    };
    open().map_err(|defect| part_error(path, entry, defect))
}

/// Opens a part that is in memory, and whose digest this process has compared with the entry: the
/// bytes are not digested again. In all else like [`open_part`].
///
/// # Errors
/// As [`open_part`].
pub fn open_held_part(
    sealed: &[u8],
    entry: &PartEntry,
    identity: &Identity,
    session: &PackageExpectations,
    batch: &mut RowBatch,
) -> Result<(), PartError> {
    let spec = session.part_spec(entry);
    let opened = check_sealed(sealed.len() as u64, entry, session).and_then(|()| {
        unseal(sealed, identity, |plain| share_file::read_rows(plain, &spec, batch))
    });
    if opened.is_err() {
        batch.clear();
    }
    opened.map_err(|defect| part_error(Path::new(MEMORY), entry, defect))
}

/// Opens the beginning of a part that is in memory: see [`open_part_prefix`].
///
/// # Errors
/// As [`open_part_prefix`].
pub fn open_held_part_prefix(
    sealed: &[u8],
    entry: &PartEntry,
    identity: &Identity,
    session: &PackageExpectations,
) -> Result<RowPrefix, PartError> {
    let spec = session.part_spec(entry);
    let opened = check_sealed(sealed.len() as u64, entry, session)
        .and_then(|()| unseal(sealed, identity, |plain| share_file::read_prefix(plain, &spec)));
    opened.map_err(|defect| part_error(Path::new(MEMORY), entry, defect))
}

/// The place of a part that is in no file.
const MEMORY: &str = "in memory";

/// Opens the file of an entry, which must be a regular file of the listed size.
fn open_listed(
    path: &Path,
    entry: &PartEntry,
    session: &PackageExpectations,
) -> Result<File, PartDefect> {
    let file = open_regular(path).map_err(PartDefect::Read)?.ok_or(PartDefect::NotRegular)?;
    check_sealed(file.metadata().map_err(PartDefect::Read)?.len(), entry, session)?;
    Ok(file)
}

/// Checks that sealed bytes are as many as listed, and can hold the rows.
fn check_sealed(
    got: u64,
    entry: &PartEntry,
    session: &PackageExpectations,
) -> Result<(), PartDefect> {
    let (rows, expected) = (entry.rows, entry.sealed_bytes);
    if got != expected {
        return Err(PartDefect::SealedSize { expected, got });
    }
    if !rows_fit(rows, got, session) {
        return Err(PartDefect::MoreRowsThanBytes { rows, bytes: got });
    }
    Ok(())
}

/// Decrypts and decompresses `sealed` for `read`, in bounded memory.
fn unseal<T>(
    sealed: impl SealedInput,
    identity: &Identity,
    read: impl FnOnce(&mut dyn Read) -> Result<T, ShareFileDefect>,
) -> Result<T, PartDefect> {
    let age = age_payload::Reader::new(sealed, identity)?;
    Ok(read(&mut FrameReader::new(age))?)
}

/// Digests what is read, and reads no more than one byte beyond the expected length.
struct DigestReader {
    file: io::Take<File>,
    hasher: blake3::Hasher,
    read: u64,
}

impl DigestReader {
    fn new(file: File, expected_bytes: u64) -> Self {
        let file = file.take(expected_bytes.saturating_add(1));
        Self { file, hasher: blake3::Hasher::new(), read: 0 }
    }

    /// Reads the rest and compares size and digest with the entry.
    fn finish(mut self, entry: &PartEntry) -> Result<(), PartDefect> {
        io::copy(&mut self, &mut io::sink()).map_err(PartDefect::Read)?;
        if self.read != entry.sealed_bytes {
            let (expected, got) = (entry.sealed_bytes, self.read);
            return Err(PartDefect::SealedSize { expected, got });
        }
        let (expected, got) = (entry.sealed_digest, self.hasher.finalize());
        if got != expected {
            return Err(PartDefect::SealedDigest { expected, got });
        }
        Ok(())
    }
}

impl Read for DigestReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        self.read += count as u64;
        Ok(count)
    }
}

fn part_error(path: &Path, entry: &PartEntry, defect: PartDefect) -> PartError {
    PartError { path: path.to_owned(), name: entry.name, defect: Box::new(defect) }
}
