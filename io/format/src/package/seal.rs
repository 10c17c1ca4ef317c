//! Sealing: blinded rows -> zstd -> age, digested while the file is written.

use std::io::{self, Write};
use std::path::Path;

use crate::keys::Recipient;
use reshare_engine::layout::RowLayout;
use reshare_engine::rows::Rows;
use reshare_files::durable::DurableFile;

use super::age_payload::{self, CHUNK_BYTES, TAG_BYTES};
use super::compression::Compression;
use super::zstd_store::{self, StoreWriter, WINDOW_LOG};
use super::{PartDefect, PartError, PartName};
use crate::share_file::block_plan::BlockPlan;
use crate::share_file::{self, Kind, ShareFileDefect, ShareFileSpec};

/// A part that is durable under its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedPart {
    /// Its file name.
    pub name: PartName,
    /// Its size.
    pub sealed_bytes: u64,
    /// BLAKE3 of the file.
    pub sealed_digest: blake3::Hash,
}

/// Who can open sealed parts, and how they are made.
#[derive(Debug, Clone, Copy)]
pub struct Sealing<'a> {
    /// Who can open them.
    pub recipient: &'a Recipient,
    /// The size of the largest sealed part.
    pub max_part_bytes: u64,
    /// How the columns that can shrink are compressed.
    pub compression: Compression,
}

/// Seals blinded rows for one recipient, as a file in `directory` that is durable on return.
///
/// An earlier file of that part is replaced as a whole. Its bytes differ even for the same content,
/// since age is randomised.
///
/// # Errors
/// [`PartError`] when the rows are not those of `spec`, `spec` is not blinded, the part is
/// larger than `max_part_bytes`, or writing fails.
pub fn seal_part(
    directory: &Path,
    spec: &ShareFileSpec,
    rows: &Rows<'_>,
    recipient: &Recipient,
    max_part_bytes: u64,
) -> Result<SealedPart, PartError> {
    let sealing = Sealing { recipient, max_part_bytes, compression: Compression::Auto };
    seal_part_recorded(directory, spec, rows, sealing, |part| Ok(*part))
}

/// Like [`seal_part`], and calls `record` when the part is durable under a temporary name but does
/// not have its final name yet. Returns what `record` returns.
///
/// # Errors
/// As [`seal_part`], and any error of `record`. The final name does not appear then.
pub fn seal_part_recorded<T, E: From<PartError>>(
    directory: &Path,
    spec: &ShareFileSpec,
    rows: &Rows<'_>,
    sealing: Sealing<'_>,
    record: impl FnOnce(&SealedPart) -> Result<T, E>,
) -> Result<T, E> {
    let name = PartName::new(spec.part_index);
    let path = directory.join(name.to_string());
    let refused =
        |defect| E::from(PartError { path: path.clone(), name, defect: Box::new(defect) });
    let seal = || {
        let file = DurableFile::create(&path).map_err(PartDefect::Write)?;
        let Sealing { recipient, compression, .. } = sealing;
        let (file, part) = seal_part_to(file, spec, rows, recipient, compression)?;
        if part.sealed_bytes > sealing.max_part_bytes {
            let (bytes, max) = (part.sealed_bytes, sealing.max_part_bytes);
            return Err(PartDefect::TooLarge { bytes, max });
        }
        Ok((file.sync().map_err(PartDefect::Write)?, part))
    };
    let (file, part) = seal().map_err(refused)?;
    let recorded = record(&part)?;
    file.rename().map_err(|error| refused(PartDefect::Write(error)))?;
    Ok(recorded)
}

/// Seals blinded rows for one recipient, into any writer, in pieces of 256 KiB.
///
/// # Errors
/// [`PartDefect`] when the rows are not those of `spec`, `spec` is not blinded, or writing fails.
pub fn seal_part_to<W: Write>(
    out: W,
    spec: &ShareFileSpec,
    rows: &Rows<'_>,
    recipient: &Recipient,
    compression: Compression,
) -> Result<(W, SealedPart), PartDefect> {
    if spec.kind != Kind::Blinded {
        let (expected, got) = (Kind::Blinded, spec.kind);
        return Err(ShareFileDefect::OtherKind { expected, got }.into());
    }
    let write = PartDefect::Write;
    let mut age = age_payload::Writer::new(DigestWriter::new(out), recipient)?;
    seal_prefix(&mut age, spec, rows, compression)?;
    let stored = share_file::stored_bytes(spec)?;
    let mut store = StoreWriter::new(&mut age, stored).map_err(write)?;
    share_file::write_shares(&mut store, spec, rows).map_err(write_defect)?;
    store.finish().map_err(write)?;
    let DigestWriter { out, hasher, written } = age.finish().map_err(write)?;
    let name = PartName::new(spec.part_index);
    let sealed_digest = hasher.finalize();
    Ok((out, SealedPart { name, sealed_bytes: written, sealed_digest }))
}

/// Seals what comes before the share columns, as one frame.
fn seal_prefix(
    age: &mut impl Write,
    spec: &ShareFileSpec,
    rows: &Rows<'_>,
    compression: Compression,
) -> Result<(), PartDefect> {
    let write = PartDefect::Write;
    let Some(level) = compression.level() else {
        let mut prefix = Vec::new();
        share_file::write_prefix(&mut prefix, spec, rows).map_err(write_defect)?;
        let mut store = StoreWriter::new(age, prefix.len() as u64).map_err(write)?;
        return store.write_all(&prefix).and_then(|()| store.finish()).map_err(write);
    };
    let mut zstd = zstd::Encoder::new(age, level).map_err(write)?;
    zstd.window_log(WINDOW_LOG).map_err(write)?;
    share_file::write_prefix(&mut zstd, spec, rows).map_err(write_defect)?;
    zstd.finish().map_err(write)?;
    Ok(())
}

/// Separates failed writes from defects of the rows.
fn write_defect(defect: ShareFileDefect) -> PartDefect {
    match defect {
        ShareFileDefect::Write(error) => PartDefect::Write(error),
        defect => defect.into(),
    }
}

/// The most bytes of a part with this many rows; `None` when no file can hold them.
#[must_use]
pub fn sealed_bytes_at_most(layout: &RowLayout, rows: u64) -> Option<u64> {
    let plan = BlockPlan::new(Kind::Blinded, layout, rows)?;
    let stored = plan.file_bytes - plan.prefix_bytes;
    let prefix = plan.prefix_bytes + plan.prefix_bytes / 128 + ZSTD_FRAME_OVERHEAD;
    let store = stored.checked_add(zstd_store::overhead(stored, 2 * plan.shares.len() as u64))?;
    let plain = prefix.checked_add(store)?;
    let chunks = plain / CHUNK_BYTES as u64 + 1;
    plain.checked_add(chunks * TAG_BYTES as u64)?.checked_add(AGE_HEADER_BYTES)
}

/// The most rows whose part is sure to fit into `max_part_bytes`; 0 when not even one row does.
#[must_use]
pub fn rows_per_part_at_most(layout: &RowLayout, max_part_bytes: u64) -> u64 {
    let (mut fits, mut beyond) = (0, max_part_bytes / layout.row_share_bytes() as u64 + 1);
    while fits + 1 < beyond {
        let middle = fits + (beyond - fits) / 2;
        match sealed_bytes_at_most(layout, middle) {
            Some(bytes) if bytes <= max_part_bytes => fits = middle,
            _ => beyond = middle,
        }
    }
    fits
}

/// An upper bound for the frame header and block headers of a frame that did not shrink.
const ZSTD_FRAME_OVERHEAD: u64 = 64;
/// Header and nonce of a file with one recipient, whose stanza has 1,600 bytes if it is hybrid, and
/// a random stanza, generously.
const AGE_HEADER_BYTES: u64 = 4096;
/// Digests what is written, each byte once.
struct DigestWriter<W> {
    out: W,
    hasher: blake3::Hasher,
    written: u64,
}

impl<W> DigestWriter<W> {
    fn new(out: W) -> Self {
        Self { out, hasher: blake3::Hasher::new(), written: 0 }
    }
}

impl<W: Write> Write for DigestWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.out.write_all(bytes)?;
        self.hasher.update(bytes);
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_part_of_iris_rows_fits_into_64_mib_and_nothing_larger_is_promised() {
        let iris = RowLayout::iris();
        let max = 64 << 20;
        let rows = rows_per_part_at_most(&iris, max);
        assert!((800..=873).contains(&rows), "{rows}");
        assert!(sealed_bytes_at_most(&iris, rows).unwrap() <= max);
        assert!(sealed_bytes_at_most(&iris, rows + 1).unwrap() > max);
        assert_eq!(rows_per_part_at_most(&iris, 80_000), 0);
        assert_eq!(rows_per_part_at_most(&iris, 0), 0);
        assert!(rows_per_part_at_most(&iris, u64::MAX) > 1 << 40);
        assert_eq!(sealed_bytes_at_most(&iris, u64::MAX), None);
    }
}
