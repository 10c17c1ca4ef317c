//! Rows, sessions and files that tests damage.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::{AgreeValuesMut, RowBatch, RowsMut};
use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;
use reshare_format::package::PackageExpectations;
use reshare_format::share_file::{Kind, ShareFileSpec, ShareFileWriter};

pub(crate) const FINGERPRINT: Fingerprint = Fingerprint([7; 32]);

pub(crate) fn party(index: u8) -> PartyId {
    PartyId::new(index).unwrap()
}

pub(crate) fn range(first: i64, last: i64) -> IdRange {
    IdRange::new(first, last).unwrap()
}

/// Columns of both kinds, by their lengths and kinds of values.
pub(crate) fn layout(agree: &[AgreeKind], shares: &[usize]) -> Arc<RowLayout> {
    let agree = agree.iter().enumerate();
    let agree = agree.map(|(n, &kind)| AgreeColumn { name: format!("agree_{n}"), kind });
    let shares = shares.iter().enumerate();
    let shares = shares.map(|(n, &len)| ShareColumn { name: format!("share_{n}"), len });
    Arc::new(RowLayout::new(agree.collect(), shares.collect()).unwrap())
}

pub(crate) fn small_layout() -> Arc<RowLayout> {
    layout(&[AgreeKind::Integer, AgreeKind::Uuid], &[8, 4])
}

/// Rows with pseudo-random content that depends on their ids, and some NULLs.
pub(crate) fn rows_of(layout: &Arc<RowLayout>, ids: &[i64], with_row_checks: bool) -> RowBatch {
    let mut batch = RowBatch::with_capacity(Arc::clone(layout), ids.len());
    let RowsMut { ids: id_column, agree, row_checks, shares, .. } =
        batch.reset(ids.len(), with_row_checks).unwrap();
    id_column.copy_from_slice(ids);
    let mut noise = blake3::Hasher::new().update(bytemuck::cast_slice(ids)).finalize_xof();
    for column in agree {
        for (row, null) in column.nulls.iter_mut().enumerate() {
            *null = u8::from(row % 3 == 1);
        }
        match column.values {
            AgreeValuesMut::Integer(values) => {
                noise.fill(bytemuck::cast_slice_mut(values));
                values.iter_mut().skip(1).step_by(3).for_each(|value| *value = 0);
            }
            AgreeValuesMut::Uuid(values) => {
                noise.fill(values.as_flattened_mut());
                values.iter_mut().skip(1).step_by(3).for_each(|value| *value = [0; 16]);
            }
        }
    }
    noise.fill(row_checks.as_flattened_mut());
    for column in shares {
        noise.fill(bytemuck::cast_slice_mut(column));
    }
    batch
}

pub(crate) fn spec(kind: Kind, layout: &Arc<RowLayout>, ids: IdRange, rows: u64) -> ShareFileSpec {
    ShareFileSpec {
        kind,
        fingerprint: FINGERPRINT,
        party: party(1),
        part_index: 0,
        ids,
        rows,
        layout: Arc::clone(layout),
    }
}

pub(crate) fn session(layout: &Arc<RowLayout>) -> PackageExpectations {
    PackageExpectations {
        session_id: "test-session".to_owned(),
        fingerprint: FINGERPRINT,
        sender: party(1),
        receiver: party(2),
        layout: Arc::clone(layout),
        ids: range(-1000, 1_000_000),
        max_part_bytes: 64 << 20,
        trust: None,
    }
}

/// Writes a whole share file.
pub(crate) fn write_share_file(path: &Path, spec: &ShareFileSpec, rows: &Rows<'_>) -> blake3::Hash {
    let writer = ShareFileWriter::create(path, spec.clone()).unwrap();
    writer.write_rows(0, rows).unwrap();
    writer.finish().unwrap()
}

/// Makes the checksum of a changed header valid: docs/format.md, "Header".
pub(crate) fn fix_checksum(file: &mut [u8]) {
    file[192..224].fill(0);
    let checksum = blake3::hash(&file[..4096]);
    file[192..224].copy_from_slice(checksum.as_bytes());
}

/// Makes digest and checksum of a changed file valid.
pub(crate) fn fix_digest(file: &mut [u8]) {
    let digest = blake3::hash(&file[4096..]);
    file[160..192].copy_from_slice(digest.as_bytes());
    fix_checksum(file);
}

/// Flips one bit of a byte in place; the position decides which bit. A second call undoes it.
///
/// Rewriting the whole file would make some file systems flush it every time.
pub(crate) fn flip(path: &Path, position: usize) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, position as u64).unwrap();
    byte[0] ^= 1 << (position % 8);
    file.write_all_at(&byte, position as u64).unwrap();
}

pub(crate) fn assert_same_rows(got: &Rows<'_>, expected: &Rows<'_>) {
    assert_eq!(got.layout, expected.layout);
    assert_eq!(got.ids, expected.ids);
    assert_eq!(got.agree, expected.agree);
    assert_eq!(got.row_checks, expected.row_checks);
    assert!(got.shares == expected.shares, "the shares differ");
}

pub(crate) fn file_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
