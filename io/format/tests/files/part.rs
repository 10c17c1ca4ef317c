//! One part: sealing, opening, and everything that a hostile sender can put into it.

use std::fs;
use std::io::Write;
use std::iter;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::RowLayout;
use reshare_engine::row_batch::RowBatch;
use reshare_format::keys::{Identity, Recipient, SealKind};
use reshare_format::package::{
    Compression, PackageExpectations, PartDefect as P, PartEntry, PartName, Timestamp, open_part,
    open_part_prefix, rows_per_part_at_most, seal_part, seal_part_to, sealed_bytes_at_most,
};
use reshare_format::share_file::block_plan::BlockPlan;
use reshare_format::share_file::{Kind, ShareFileDefect as D, ShareFileSpec};

use crate::allocations::largest_during;
use crate::common::*;

/// Ids of the small part that most tests use.
pub(crate) const IDS: [i64; 5] = [10, 11, 12, 13, 14];

pub(crate) struct Bench {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) identity: Identity,
    pub(crate) session: PackageExpectations,
}

impl Bench {
    pub(crate) fn new(layout: &Arc<RowLayout>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, identity: Identity::generate(SealKind::Hybrid), session: session(layout) }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("part-000000.age")
    }

    pub(crate) fn spec(&self, rows: u64) -> ShareFileSpec {
        spec(Kind::Blinded, &self.session.layout, range(10, 19 + rows as i64), rows)
    }

    /// Writes bytes as the part with a matching manifest entry, as a hostile sender would.
    pub(crate) fn listed(&self, bytes: &[u8], rows: u64) -> PartEntry {
        fs::write(self.path(), bytes).unwrap();
        PartEntry {
            name: PartName::new(0),
            ids: self.spec(rows).ids,
            rows,
            sealed_bytes: bytes.len() as u64,
            sealed_digest: blake3::hash(bytes),
            content_digest: blake3::hash(b"tags"),
            exported_at: Timestamp::now(),
        }
    }

    pub(crate) fn open(&self, entry: &PartEntry) -> Result<RowBatch, P> {
        let mut batch = RowBatch::with_capacity(Arc::clone(&self.session.layout), 600);
        match open_part(&self.path(), entry, &self.identity, &self.session, &mut batch) {
            Ok(()) => Ok(batch),
            Err(error) => {
                assert!(batch.is_empty(), "a refused part must leave no rows");
                Err(*error.defect)
            }
        }
    }

    /// The plain stream of the small part, as a share file with no digest.
    pub(crate) fn plain(&self) -> Vec<u8> {
        let path = self.directory.path().join("plain.share");
        let batch = rows_of(&self.session.layout, &IDS, true);
        write_share_file(&path, &self.spec(5), &batch.rows());
        let mut bytes = fs::read(&path).unwrap();
        bytes[160..192].fill(0);
        fix_checksum(&mut bytes);
        bytes
    }

    /// Changes the plain stream, makes its checksum valid and seals it with the stock libraries.
    fn refused(&self, change: impl FnOnce(&mut Vec<u8>)) -> P {
        let mut plain = self.plain();
        change(&mut plain);
        if plain.len() >= 4096 {
            fix_checksum(&mut plain);
        }
        let compressed = zstd::bulk::compress(&plain, 1).unwrap();
        let sealed = seal_bytes(&compressed, &self.identity.to_public());
        self.open(&self.listed(&sealed, 5)).expect_err("must be refused")
    }

    fn refused_content(&self, change: impl FnOnce(&mut Vec<u8>)) -> D {
        match self.refused(change) {
            P::Content(defect) => defect,
            other => panic!("{other:?}"),
        }
    }
}

fn seal_bytes(bytes: &[u8], recipient: &Recipient) -> Vec<u8> {
    let recipient = recipient as &dyn age::Recipient;
    let encryptor = age::Encryptor::with_recipients(iter::once(recipient)).unwrap();
    let mut out = encryptor.wrap_output(Vec::new()).unwrap();
    out.write_all(bytes).unwrap();
    out.finish().unwrap()
}

#[test]
fn a_part_of_512_iris_rows_is_opened_as_it_was_sealed() {
    let iris = Arc::new(RowLayout::iris());
    let bench = Bench::new(&iris);
    let ids: Vec<i64> = (0..512).map(|n| 10 + n).collect();
    let batch = rows_of(&iris, &ids, true);
    let recipient = bench.identity.to_public();
    let max = bench.session.max_part_bytes;
    let part = seal_part(bench.directory.path(), &bench.spec(512), &batch.rows(), &recipient, max)
        .unwrap();
    let bytes = fs::read(bench.path()).unwrap();
    assert_eq!(part.sealed_bytes, bytes.len() as u64);
    assert_eq!(part.sealed_digest, blake3::hash(&bytes));
    assert!(part.sealed_bytes <= sealed_bytes_at_most(&iris, 512).unwrap());
    let overhead = part.sealed_bytes - 512 * 76_800;
    assert!(overhead < 40_000, "{overhead} bytes of overhead");
    let opened = bench.open(&bench.listed(&bytes, 512)).unwrap();
    assert_same_rows(&opened.rows(), &batch.rows());
}

#[test]
fn a_part_of_the_most_rows_for_a_size_has_at_most_that_size() {
    let layout = small_layout();
    let bench = Bench::new(&layout);
    let max = 200_000;
    let rows = rows_per_part_at_most(&layout, max);
    let ids: Vec<i64> = (0..rows as i64).map(|n| 10 + n).collect();
    let batch = rows_of(&layout, &ids, true);
    let recipient = bench.identity.to_public();
    let directory = bench.directory.path();
    let seal = |max| seal_part(directory, &bench.spec(rows), &batch.rows(), &recipient, max);
    let part = seal(max).unwrap();
    assert!(part.sealed_bytes <= max);
    fs::remove_file(bench.path()).unwrap();
    let defect = *seal(part.sealed_bytes - 4000).unwrap_err().defect;
    assert!(matches!(defect, P::TooLarge { .. }), "{defect:?}");
    assert_eq!(file_names(directory), [""; 0], "a part that is too large must leave nothing");
}

#[test]
fn the_beginning_of_a_part_is_read_without_its_shares() {
    let bench = Bench::new(&small_layout());
    let batch = rows_of(&bench.session.layout, &IDS, true);
    let recipient = bench.identity.to_public();
    let sealed =
        seal_part_to(Vec::new(), &bench.spec(5), &batch.rows(), &recipient, Compression::Auto);
    let (bytes, _) = sealed.unwrap();
    let entry = bench.listed(&bytes, 5);
    let prefix = open_part_prefix(&bench.path(), &entry, &bench.identity, &bench.session).unwrap();
    let rows = batch.rows();
    assert_eq!(prefix.ids, rows.ids);
    assert_eq!(prefix.row_checks, rows.row_checks);
    for row in 0..5 {
        let expected: Vec<_> = rows.agree_values(row).collect();
        assert_eq!(prefix.agree_values(row).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn however_a_part_is_compressed_the_same_rows_are_opened_and_off_is_not_smaller() {
    let iris = Arc::new(RowLayout::iris());
    let bench = Bench::new(&iris);
    let ids: Vec<i64> = (0..300).map(|n| 10 + n).collect();
    let batch = rows_of(&iris, &ids, true);
    let (spec, recipient) = (bench.spec(300), bench.identity.to_public());
    let sizes = [Compression::Off, Compression::Auto, Compression::Level(19)].map(|compression| {
        let sealed = seal_part_to(Vec::new(), &spec, &batch.rows(), &recipient, compression);
        let (bytes, part) = sealed.unwrap();
        assert!(part.sealed_bytes <= sealed_bytes_at_most(&iris, 300).unwrap(), "{compression:?}");
        let opened = bench.open(&bench.listed(&bytes, 300)).unwrap();
        assert_same_rows(&opened.rows(), &batch.rows());
        bytes.len()
    });
    assert!(sizes[1] + 4096 < sizes[0], "{sizes:?}: the header and the ids must shrink");
}

#[test]
fn the_stock_zstd_command_turns_an_unsealed_part_into_a_share_file() {
    let bench = Bench::new(&small_layout());
    let batch = rows_of(&bench.session.layout, &IDS, true);
    let recipient = bench.identity.to_public();
    let (sealed, _) =
        seal_part_to(Vec::new(), &bench.spec(5), &batch.rows(), &recipient, Compression::Auto)
            .unwrap();
    let compressed = age::decrypt(&bench.identity, &sealed).unwrap();
    let mut child = Command::new("zstd")
        .args(["-d", "-c", "-q"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the zstd command is needed: run `make setup`");
    let mut stdin = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || stdin.write_all(&compressed));
    let out = child.wait_with_output().unwrap();
    feeder.join().unwrap().unwrap();
    assert!(out.status.success());
    assert!(out.stdout == bench.plain());
}

#[test]
fn a_full_disk_is_not_taken_for_refused_rows() {
    let layout = layout(&[], &[1 << 20]);
    let bench = Bench::new(&layout);
    let batch = rows_of(&layout, &[10], true);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let recipient = bench.identity.to_public();
    let defect = seal_part_to(full, &bench.spec(1), &batch.rows(), &recipient, Compression::Auto)
        .unwrap_err();
    assert!(matches!(defect, P::Write(_)), "{defect:?}");
}

#[test]
fn only_blinded_rows_are_sealed() {
    let bench = Bench::new(&small_layout());
    let recipient = bench.identity.to_public();
    for kind in [Kind::Plain, Kind::Rebuilt] {
        let batch = rows_of(&bench.session.layout, &IDS, false);
        let spec = ShareFileSpec { kind, ..bench.spec(5) };
        let defect = seal_part_to(Vec::new(), &spec, &batch.rows(), &recipient, Compression::Auto)
            .unwrap_err();
        assert!(matches!(defect, P::Content(D::OtherKind { .. })), "{defect:?}");
    }
}

#[test]
fn a_stream_by_another_program_is_opened_if_its_content_is_right() {
    let bench = Bench::new(&small_layout());
    let compressed = zstd::bulk::compress(&bench.plain(), 19).unwrap();
    let sealed = seal_bytes(&compressed, &bench.identity.to_public());
    let opened = bench.open(&bench.listed(&sealed, 5)).unwrap();
    let expected = rows_of(&bench.session.layout, &IDS, true);
    assert_same_rows(&opened.rows(), &expected.rows());
}

#[test]
fn a_changed_truncated_or_extended_part_is_refused_by_size_or_digest() {
    let bench = Bench::new(&small_layout());
    let batch = rows_of(&bench.session.layout, &IDS, true);
    let recipient = bench.identity.to_public();
    let (bytes, _) =
        seal_part_to(Vec::new(), &bench.spec(5), &batch.rows(), &recipient, Compression::Auto)
            .unwrap();
    let entry = bench.listed(&bytes, 5);
    bench.open(&entry).unwrap();
    for position in 0..bytes.len() {
        flip(&bench.path(), position);
        let defect = bench.open(&entry).expect_err("must be refused");
        assert!(matches!(defect, P::SealedDigest { .. }), "byte {position}: {defect:?}");
        flip(&bench.path(), position);
    }
    bench.open(&entry).unwrap();
    for len in [0, 1, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(bench.path(), &bytes[..len]).unwrap();
        let defect = bench.open(&entry).unwrap_err();
        assert!(matches!(defect, P::SealedSize { .. }), "{len}: {defect:?}");
    }
    fs::write(bench.path(), [&bytes[..], &[0]].concat()).unwrap();
    assert!(matches!(bench.open(&entry), Err(P::SealedSize { .. })));
}

#[test]
fn a_bit_flipped_under_a_fitting_digest_is_refused_by_the_seal() {
    let bench = Bench::new(&small_layout());
    let batch = rows_of(&bench.session.layout, &IDS, true);
    let recipient = bench.identity.to_public();
    let (bytes, _) =
        seal_part_to(Vec::new(), &bench.spec(5), &batch.rows(), &recipient, Compression::Auto)
            .unwrap();
    for position in (0..bytes.len()).step_by(7).chain(bytes.len() - 20..bytes.len()) {
        let mut changed = bytes.clone();
        changed[position] ^= 1 << (position % 8);
        assert!(bench.open(&bench.listed(&changed, 5)).is_err(), "byte {position}");
    }
    for len in [bytes.len() - 1, bytes.len() - 17, bytes.len() / 2] {
        assert!(bench.open(&bench.listed(&bytes[..len], 5)).is_err(), "{len} bytes");
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(bench.open(&bench.listed(&longer, 5)).is_err());
}

#[test]
fn what_is_no_seal_for_this_identity_is_refused() {
    let bench = Bench::new(&small_layout());
    let plain = zstd::bulk::compress(&bench.plain(), 1).unwrap();
    let other = seal_bytes(&plain, &Identity::generate(SealKind::Hybrid).to_public());
    let defect = bench.open(&bench.listed(&other, 5)).unwrap_err();
    assert!(matches!(defect, P::OtherRecipient), "{defect:?}");
    let defect = bench.open(&bench.listed(&plain, 5)).unwrap_err();
    assert!(matches!(defect, P::SealHeader { .. }), "{defect:?}");
    let mut endless = b"age-encryption.org/v1\n".to_vec();
    endless.extend(b"-> X25519 AAAA\nAAAA\n".repeat(5000));
    let defect = bench.open(&bench.listed(&endless, 5)).unwrap_err();
    assert!(matches!(defect, P::SealHeader { .. }), "{defect:?}");
    let defect = bench.open(&bench.listed(b"age-encryption.org/v1\n--- AAAA\n", 0)).unwrap_err();
    assert!(matches!(defect, P::Unseal(_)), "{defect:?}");
}

#[test]
fn a_sealed_stream_with_a_defect_is_refused_each_with_its_own_error() {
    let bench = Bench::new(&small_layout());
    let session = bench.refused_content(|plain| plain[40] ^= 1);
    assert!(matches!(session, D::OtherSession { .. }), "{session:?}");
    let party = bench.refused_content(|plain| plain[28] = 2);
    assert!(matches!(party, D::OtherParty { .. }), "{party:?}");
    let part = bench.refused_content(|plain| plain[64] = 9);
    assert!(matches!(part, D::OtherPart { expected: 0, got: 9 }), "{part:?}");
    let ids = bench.refused_content(|plain| plain[72] = 9);
    assert!(matches!(ids, D::OtherIds { .. }), "{ids:?}");
    let digest = bench.refused_content(|plain| plain[191] = 9);
    assert!(matches!(digest, D::DigestInPart), "{digest:?}");
    let version = bench.refused_content(|plain| plain[8] = 2);
    assert!(matches!(version, D::Version { got: 2, .. }), "{version:?}");
    let features = bench.refused_content(|plain| plain[16] = 1);
    assert!(matches!(features, D::UnknownFeatures { bits: 1 }), "{features:?}");
    let twice = bench.refused_content(|plain| plain.copy_within(4096..4104, 4104));
    assert!(matches!(twice, D::DuplicateId { row: 1, id: 10 }), "{twice:?}");
    let mark = bench.refused_content(|plain| plain[2 * 4096] = 255);
    assert!(matches!(mark, D::NullMark { got: 255, .. }), "{mark:?}");
    let value = bench.refused_content(|plain| plain[4 * 4096] = 1);
    assert!(matches!(value, D::ValueUnderNull { .. }), "{value:?}");
    let padding = bench.refused_content(|plain| *plain.last_mut().unwrap() = 1);
    assert!(matches!(padding, D::Padding { .. }), "{padding:?}");
    for len in [0, 100, 4096, 5000, 30_000, 36_863] {
        let cut = bench.refused_content(|plain| plain.truncate(len));
        assert!(matches!(cut, D::Truncated { got, .. } if got == len as u64), "{len}: {cut:?}");
    }
    let longer = bench.refused_content(|plain| plain.push(0));
    assert!(matches!(longer, D::TrailingBytes { .. }), "{longer:?}");
}

#[test]
fn a_part_of_another_kind_or_layout_is_refused() {
    let bench = Bench::new(&small_layout());
    let foreign = Bench::new(&layout(&[], &[4]));
    let compressed = zstd::bulk::compress(&foreign.plain(), 1).unwrap();
    let sealed = seal_bytes(&compressed, &bench.identity.to_public());
    let defect = bench.open(&bench.listed(&sealed, 5)).unwrap_err();
    assert!(matches!(defect, P::Content(D::OtherLayout)), "{defect:?}");

    let path = bench.directory.path().join("rows.share");
    let batch = rows_of(&bench.session.layout, &IDS, false);
    let spec = ShareFileSpec { kind: Kind::Plain, ..bench.spec(5) };
    write_share_file(&path, &spec, &batch.rows());
    let compressed = zstd::bulk::compress(&fs::read(&path).unwrap(), 1).unwrap();
    let sealed = seal_bytes(&compressed, &bench.identity.to_public());
    let defect = bench.open(&bench.listed(&sealed, 5)).unwrap_err();
    assert!(matches!(defect, P::Content(D::OtherKind { .. })), "{defect:?}");
    let other =
        PackageExpectations { fingerprint: Fingerprint([9; 32]), ..session(&small_layout()) };
    let bench = Bench { session: other, ..bench };
    let defect = bench.open(&bench.listed(&sealed, 5)).unwrap_err();
    assert!(matches!(defect, P::Content(D::OtherSession { .. })), "{defect:?}");
}

#[test]
fn a_decompression_bomb_yields_one_byte_more_than_the_header_says_and_no_further() {
    let bench = Bench::new(&small_layout());
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(17).unwrap();
    encoder.write_all(&bench.plain()).unwrap();
    for _ in 0..1024 {
        encoder.write_all(&[0; 1 << 20]).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    assert!(bomb.len() < 1 << 20, "{} bytes for a GiB", bomb.len());
    let sealed = seal_bytes(&bomb, &bench.identity.to_public());
    let defect = bench.open(&bench.listed(&sealed, 5)).unwrap_err();
    let P::Content(D::TrailingBytes { expected, got }) = defect else { panic!("{defect:?}") };
    assert_eq!((expected, got), (bench.plain().len() as u64, expected + 1));
}

#[test]
fn a_frame_that_wants_a_large_window_is_refused() {
    let bench = Bench::new(&small_layout());
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.window_log(27).unwrap();
    encoder.write_all(&bench.plain()).unwrap();
    let frame = encoder.finish().unwrap();
    let sealed = seal_bytes(&frame, &bench.identity.to_public());
    let defect = bench.open(&bench.listed(&sealed, 5)).unwrap_err();
    let P::Content(D::Read(error)) = defect else { panic!("{defect:?}") };
    assert!(error.to_string().contains("memory"), "{error}");
}

#[test]
fn more_rows_than_the_file_has_room_for_or_the_batch_are_refused() {
    let bench = Bench::new(&small_layout());
    let compressed = zstd::bulk::compress(&bench.plain(), 1).unwrap();
    let sealed = seal_bytes(&compressed, &bench.identity.to_public());
    for rows in [1 << 20, 1 << 40, u64::MAX] {
        let mut entry = bench.listed(&sealed, 5);
        entry.rows = rows;
        entry.ids = reshare_files::ids::IdRange::ALL;
        let defect = bench.open(&entry).unwrap_err();
        assert!(matches!(defect, P::MoreRowsThanBytes { .. }), "{rows}: {defect:?}");
        let prefix = open_part_prefix(&bench.path(), &entry, &bench.identity, &bench.session);
        let defect = *prefix.unwrap_err().defect;
        assert!(matches!(defect, P::MoreRowsThanBytes { .. }), "{rows}: {defect:?}");
    }
    let entry = bench.listed(&sealed, 5);
    let mut batch = RowBatch::with_capacity(small_layout(), 4);
    let opened = open_part(&bench.path(), &entry, &bench.identity, &bench.session, &mut batch);
    let defect = *opened.unwrap_err().defect;
    let small = matches!(defect, P::Content(D::BatchTooSmall { rows: 5, capacity: 4 }));
    assert!(small, "{defect:?}");
}

#[test]
fn hostile_parts_make_no_allocation_that_their_size_does_not_justify() {
    let bench = Bench::new(&small_layout());
    let mut batch = RowBatch::with_capacity(small_layout(), 4);
    let mut check = |plain: &[u8], rows: u64| {
        let compressed = zstd::bulk::compress(plain, 1).unwrap();
        let sealed = seal_bytes(&compressed, &bench.identity.to_public());
        let mut entry = bench.listed(&sealed, 5);
        entry.rows = rows;
        entry.ids = reshare_files::ids::IdRange::ALL;
        let (path, identity, session) = (bench.path(), &bench.identity, &bench.session);
        let largest = largest_during(|| {
            open_part_prefix(&path, &entry, identity, session).unwrap_err();
            open_part(&path, &entry, identity, session, &mut batch).unwrap_err();
        });
        // The buffers for reading and decompressing have fixed sizes below this.
        assert!((1..=1 << 19).contains(&largest), "{rows} rows: {largest} bytes");
    };
    for rows in [6, 1 << 16, 1 << 32, 1 << 50, u64::MAX] {
        let plain = lying_header(bench.plain(), rows);
        for listed in [5, rows] {
            check(&plain, listed);
        }
    }
}

/// Makes the header claim this many rows of the small layout. All else is valid, if any file can
/// have that many.
fn lying_header(mut plain: Vec<u8>, rows: u64) -> Vec<u8> {
    let mut put = |offset: usize, value: u64| {
        plain[offset..offset + 8].copy_from_slice(&value.to_le_bytes());
    };
    put(72, i64::MIN as u64);
    put(80, i64::MAX as u64);
    put(88, rows);
    if let Some(plan) = BlockPlan::new(Kind::Blinded, &small_layout(), rows) {
        put(96, plan.file_bytes);
        put(120, plan.row_checks.expect("blinded").offset);
        let places = (256..).step_by(96);
        let nulls = plan.agree.iter().map(|blocks| (blocks.values, blocks.nulls.offset));
        let shares = plan.shares.iter().map(|block| (*block, 0));
        for (place, (block, nulls_offset)) in places.zip(nulls.chain(shares)) {
            put(place + 72, block.offset);
            put(place + 80, block.bytes);
            put(place + 88, nulls_offset);
        }
    }
    fix_checksum(&mut plain);
    plain
}

/// A frame without content, and one that decoders skip: RFC 8878, sections 3.1.1, 3.1.2.
fn empty_frame() -> Vec<u8> {
    zstd::bulk::compress(&[], 1).unwrap()
}

fn skippable_frame(claimed_bytes: u32, content: &[u8]) -> Vec<u8> {
    let head = [0x184D_2A50_u32.to_le_bytes(), claimed_bytes.to_le_bytes()];
    [head.as_flattened(), content].concat()
}

#[test]
fn frames_that_hold_nothing_cost_nothing_but_their_own_bytes() {
    let bench = Bench::new(&small_layout());
    let rows = zstd::bulk::compress(&bench.plain(), 1).unwrap();
    let nothing = [empty_frame().repeat(100_000), skippable_frame(1 << 20, &[7; 1 << 20])].concat();
    let mut opened = None;
    for stream in [[&nothing[..], &rows].concat(), [&rows[..], &nothing].concat()] {
        let entry = bench.listed(&seal_bytes(&stream, &bench.identity.to_public()), 5);
        let largest = largest_during(|| opened = Some(bench.open(&entry)));
        let batch = opened.take().unwrap().unwrap();
        assert_same_rows(&batch.rows(), &rows_of(&bench.session.layout, &IDS, true).rows());
        assert!((1..=1 << 19).contains(&largest), "{largest} bytes");
    }
}

#[test]
fn a_frame_that_claims_more_than_there_is_is_refused() {
    let bench = Bench::new(&small_layout());
    let rows = zstd::bulk::compress(&bench.plain(), 1).unwrap();
    // One segment of 1 TiB, whose window would be as large.
    let segment = [&[0x28, 0xB5, 0x2F, 0xFD, 0b1110_0000][..], &(1_u64 << 40).to_le_bytes()];
    let endless = skippable_frame(u32::MAX, b"and no more");
    for stream in [
        [&endless[..], &rows].concat(),
        [&rows[..], &endless].concat(),
        [&segment.concat()[..], &[0; 100]].concat(),
        [&rows[..], &segment.concat()].concat(),
    ] {
        let entry = bench.listed(&seal_bytes(&stream, &bench.identity.to_public()), 5);
        let mut refused = None;
        let largest = largest_during(|| refused = bench.open(&entry).err());
        let defect = refused.expect("must be refused");
        assert!(matches!(defect, P::Content(D::Read(_) | D::Truncated { .. })), "{defect:?}");
        assert!((1..=1 << 19).contains(&largest), "{largest} bytes");
    }
}

#[test]
fn a_seal_for_a_dozen_is_refused_by_the_length_of_its_header() {
    let bench = Bench::new(&small_layout());
    let mine = bench.identity.to_public();
    let recipients: Vec<_> =
        iter::repeat_n(&mine, 12).map(|one| one as &dyn age::Recipient).collect();
    let encryptor = age::Encryptor::with_recipients(recipients.into_iter()).unwrap();
    let mut out = encryptor.wrap_output(Vec::new()).unwrap();
    out.write_all(&zstd::bulk::compress(&bench.plain(), 1).unwrap()).unwrap();
    let sealed = out.finish().unwrap();
    let defect = bench.open(&bench.listed(&sealed, 5)).unwrap_err();
    assert!(matches!(defect, P::SealHeader { .. }), "{defect:?}");
}
