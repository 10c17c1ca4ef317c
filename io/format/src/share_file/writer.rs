//! Writes share files column by column, from several threads at once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use reshare_engine::rows::{AgreeValues, Rows};
use reshare_files::durable::{self, DurableFile};

use super::block_plan::Block;
use super::check::{check_ids, check_ids_from, check_shape};
use super::digest::digest_of;
use super::map::map_range;
use super::{ShareFileDefect, ShareFileError, ShareFileHeader, ShareFileSpec};

/// A share file being written. It gets its name when it is complete and durable.
///
/// The number of rows is known in advance, so every row has a fixed place, and threads can write
/// disjoint ranges of rows in any order.
#[derive(Debug)]
pub struct ShareFileWriter {
    file: DurableFile,
    header: ShareFileHeader,
    /// Ranges of rows that are written or being written: first position to end.
    claimed: Mutex<BTreeMap<u64, u64>>,
}

impl ShareFileWriter {
    /// Reserves the disk space of the whole file under a temporary name next to `path`.
    ///
    /// # Errors
    /// [`ShareFileError`] when no file can hold the rows, or when the file cannot be created.
    pub fn create(path: impl Into<PathBuf>, spec: ShareFileSpec) -> Result<Self, ShareFileError> {
        let path = path.into();
        let create = || {
            let header = ShareFileHeader::new(spec)?;
            // A killed run leaves shares that no one would ever look for. A failure to remove
            // them does not prevent writing.
            if let Err(error) = durable::remove_leftovers_of(&path) {
                tracing::warn!(path = %path.display(), %error, "leftovers of a run cannot be removed");
            }
            let file = DurableFile::create(&path).map_err(ShareFileDefect::Write)?;
            file.allocate(header.file_bytes).map_err(ShareFileDefect::Write)?;
            Ok(Self { file, header, claimed: Mutex::default() })
        };
        create().map_err(|defect| ShareFileError { path: path.clone(), defect })
    }

    /// Writes rows to the positions from `first_row` on; callable from several threads.
    ///
    /// Each column is one positioned write, so pass many rows at once.
    ///
    /// # Errors
    /// [`ShareFileError`] when the rows have other columns, are outside the file, were
    /// written before or do not ascend, or when writing fails.
    pub fn write_rows(&self, first_row: u64, rows: &Rows<'_>) -> Result<(), ShareFileError> {
        let write = || {
            check_shape(rows, &self.header.spec)?;
            check_ids(rows.ids, self.header.spec.ids)?;
            let end = self.claim(first_row, rows.len() as u64)?;
            let written = self.write_columns(first_row, rows);
            if written.is_err() && end > first_row {
                self.lock_claimed().remove(&first_row);
            }
            written
        };
        write().map_err(|defect| self.error(defect))
    }

    /// Completes the file: digest, header, fsync, final name. Returns the digest.
    ///
    /// # Errors
    /// [`ShareFileError`] when a row was never written, ids do not ascend from one range to
    /// the next, or writing fails. The final name does not appear then.
    pub fn finish(self) -> Result<blake3::Hash, ShareFileError> {
        let path = self.file.path().to_owned();
        self.complete().map_err(|defect| ShareFileError { path, defect })
    }

    fn complete(mut self) -> Result<blake3::Hash, ShareFileDefect> {
        self.check_complete()?;
        self.check_ids()?;
        let digest = digest_of(self.file.file(), self.header.file_bytes);
        self.header.digest = digest.map_err(ShareFileDefect::Read)?;
        self.put(&self.header.encode(), 0)?;
        self.file.commit().map_err(ShareFileDefect::Write)?;
        Ok(self.header.digest)
    }

    /// Checks that the ids also ascend from one range of rows to the next.
    fn check_ids(&self) -> Result<(), ShareFileDefect> {
        let Range { start, end } = self.header.plan.ids.range();
        if start == end {
            return Ok(());
        }
        let map = map_range(self.file.file(), start, end - start).map_err(ShareFileDefect::Read)?;
        check_ids_from(0, None, bytemuck::cast_slice(&map), self.header.spec.ids)
    }

    /// Claims a range of rows for one caller; returns its end.
    fn claim(&self, first: u64, count: u64) -> Result<u64, ShareFileDefect> {
        let rows = self.header.spec.rows;
        let end = first.saturating_add(count);
        if end > rows {
            return Err(ShareFileDefect::RowsOutsideFile { first, end, rows });
        }
        if count == 0 {
            return Ok(end);
        }
        let mut claimed = self.lock_claimed();
        if let Some((&other, &other_end)) = claimed.range(..end).next_back()
            && other_end > first
        {
            return Err(ShareFileDefect::WrittenTwice { row: first.max(other) });
        }
        claimed.insert(first, end);
        Ok(end)
    }

    fn check_complete(&self) -> Result<(), ShareFileDefect> {
        let mut next = 0;
        for (&first, &end) in &*self.lock_claimed() {
            if first != next {
                return Err(ShareFileDefect::NeverWritten { row: next });
            }
            next = end;
        }
        if next != self.header.spec.rows {
            return Err(ShareFileDefect::NeverWritten { row: next });
        }
        Ok(())
    }

    fn write_columns(&self, first_row: u64, rows: &Rows<'_>) -> Result<(), ShareFileDefect> {
        let plan = &self.header.plan;
        let put = |block: &Block, bytes: &[u8]| {
            self.put(bytes, block.offset + first_row * block.row_bytes)
        };
        put(&plan.ids, bytemuck::cast_slice(rows.ids))?;
        for (blocks, slice) in plan.agree.iter().zip(&rows.agree) {
            put(&blocks.nulls, slice.nulls)?;
            match slice.values {
                AgreeValues::Integer(values) => put(&blocks.values, bytemuck::cast_slice(values))?,
                AgreeValues::Uuid(values) => put(&blocks.values, values.as_flattened())?,
            }
        }
        if let Some(block) = &plan.row_checks {
            put(block, rows.row_checks.as_flattened())?;
        }
        for (block, shares) in plan.shares.iter().zip(&rows.shares) {
            put(block, bytemuck::cast_slice(shares))?;
        }
        Ok(())
    }

    fn put(&self, bytes: &[u8], offset: u64) -> Result<(), ShareFileDefect> {
        self.file.write_all_at(bytes, offset).map_err(ShareFileDefect::Write)
    }

    /// Locks the claims. They are consistent at any time, even if a thread panicked with the lock.
    fn lock_claimed(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, u64>> {
        self.claimed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn error(&self, defect: ShareFileDefect) -> ShareFileError {
        ShareFileError { path: self.file.path().to_owned(), defect }
    }
}
