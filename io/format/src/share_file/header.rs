//! The header: 4 KiB of plain old data, defined byte by byte in `docs/format.md`.

use std::mem::offset_of;
use std::sync::Arc;

use bytemuck::{Pod, Zeroable};
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;

use super::block_plan::{AgreeBlocks, Block, BlockPlan};
use super::{Expected, Kind, ShareFileDefect, ShareFileSpec};
use crate::session::SessionMismatch;

/// Bytes of the header.
pub const HEADER_BYTES: usize = 4096;

const MAGIC: [u8; 8] = *b"reshare\0";
const FORMAT_VERSION: u32 = 1;
const KNOWN_FEATURES: u64 = 0;
const PRODUCER: &str = concat!("reshare ", env!("CARGO_PKG_VERSION"));
const COLUMN_PLACES: usize = 2 * RowLayout::MAX_COLUMNS;

const SORT_AGREE: u8 = 1;
const SORT_SHARE: u8 = 2;
const KIND_INTEGER: u8 = 1;
const KIND_UUID: u8 = 2;
const KIND_U16: u8 = 1;

/// The header as stored in the file, little-endian.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub(super) struct RawHeader {
    magic: [u8; 8],
    format_version: u32,
    header_bytes: u32,
    required_features: u64,
    kind: u32,
    party: u32,
    fingerprint: [u8; 32],
    part_index: u64,
    first_id: i64,
    last_id: i64,
    rows: u64,
    file_bytes: u64,
    agree_columns: u32,
    share_columns: u32,
    ids_offset: u64,
    row_checks_offset: u64,
    producer: [u8; 32],
    pub(super) digest: [u8; 32],
    checksum: [u8; 32],
    reserved: [u8; 32],
    columns: [RawColumn; COLUMN_PLACES],
    reserved_end: [u8; 768],
}

/// One entry of the column table.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RawColumn {
    name: [u8; 64],
    sort: u8,
    kind: u8,
    reserved: [u8; 2],
    len_u16: u32,
    offset: u64,
    bytes: u64,
    nulls_offset: u64,
}

const _: () = {
    assert!(size_of::<RawHeader>() == HEADER_BYTES);
    assert!(offset_of!(RawHeader, magic) == 0);
    assert!(offset_of!(RawHeader, format_version) == 8);
    assert!(offset_of!(RawHeader, header_bytes) == 12);
    assert!(offset_of!(RawHeader, required_features) == 16);
    assert!(offset_of!(RawHeader, kind) == 24);
    assert!(offset_of!(RawHeader, party) == 28);
    assert!(offset_of!(RawHeader, fingerprint) == 32);
    assert!(offset_of!(RawHeader, part_index) == 64);
    assert!(offset_of!(RawHeader, first_id) == 72);
    assert!(offset_of!(RawHeader, last_id) == 80);
    assert!(offset_of!(RawHeader, rows) == 88);
    assert!(offset_of!(RawHeader, file_bytes) == 96);
    assert!(offset_of!(RawHeader, agree_columns) == 104);
    assert!(offset_of!(RawHeader, share_columns) == 108);
    assert!(offset_of!(RawHeader, ids_offset) == 112);
    assert!(offset_of!(RawHeader, row_checks_offset) == 120);
    assert!(offset_of!(RawHeader, producer) == 128);
    assert!(offset_of!(RawHeader, digest) == 160);
    assert!(offset_of!(RawHeader, checksum) == 192);
    assert!(offset_of!(RawHeader, reserved) == 224);
    assert!(offset_of!(RawHeader, columns) == 256);
    assert!(offset_of!(RawHeader, reserved_end) == 3328);
    assert!(size_of::<RawColumn>() == 96);
    assert!(offset_of!(RawColumn, name) == 0);
    assert!(offset_of!(RawColumn, sort) == 64);
    assert!(offset_of!(RawColumn, kind) == 65);
    assert!(offset_of!(RawColumn, reserved) == 66);
    assert!(offset_of!(RawColumn, len_u16) == 68);
    assert!(offset_of!(RawColumn, offset) == 72);
    assert!(offset_of!(RawColumn, bytes) == 80);
    assert!(offset_of!(RawColumn, nulls_offset) == 88);
};

/// A checked header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShareFileHeader {
    /// The content of the file.
    pub spec: ShareFileSpec,
    /// The program that wrote it, for people.
    pub producer: String,
    /// BLAKE3 of all bytes after the header; zero inside a part.
    pub digest: blake3::Hash,
    /// Length of the whole file.
    pub file_bytes: u64,
    /// The positions of the columns.
    pub(super) plan: BlockPlan,
}

impl ShareFileHeader {
    /// Makes the header of a new file. The digest is zero.
    pub(super) fn new(spec: ShareFileSpec) -> Result<Self, ShareFileDefect> {
        let plan = plan(&spec)?;
        let digest = blake3::Hash::from_bytes([0; 32]);
        let file_bytes = plan.file_bytes;
        Ok(Self { spec, producer: PRODUCER.to_owned(), digest, file_bytes, plan })
    }

    /// The bytes of the header.
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES] {
        let spec = &self.spec;
        let mut raw = RawHeader::zeroed();
        raw.magic = MAGIC;
        raw.format_version = FORMAT_VERSION;
        raw.header_bytes = HEADER_BYTES as u32;
        raw.required_features = KNOWN_FEATURES;
        raw.kind = spec.kind as u32;
        raw.party = u32::from(spec.party.index());
        raw.fingerprint = spec.fingerprint.0;
        raw.part_index = spec.part_index;
        raw.first_id = spec.ids.first();
        raw.last_id = spec.ids.last();
        raw.rows = spec.rows;
        raw.file_bytes = self.plan.file_bytes;
        raw.agree_columns = spec.layout.agree().len() as u32;
        raw.share_columns = spec.layout.shares().len() as u32;
        raw.ids_offset = self.plan.ids.offset;
        raw.row_checks_offset = self.plan.row_checks.map_or(0, |block| block.offset);
        raw.producer[..self.producer.len()].copy_from_slice(self.producer.as_bytes());
        raw.digest = *self.digest.as_bytes();
        raw.columns = encode_columns(&spec.layout, &self.plan);
        raw.checksum = checksum(&raw);
        bytemuck::cast(raw)
    }

    /// Checks everything that can be checked in a header alone, before anything in it is used.
    pub(super) fn decode(bytes: &[u8; HEADER_BYTES]) -> Result<Self, ShareFileDefect> {
        let raw: RawHeader = bytemuck::pod_read_unaligned(bytes);
        check_frame(&raw)?;
        let kind = match raw.kind {
            1 => Kind::Plain,
            2 => Kind::Blinded,
            3 => Kind::Rebuilt,
            got => return Err(ShareFileDefect::UnknownKind { got }),
        };
        let party =
            PartyId::try_from(u64::from(raw.party)).map_err(ShareFileDefect::UnknownParty)?;
        let (first, last) = (raw.first_id, raw.last_id);
        let ids =
            IdRange::new(first, last).ok_or(ShareFileDefect::BackwardRange { first, last })?;
        let spec = ShareFileSpec {
            kind,
            fingerprint: Fingerprint(raw.fingerprint),
            party,
            part_index: raw.part_index,
            ids,
            rows: raw.rows,
            layout: Arc::new(decode_layout(&raw)?),
        };
        let plan = plan(&spec)?;
        check_positions(&raw, &spec, &plan)?;
        let producer = padded_text(&raw.producer)
            .ok_or(ShareFileDefect::Reserved { field: "the producer's padding" })?;
        let digest = blake3::Hash::from_bytes(raw.digest);
        let file_bytes = plan.file_bytes;
        Ok(Self { spec, producer, digest, file_bytes, plan })
    }

    /// Checks that the file is the expected one.
    pub(super) fn check(&self, expected: &Expected) -> Result<(), ShareFileDefect> {
        let spec = &self.spec;
        SessionMismatch::check(expected.fingerprint, spec.fingerprint)?;
        if spec.kind != expected.kind {
            let (expected, got) = (expected.kind, spec.kind);
            return Err(ShareFileDefect::OtherKind { expected, got });
        }
        if let Some(expected) = expected.party.filter(|party| *party != spec.party) {
            return Err(ShareFileDefect::OtherParty { expected, got: spec.party });
        }
        if expected.layout.as_ref().is_some_and(|layout| *layout != spec.layout) {
            return Err(ShareFileDefect::OtherLayout);
        }
        Ok(())
    }

    /// Checks that the header says exactly what is known about a part.
    pub(super) fn check_exactly(&self, expected: &ShareFileSpec) -> Result<(), ShareFileDefect> {
        let spec = &self.spec;
        self.check(&Expected {
            fingerprint: expected.fingerprint,
            kind: expected.kind,
            party: Some(expected.party),
            layout: Some(Arc::clone(&expected.layout)),
        })?;
        if spec.part_index != expected.part_index {
            let (expected, got) = (expected.part_index, spec.part_index);
            return Err(ShareFileDefect::OtherPart { expected, got });
        }
        if spec.ids != expected.ids {
            return Err(ShareFileDefect::OtherIds { expected: expected.ids, got: spec.ids });
        }
        if spec.rows != expected.rows {
            return Err(ShareFileDefect::OtherRows { expected: expected.rows, got: spec.rows });
        }
        Ok(())
    }
}

/// Lays out the blocks of a file; refuses what no file can hold.
fn plan(spec: &ShareFileSpec) -> Result<BlockPlan, ShareFileDefect> {
    let ShareFileSpec { rows, ids, .. } = *spec;
    let plan = BlockPlan::new(spec.kind, &spec.layout, rows)
        .ok_or(ShareFileDefect::TooManyRows { rows })?;
    let room = i128::from(ids.last()) - i128::from(ids.first()) + 1;
    if i128::from(rows) > room {
        return Err(ShareFileDefect::MoreRowsThanIds { rows, ids });
    }
    Ok(plan)
}

/// The defect of a file that ends within its header: it is truncated, or not a share file.
pub(super) fn too_short(begin: &[u8]) -> ShareFileDefect {
    let there = begin.len().min(MAGIC.len());
    if begin[..there] == MAGIC[..there] {
        return ShareFileDefect::Truncated {
            expected: HEADER_BYTES as u64,
            got: begin.len() as u64,
        };
    }
    let mut got = [0; MAGIC.len()];
    got[..there].copy_from_slice(&begin[..there]);
    ShareFileDefect::Magic { got }
}

/// Checks that do not depend on the meaning of other fields.
fn check_frame(raw: &RawHeader) -> Result<(), ShareFileDefect> {
    if raw.magic != MAGIC {
        return Err(ShareFileDefect::Magic { got: raw.magic });
    }
    if raw.format_version != FORMAT_VERSION {
        let (expected, got) = (FORMAT_VERSION, raw.format_version);
        return Err(ShareFileDefect::Version { expected, got });
    }
    if raw.required_features & !KNOWN_FEATURES != 0 {
        let bits = raw.required_features & !KNOWN_FEATURES;
        return Err(ShareFileDefect::UnknownFeatures { bits });
    }
    if raw.checksum != checksum(raw) {
        return Err(ShareFileDefect::HeaderChecksum);
    }
    position("header length", HEADER_BYTES as u64, u64::from(raw.header_bytes))?;
    if raw.reserved.iter().chain(&raw.reserved_end).any(|byte| *byte != 0) {
        return Err(ShareFileDefect::Reserved { field: "the reserved bytes" });
    }
    Ok(())
}

/// BLAKE3 of the header with the checksum itself zero.
fn checksum(raw: &RawHeader) -> [u8; 32] {
    let mut raw = *raw;
    raw.checksum = [0; 32];
    *blake3::hash(bytemuck::bytes_of(&raw)).as_bytes()
}

fn encode_columns(layout: &RowLayout, plan: &BlockPlan) -> [RawColumn; COLUMN_PLACES] {
    let mut columns = [RawColumn::zeroed(); COLUMN_PLACES];
    let mut places = columns.iter_mut();
    let agree = layout.agree().iter().zip(&plan.agree);
    for ((column, AgreeBlocks { nulls, values }), raw) in agree.zip(&mut places) {
        raw.name[..column.name.len()].copy_from_slice(column.name.as_bytes());
        raw.sort = SORT_AGREE;
        raw.kind = match column.kind {
            AgreeKind::Integer => KIND_INTEGER,
            AgreeKind::Uuid => KIND_UUID,
        };
        (raw.offset, raw.bytes) = (values.offset, values.bytes);
        raw.nulls_offset = nulls.offset;
    }
    for ((column, block), raw) in layout.shares().iter().zip(&plan.shares).zip(&mut places) {
        raw.name[..column.name.len()].copy_from_slice(column.name.as_bytes());
        (raw.sort, raw.kind) = (SORT_SHARE, KIND_U16);
        raw.len_u16 = column.len as u32;
        (raw.offset, raw.bytes) = (block.offset, block.bytes);
    }
    columns
}

fn decode_layout(raw: &RawHeader) -> Result<RowLayout, ShareFileDefect> {
    let (agree_count, share_count) = (raw.agree_columns, raw.share_columns);
    if agree_count.max(share_count) > RowLayout::MAX_COLUMNS as u32 {
        let (agree, shares) = (agree_count, share_count);
        return Err(ShareFileDefect::ColumnCount { agree, shares });
    }
    let (agree_end, end) = (agree_count as usize, (agree_count + share_count) as usize);
    let (mut agree, mut shares) = (Vec::new(), Vec::new());
    for (index, column) in raw.columns.iter().enumerate() {
        let table = |field, got| ShareFileDefect::ColumnTable { index, field, got };
        if index >= end {
            if bytemuck::bytes_of(column).iter().any(|byte| *byte != 0) {
                return Err(ShareFileDefect::Reserved { field: "an unused column" });
            }
            continue;
        }
        let name = padded_text(&column.name).ok_or(ShareFileDefect::ColumnName { index })?;
        if column.reserved != [0; 2] {
            return Err(ShareFileDefect::Reserved { field: "a column" });
        }
        let sort = if index < agree_end { SORT_AGREE } else { SORT_SHARE };
        if column.sort != sort {
            return Err(table("sort", column.sort.into()));
        }
        match (sort, column.kind) {
            (SORT_SHARE, KIND_U16) => {
                shares.push(ShareColumn { name, len: column.len_u16 as usize })
            }
            (SORT_AGREE, KIND_INTEGER) => {
                agree.push(AgreeColumn { name, kind: AgreeKind::Integer })
            }
            (SORT_AGREE, KIND_UUID) => agree.push(AgreeColumn { name, kind: AgreeKind::Uuid }),
            (_, kind) => return Err(table("kind", kind.into())),
        }
        if sort == SORT_AGREE && column.len_u16 != 0 {
            return Err(table("length", column.len_u16.into()));
        }
    }
    RowLayout::new(agree, shares).map_err(ShareFileDefect::BadLayout)
}

/// Compares every position in the header with the plan.
fn check_positions(
    raw: &RawHeader,
    spec: &ShareFileSpec,
    plan: &BlockPlan,
) -> Result<(), ShareFileDefect> {
    position("ids offset", plan.ids.offset, raw.ids_offset)?;
    let row_checks = plan.row_checks.map_or(0, |block| block.offset);
    position("row checks offset", row_checks, raw.row_checks_offset)?;
    let mut places = raw.columns.iter();
    for ((column, blocks), raw) in spec.layout.agree().iter().zip(&plan.agree).zip(&mut places) {
        check_column(&column.name, raw, &blocks.values, blocks.nulls.offset)?;
    }
    for ((column, block), raw) in spec.layout.shares().iter().zip(&plan.shares).zip(&mut places) {
        check_column(&column.name, raw, block, 0)?;
    }
    position("file length", plan.file_bytes, raw.file_bytes)
}

fn check_column(
    name: &str,
    raw: &RawColumn,
    block: &Block,
    nulls_offset: u64,
) -> Result<(), ShareFileDefect> {
    position(&format!("offset of column {name:?}"), block.offset, raw.offset)?;
    position(&format!("byte length of column {name:?}"), block.bytes, raw.bytes)?;
    position(&format!("NULL marks offset of column {name:?}"), nulls_offset, raw.nulls_offset)
}

fn position(field: &str, expected: u64, got: u64) -> Result<(), ShareFileDefect> {
    if got == expected {
        return Ok(());
    }
    Err(ShareFileDefect::Position { field: field.to_owned(), expected, got })
}

/// Reads text that is padded with NUL to the end; `None` when the padding is not all NUL.
fn padded_text(bytes: &[u8]) -> Option<String> {
    let len = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let (text, padding) = bytes.split_at(len);
    if padding.iter().any(|byte| *byte != 0) {
        return None;
    }
    std::str::from_utf8(text).ok().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(rows: u64) -> ShareFileSpec {
        let agree = vec![
            AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer },
            AgreeColumn { name: "semantic_id".into(), kind: AgreeKind::Uuid },
        ];
        let layout = RowLayout::new(agree, RowLayout::iris().shares().to_vec()).unwrap();
        ShareFileSpec {
            kind: Kind::Blinded,
            fingerprint: Fingerprint([7; 32]),
            party: PartyId::new(2).unwrap(),
            part_index: 3,
            ids: IdRange::new(-5, 1 << 40).unwrap(),
            rows,
            layout: Arc::new(layout),
        }
    }

    /// Changes a header and makes its checksum valid again.
    fn changed(change: impl FnOnce(&mut RawHeader)) -> ShareFileDefect {
        let bytes = ShareFileHeader::new(spec(100)).unwrap().encode();
        let mut raw: RawHeader = bytemuck::pod_read_unaligned(&bytes);
        change(&mut raw);
        raw.checksum = checksum(&raw);
        ShareFileHeader::decode(&bytemuck::cast(raw)).expect_err("must be refused")
    }

    #[test]
    fn a_header_is_read_back_as_it_was_written() {
        let header = ShareFileHeader::new(spec(100)).unwrap();
        let again = ShareFileHeader::decode(&header.encode()).unwrap();
        assert_eq!(again, header);
        assert!(again.producer.starts_with("reshare "));
    }

    #[test]
    fn every_single_bit_of_a_header_matters() {
        let bytes = ShareFileHeader::new(spec(100)).unwrap().encode();
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(ShareFileHeader::decode(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn each_unusable_field_is_its_own_error_under_a_fitting_checksum() {
        use ShareFileDefect as D;
        assert!(matches!(changed(|raw| raw.magic[0] = b'R'), D::Magic { .. }));
        assert!(matches!(changed(|raw| raw.format_version = 2), D::Version { got: 2, .. }));
        let bits = changed(|raw| raw.required_features = 6);
        assert!(matches!(bits, D::UnknownFeatures { bits: 6 }));
        assert!(matches!(changed(|raw| raw.header_bytes = 0), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.kind = 4), D::UnknownKind { got: 4 }));
        assert!(matches!(changed(|raw| raw.party = 15), D::UnknownParty(_)));
        assert!(matches!(changed(|raw| raw.party = u32::MAX), D::UnknownParty(_)));
        assert!(matches!(changed(|raw| raw.last_id = -6), D::BackwardRange { .. }));
        assert!(matches!(changed(|raw| raw.last_id = 93), D::MoreRowsThanIds { .. }));
        assert!(matches!(changed(|raw| raw.rows = u64::MAX), D::TooManyRows { .. }));
        assert!(matches!(
            changed(|raw| raw.rows = 1 << 50),
            D::TooManyRows { .. } | D::MoreRowsThanIds { .. }
        ));
        assert!(matches!(changed(|raw| raw.rows = 99), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.file_bytes += 4096), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.ids_offset = 8192), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.row_checks_offset = 0), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.reserved[31] = 1), D::Reserved { .. }));
        assert!(matches!(changed(|raw| raw.reserved_end[767] = 1), D::Reserved { .. }));
        assert!(matches!(changed(|raw| raw.producer[31] = 1), D::Reserved { .. }));
    }

    #[test]
    fn each_unusable_column_is_its_own_error() {
        use ShareFileDefect as D;
        assert!(matches!(changed(|raw| raw.agree_columns = 17), D::ColumnCount { agree: 17, .. }));
        assert!(matches!(changed(|raw| raw.share_columns = u32::MAX), D::ColumnCount { .. }));
        assert!(matches!(
            changed(|raw| raw.agree_columns = 1),
            D::ColumnTable { field: "sort", .. }
        ));
        assert!(matches!(changed(|raw| raw.share_columns = 3), D::Reserved { .. }));
        assert!(matches!(
            changed(|raw| raw.columns[0].kind = 3),
            D::ColumnTable { field: "kind", .. }
        ));
        assert!(matches!(changed(|raw| raw.columns[0].len_u16 = 1), D::ColumnTable { .. }));
        assert!(matches!(changed(|raw| raw.columns[2].kind = 2), D::ColumnTable { .. }));
        assert!(matches!(changed(|raw| raw.columns[2].reserved[1] = 1), D::Reserved { .. }));
        assert!(matches!(changed(|raw| raw.columns[1].name[63] = 1), D::ColumnName { index: 1 }));
        assert!(matches!(changed(|raw| raw.columns[1].name[0] = 0xff), D::ColumnName { index: 1 }));
        let twice = changed(|raw| raw.columns[1].name = raw.columns[0].name);
        assert!(matches!(twice, D::BadLayout(_)));
        assert!(matches!(changed(|raw| raw.columns[2].len_u16 = u32::MAX), D::BadLayout(_)));
        assert!(matches!(changed(|raw| raw.columns[2].len_u16 = 6), D::BadLayout(_)));
        assert!(matches!(changed(|raw| raw.columns[2].len_u16 += 4), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.columns[0].offset += 4096), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.columns[2].bytes = u64::MAX), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.columns[0].nulls_offset = 0), D::Position { .. }));
        assert!(matches!(changed(|raw| raw.columns[2].nulls_offset = 1), D::Position { .. }));
    }

    #[test]
    fn a_header_of_another_format_is_distinguished() {
        use ShareFileDefect as D;
        let header = ShareFileHeader::new(spec(100)).unwrap();
        let refused = |change: &dyn Fn(&mut ShareFileSpec)| {
            let mut other = spec(100);
            change(&mut other);
            header.check_exactly(&other).expect_err("must be refused")
        };
        header.check_exactly(&spec(100)).unwrap();
        let session = refused(&|other| other.fingerprint = Fingerprint([8; 32]));
        assert!(matches!(session, D::OtherSession { .. }));
        assert!(matches!(refused(&|other| other.kind = Kind::Plain), D::OtherKind { .. }));
        let party = refused(&|other| other.party = PartyId::new(0).unwrap());
        assert!(matches!(party, D::OtherParty { .. }));
        let layout = refused(&|other| other.layout = Arc::new(RowLayout::iris()));
        assert!(matches!(layout, D::OtherLayout));
        assert!(matches!(refused(&|other| other.part_index = 4), D::OtherPart { .. }));
        let ids = refused(&|other| other.ids = IdRange::new(0, 1 << 40).unwrap());
        assert!(matches!(ids, D::OtherIds { .. }));
        assert!(matches!(refused(&|other| other.rows = 99), D::OtherRows { .. }));
    }
}
