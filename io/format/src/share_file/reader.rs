//! Mapped share files.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};

use bytemuck::Pod;
use memmap2::Mmap;
use reshare_engine::layout::AgreeKind;
use reshare_engine::rows::{AgreeSlice, AgreeValues, Rows};
use reshare_files::input_file::{is_not_regular, open_input};
use reshare_files::private::{OTHERS_WRITE_BITS, OtherWriters, close_to_group, writers_other_than};

use super::block_plan::Block;
use super::check::{check_agree, check_ids, check_padding};
use super::digest::digest_of;
use super::header::too_short;
use super::map::map;
use super::{Expected, HEADER_BYTES, ShareFileDefect, ShareFileError, ShareFileHeader};

/// An open share file: its header checked, its columns mapped.
pub struct ShareFile {
    path: PathBuf,
    header: ShareFileHeader,
    file: File,
    map: Mmap,
}

impl ShareFile {
    /// Maps a file and checks all of it but the digest: who may write to it, header, length, ids,
    /// NULL marks and padding.
    ///
    /// Truncating a mapped file ends the process with SIGBUS, so a file is only mapped if no user
    /// except this one and root may write to it.
    ///
    /// The checks read ids and agree columns once, and share columns not at all.
    ///
    /// # Errors
    /// [`ShareFileError`] with the first thing that is wrong.
    pub fn open(path: impl Into<PathBuf>, expected: &Expected) -> Result<Self, ShareFileError> {
        let path = path.into();
        let open = || -> Result<_, ShareFileDefect> {
            let (file, header) = open_header(&path)?;
            header.check(expected)?;
            close_to_group(&file, &path, OTHERS_WRITE_BITS).map_err(ShareFileDefect::Read)?;
            let metadata = file.metadata().map_err(ShareFileDefect::Read)?;
            check_writers(&metadata, rustix::process::geteuid().as_raw())?;
            let map = map(&file).map_err(ShareFileDefect::Read)?;
            check_length(&header, map.len() as u64)?;
            Ok((header, file, map))
        };
        match open() {
            Ok((header, file, map)) => {
                let file = Self { path, header, file, map };
                match file.check_columns() {
                    Ok(()) => Ok(file),
                    Err(defect) => Err(file.error(defect)),
                }
            }
            Err(defect) => Err(ShareFileError { path, defect }),
        }
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &ShareFileHeader {
        &self.header
    }

    /// The file's path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// All rows, borrowed from the map.
    #[must_use]
    pub fn rows(&self) -> Rows<'_> {
        let plan = &self.header.plan;
        let layout = &self.header.spec.layout;
        let agree = layout.agree().iter().zip(&plan.agree).map(|(column, blocks)| AgreeSlice {
            nulls: self.entries(&blocks.nulls),
            values: match column.kind {
                AgreeKind::Integer => AgreeValues::Integer(self.entries(&blocks.values)),
                AgreeKind::Uuid => AgreeValues::Uuid(self.entries(&blocks.values)),
            },
        });
        Rows {
            layout,
            ids: self.entries(&plan.ids),
            agree: agree.collect(),
            row_checks: plan.row_checks.as_ref().map_or(&[], |block| self.entries(block)),
            shares: plan.shares.iter().map(|block| self.entries(block)).collect(),
        }
    }

    /// Hashes everything after the header, on all threads, and compares it with the digest.
    ///
    /// # Errors
    /// [`ShareFileDefect::Digest`] when a byte was changed.
    pub fn verify_digest(&self) -> Result<(), ShareFileError> {
        let got = digest_of(&self.file, self.header.file_bytes)
            .map_err(|error| self.error(ShareFileDefect::Read(error)))?;
        let expected = self.header.digest;
        if got == expected {
            return Ok(());
        }
        Err(self.error(ShareFileDefect::Digest { expected, got }))
    }

    fn check_columns(&self) -> Result<(), ShareFileDefect> {
        for block in self.header.plan.blocks() {
            let padding = block.padding();
            check_padding(self.bytes(padding.start, padding.end), padding.start)?;
        }
        let rows = self.rows();
        check_ids(rows.ids, self.header.spec.ids)?;
        let columns = self.header.spec.layout.agree().iter().zip(&rows.agree);
        columns.into_iter().try_for_each(|(column, slice)| check_agree(&column.name, slice))
    }

    /// The entries of a block. Blocks begin at multiples of 4 KiB in a map that begins at a page,
    /// so any type with an alignment of up to 4 KiB can be read in place.
    fn entries<T: Pod>(&self, block: &Block) -> &[T] {
        let range = block.range();
        bytemuck::cast_slice(self.bytes(range.start, range.end))
    }

    /// Bytes of the map. `check_length` has compared its length with the plan.
    fn bytes(&self, start: u64, end: u64) -> &[u8] {
        &self.map[start as usize..end as usize]
    }

    fn error(&self, defect: ShareFileDefect) -> ShareFileError {
        ShareFileError { path: self.path.clone(), defect }
    }
}

impl std::fmt::Debug for ShareFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShareFile").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Reads and checks the header and the length of a share file of any session and kind.
///
/// # Errors
/// [`ShareFileError`] with the first thing that is wrong.
pub fn inspect(path: impl Into<PathBuf>) -> Result<ShareFileHeader, ShareFileError> {
    let path = path.into();
    match open_header(&path) {
        Ok((_, header)) => Ok(header),
        Err(defect) => Err(ShareFileError { path, defect }),
    }
}

fn open_header(path: &Path) -> Result<(File, ShareFileHeader), ShareFileDefect> {
    let mut file = open_input(path).map_err(|error| match is_not_regular(&error) {
        true => ShareFileDefect::NotRegular,
        false => ShareFileDefect::Read(error),
    })?;
    let got = file.metadata().map_err(ShareFileDefect::Read)?.len();
    let mut bytes = [0; HEADER_BYTES];
    if got < HEADER_BYTES as u64 {
        let there = usize::try_from(got).unwrap_or(HEADER_BYTES);
        file.read_exact(&mut bytes[..there]).map_err(ShareFileDefect::Read)?;
        return Err(too_short(&bytes[..there]));
    }
    file.read_exact(&mut bytes).map_err(ShareFileDefect::Read)?;
    let header = ShareFileHeader::decode(&bytes)?;
    check_length(&header, got)?;
    Ok((file, header))
}

/// Checks that only `user` and root may change or truncate the opened file.
fn check_writers(metadata: &Metadata, user: u32) -> Result<(), ShareFileDefect> {
    match writers_other_than(user, metadata) {
        None => Ok(()),
        Some(OtherWriters::Owner { owner, user }) => Err(ShareFileDefect::Owner { owner, user }),
        Some(OtherWriters::Others { mode }) => Err(ShareFileDefect::Writable { mode }),
    }
}

fn check_length(header: &ShareFileHeader, got: u64) -> Result<(), ShareFileDefect> {
    let expected = header.file_bytes;
    match got.cmp(&expected) {
        std::cmp::Ordering::Less => Err(ShareFileDefect::Truncated { expected, got }),
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(ShareFileDefect::TrailingBytes { expected, got }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    use super::*;

    const ROOT: u32 = 0;

    #[test]
    fn only_a_file_that_no_one_else_may_write_is_mapped() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let metadata = || file.as_file().metadata().expect("its metadata");
        let owner = metadata().uid();
        let chmod = |mode| {
            let permissions = PermissionsExt::from_mode(mode);
            std::fs::set_permissions(file.path(), permissions).expect("chmod");
        };
        for mode in [0o600, 0o400, 0o644, 0o755] {
            chmod(mode);
            assert!(check_writers(&metadata(), owner).is_ok(), "{mode:o}");
        }
        for mode in [0o620, 0o602, 0o666] {
            chmod(mode);
            let refused = check_writers(&metadata(), owner);
            assert!(matches!(refused, Err(ShareFileDefect::Writable { mode: m }) if m == mode));
        }
        chmod(0o600);
        let others = check_writers(&metadata(), owner + 1);
        // A file that root owns is as safe as root.
        assert_eq!(matches!(others, Err(ShareFileDefect::Owner { .. })), owner != ROOT);
    }
}
