//! Share files on the disk.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeKind, RowLayout};
use reshare_format::share_file::{
    Expected, Kind, ShareFile, ShareFileDefect as D, ShareFileWriter, inspect,
};

use crate::common::*;

fn expected(kind: Kind, layout: &Arc<RowLayout>) -> Expected {
    Expected {
        fingerprint: FINGERPRINT,
        kind,
        party: Some(party(1)),
        layout: Some(Arc::clone(layout)),
    }
}

fn round_trip(kind: Kind, layout: &Arc<RowLayout>, ids: &[i64]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.share");
    let batch = rows_of(layout, ids, kind == Kind::Blinded);
    let spec = spec(kind, layout, range(-1000, 1_000_000), ids.len() as u64);
    let digest = write_share_file(&path, &spec, &batch.rows());
    let file = ShareFile::open(&path, &expected(kind, layout)).unwrap();
    file.verify_digest().unwrap();
    assert_same_rows(&file.rows(), &batch.rows());
    let header = inspect(&path).unwrap();
    assert_eq!(&header, file.header());
    assert_eq!((header.spec, header.digest), (spec, digest));
    assert_eq!(header.file_bytes, fs::metadata(&path).unwrap().len());
    assert_eq!(file_names(directory.path()), ["rows.share"]);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn real_size_rows_of_every_kind_are_read_back() {
    let iris = Arc::new(RowLayout::iris());
    let ids: Vec<i64> = (0..70).map(|n| n * 3 - 5).collect();
    for kind in [Kind::Plain, Kind::Blinded, Kind::Rebuilt] {
        round_trip(kind, &iris, &ids);
    }
}

#[test]
fn files_with_no_row_and_with_every_column_there_can_be_are_read_back() {
    let most = layout(&[AgreeKind::Uuid; 16], &[4; 16]);
    for kind in [Kind::Plain, Kind::Blinded] {
        round_trip(kind, &most, &[]);
        round_trip(kind, &most, &[1, 2, 3, 4, 5]);
        round_trip(kind, &layout(&[], &[4]), &[]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_layout_and_any_ids_are_read_back(
        agree in prop::collection::vec(
            prop_oneof![Just(AgreeKind::Integer), Just(AgreeKind::Uuid)], 0..4),
        shares in prop::collection::vec((1_usize..600).prop_map(|n| n * 4), 1..5),
        ids in prop::collection::btree_set(-1000_i64..=1_000_000, 0..40),
        kind in prop_oneof![Just(Kind::Plain), Just(Kind::Blinded), Just(Kind::Rebuilt)],
    ) {
        let ids: Vec<i64> = ids.into_iter().collect();
        round_trip(kind, &layout(&agree, &shares), &ids);
    }
}

#[test]
fn threads_write_disjoint_rows_in_any_order() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.share");
    let layout = small_layout();
    let ids: Vec<i64> = (0..1000).collect();
    let batch = rows_of(&layout, &ids, true);
    let spec = spec(Kind::Blinded, &layout, range(0, 999), 1000);
    let writer = ShareFileWriter::create(&path, spec).unwrap();
    std::thread::scope(|scope| {
        for thread in [3, 0, 2, 1_usize] {
            let (writer, rows) = (&writer, batch.rows());
            scope.spawn(move || {
                for piece in (0..10).rev() {
                    let first = thread * 250 + piece * 25;
                    writer.write_rows(first as u64, &rows.slice(first..first + 25)).unwrap();
                }
            });
        }
    });
    assert!(!path.exists(), "the file must not have its name before it is finished");
    writer.finish().unwrap();
    let file = ShareFile::open(&path, &expected(Kind::Blinded, &layout)).unwrap();
    file.verify_digest().unwrap();
    assert_same_rows(&file.rows(), &batch.rows());
}

#[test]
fn a_writer_refuses_rows_that_are_missing_repeated_or_out_of_place() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.share");
    let layout = small_layout();
    let batch = rows_of(&layout, &[1, 2, 3, 4], false);
    let rows = batch.rows();
    let create =
        || ShareFileWriter::create(&path, spec(Kind::Plain, &layout, range(1, 9), 6)).unwrap();
    let writer = create();
    writer.write_rows(1, &rows).unwrap();
    for first in [0, 1, 2] {
        let twice = writer.write_rows(first, &rows.slice(0..2)).unwrap_err().defect;
        assert!(matches!(twice, D::WrittenTwice { .. }), "{twice:?}");
    }
    let outside = writer.write_rows(5, &rows.slice(0..2)).unwrap_err().defect;
    assert!(matches!(outside, D::RowsOutsideFile { first: 5, end: 7, rows: 6 }), "{outside:?}");
    let missing = writer.finish().unwrap_err().defect;
    assert!(matches!(missing, D::NeverWritten { row: 0 }), "{missing:?}");

    let writer = create();
    writer.write_rows(0, &rows).unwrap();
    let missing = writer.finish().unwrap_err().defect;
    assert!(matches!(missing, D::NeverWritten { row: 4 }), "{missing:?}");

    let writer = create();
    writer.write_rows(0, &rows).unwrap();
    writer.write_rows(4, &rows.slice(2..4)).unwrap();
    let unsorted = writer.finish().unwrap_err().defect;
    assert!(matches!(unsorted, D::UnsortedId { row: 4, id: 3, previous: 4 }), "{unsorted:?}");
    assert_eq!(file_names(directory.path()), [""; 0], "a refused file must leave nothing");
}

#[test]
fn a_writer_refuses_rows_of_other_columns() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.share");
    let layout = small_layout();
    let batch = rows_of(&layout, &[1, 2], true);
    let refused = |kind, change: &dyn Fn(&mut reshare_engine::rows::Rows<'_>)| {
        let writer = ShareFileWriter::create(&path, spec(kind, &layout, range(1, 2), 2)).unwrap();
        let mut rows = batch.rows();
        change(&mut rows);
        writer.write_rows(0, &rows).unwrap_err().defect
    };
    let checks = refused(Kind::Plain, &|_| ());
    assert!(matches!(checks, D::RowsShape { expected: 0, got: 2, .. }), "{checks:?}");
    let short = refused(Kind::Blinded, &|rows| rows.shares[1] = &rows.shares[1][..7]);
    assert!(matches!(short, D::RowsShape { expected: 8, got: 7, .. }), "{short:?}");
    let fewer = refused(Kind::Blinded, &|rows| rows.agree.truncate(1));
    assert!(matches!(fewer, D::RowsShape { .. }), "{fewer:?}");
    let swapped = refused(Kind::Blinded, &|rows| rows.agree.swap(0, 1));
    assert!(matches!(swapped, D::OtherLayout), "{swapped:?}");
    let mark = refused(Kind::Blinded, &|rows| rows.agree[0].nulls = &[1, 0]);
    assert!(matches!(mark, D::ValueUnderNull { row: 0, .. }), "{mark:?}");
    let outside = refused(Kind::Blinded, &|rows| rows.ids = &[2, 3]);
    assert!(matches!(outside, D::IdOutsideRange { row: 1, id: 3, .. }), "{outside:?}");
}

#[test]
fn rows_that_fit_no_file_are_refused_before_anything_is_created() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.share");
    for rows in [u64::MAX, 1 << 62] {
        let spec = spec(Kind::Plain, &small_layout(), reshare_files::ids::IdRange::ALL, rows);
        let defect = ShareFileWriter::create(&path, spec).unwrap_err().defect;
        assert!(matches!(defect, D::TooManyRows { .. }), "{defect:?}");
    }
    let spec = spec(Kind::Plain, &small_layout(), range(1, 3), 4);
    let defect = ShareFileWriter::create(&path, spec).unwrap_err().defect;
    assert!(matches!(defect, D::MoreRowsThanIds { rows: 4, .. }), "{defect:?}");
    assert_eq!(file_names(directory.path()), [""; 0]);
}

/// A file of five blinded rows with two small columns, which tests damage.
struct Victim {
    directory: tempfile::TempDir,
    bytes: Vec<u8>,
    layout: Arc<RowLayout>,
}

impl Victim {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let layout = small_layout();
        let batch = rows_of(&layout, &[10, 11, 12, 13, 14], true);
        let path = directory.path().join("rows.share");
        let spec = spec(Kind::Blinded, &layout, range(10, 19), 5);
        write_share_file(&path, &spec, &batch.rows());
        let bytes = fs::read(&path).unwrap();
        Self { directory, bytes, layout }
    }

    fn open(&self, bytes: &[u8]) -> Result<(), D> {
        let path = self.directory.path().join("damaged.share");
        fs::write(&path, bytes).unwrap();
        self.open_file(&path)
    }

    fn open_file(&self, path: &Path) -> Result<(), D> {
        let open =
            || ShareFile::open(path, &expected(Kind::Blinded, &self.layout))?.verify_digest();
        open().map_err(|error| error.defect)
    }

    /// Changes the bytes and makes the header match them again.
    fn refused(&self, change: impl FnOnce(&mut Vec<u8>)) -> D {
        let mut bytes = self.bytes.clone();
        change(&mut bytes);
        fix_digest(&mut bytes);
        self.open(&bytes).expect_err("must be refused")
    }
}

const IDS: usize = 4096;
const NULLS_0: usize = 2 * 4096;
const NULLS_1: usize = 4 * 4096;
const ROW_CHECKS: usize = 6 * 4096;
const SHARE_1: usize = 8 * 4096;

#[test]
fn columns_that_break_a_rule_are_refused_each_with_its_own_error() {
    let victim = Victim::new();
    let set_id = |row: usize, id: i64| {
        move |bytes: &mut Vec<u8>| {
            bytes[IDS + 8 * row..][..8].copy_from_slice(&id.to_le_bytes());
        }
    };
    let unsorted = victim.refused(set_id(2, 10));
    assert!(matches!(unsorted, D::UnsortedId { row: 2, id: 10, previous: 11 }), "{unsorted:?}");
    let twice = victim.refused(set_id(3, 12));
    assert!(matches!(twice, D::DuplicateId { row: 3, id: 12 }), "{twice:?}");
    let outside = victim.refused(set_id(4, 20));
    assert!(matches!(outside, D::IdOutsideRange { row: 4, id: 20, .. }), "{outside:?}");
    let mark = victim.refused(|bytes| bytes[NULLS_0 + 1] = 2);
    assert!(matches!(mark, D::NullMark { row: 1, got: 2, .. }), "{mark:?}");
    let value = victim.refused(|bytes| bytes[NULLS_1] = 1);
    assert!(matches!(value, D::ValueUnderNull { row: 0, .. }), "{value:?}");
    let padding = victim.refused(|bytes| bytes[ROW_CHECKS - 1] = 1);
    assert!(matches!(padding, D::Padding { offset } if offset == ROW_CHECKS as u64 - 1));
    let padding = victim.refused(|bytes| *bytes.last_mut().unwrap() = 0x80);
    assert!(matches!(padding, D::Padding { .. }), "{padding:?}");
}

#[test]
fn files_cut_short_or_extended_are_refused() {
    let victim = Victim::new();
    let whole = victim.bytes.len();
    for len in [0, 1, 4095, 4096, 8192, SHARE_1, whole - 4096, whole - 1] {
        let defect = victim.open(&victim.bytes[..len]).expect_err("must be refused");
        let D::Truncated { expected, got } = defect else { panic!("{len}: {defect:?}") };
        assert_eq!((expected, got), (if len < 4096 { 4096 } else { whole as u64 }, len as u64));
    }
    for extra in [1, 4096] {
        let mut bytes = victim.bytes.clone();
        bytes.resize(whole + extra, 0);
        let defect = victim.open(&bytes).expect_err("must be refused");
        assert!(matches!(defect, D::TrailingBytes { .. }), "{defect:?}");
    }
}

#[test]
fn a_bit_flipped_in_any_byte_of_a_share_file_is_refused() {
    let victim = Victim::new();
    let path = victim.directory.path().join("rows.share");
    for position in 0..victim.bytes.len() {
        flip(&path, position);
        assert!(victim.open_file(&path).is_err(), "byte {position}");
        flip(&path, position);
    }
    victim.open_file(&path).unwrap();
}

#[test]
fn a_changed_share_is_found_by_its_digest_alone() {
    let victim = Victim::new();
    let mut bytes = victim.bytes.clone();
    bytes[SHARE_1 + 3] ^= 1;
    assert!(matches!(victim.open(&bytes), Err(D::Digest { .. })));
}

#[test]
fn a_header_with_lying_row_counts_is_refused_whatever_its_checksum_says() {
    let victim = Victim::new();
    for rows in [0_u64, 4, 6, 11, 1 << 40, 1 << 60, u64::MAX] {
        let defect = victim.refused(|bytes| {
            bytes[88..96].copy_from_slice(&rows.to_le_bytes());
        });
        let is_refused = matches!(
            defect,
            D::Position { .. } | D::MoreRowsThanIds { .. } | D::TooManyRows { .. }
        );
        assert!(is_refused, "{rows}: {defect:?}");
    }
    let no_file = victim.open(b"PK\x03\x04, or any other file").unwrap_err();
    assert!(matches!(no_file, D::Magic { .. }), "{no_file:?}");
    let begun = victim.open(b"reshare\0\x01").unwrap_err();
    assert!(matches!(begun, D::Truncated { expected: 4096, got: 9 }), "{begun:?}");
    let no_file = victim.open(&[b'#'; 5000]).unwrap_err();
    assert!(matches!(no_file, D::Magic { .. }), "{no_file:?}");
}

#[test]
fn a_file_of_another_session_party_kind_or_layout_is_refused() {
    let victim = Victim::new();
    let path = victim.directory.path().join("rows.share");
    let refused = |change: &dyn Fn(&mut Expected)| {
        let mut expected = expected(Kind::Blinded, &victim.layout);
        change(&mut expected);
        ShareFile::open(&path, &expected).unwrap_err().defect
    };
    let session = refused(&|expected| expected.fingerprint = Fingerprint([8; 32]));
    assert!(matches!(session, D::OtherSession { .. }), "{session:?}");
    let kind = refused(&|expected| expected.kind = Kind::Plain);
    assert!(matches!(kind, D::OtherKind { got: Kind::Blinded, .. }), "{kind:?}");
    let party = refused(&|expected| expected.party = Some(crate::common::party(0)));
    assert!(matches!(party, D::OtherParty { .. }), "{party:?}");
    let layout = refused(&|expected| expected.layout = Some(Arc::new(RowLayout::iris())));
    assert!(matches!(layout, D::OtherLayout), "{layout:?}");
    let any = Expected { party: None, layout: None, ..expected(Kind::Blinded, &victim.layout) };
    ShareFile::open(&path, &any).unwrap();
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting() {
    let directory = tempfile::tempdir().unwrap();
    let fifo = directory.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for path in [directory.path(), &fifo, Path::new("/dev/zero")] {
        let defect = inspect(path).unwrap_err().defect;
        assert!(matches!(defect, D::NotRegular), "{path:?}: {defect:?}");
    }
    let missing = inspect(directory.path().join("missing")).unwrap_err();
    assert!(matches!(missing.defect, D::Read(_)));
    assert!(missing.to_string().contains("missing"));
}
