//! Share files as a stream, which a part holds compressed and sealed.
//!
//! The bytes are those of a share file, with a digest of zero: the seal authenticates them.

use std::io::{Read, Write};

use reshare_engine::layout::AgreeKind;
use reshare_engine::row_batch::{AgreeSliceMut, AgreeValuesMut, RowBatch, RowsMut};
use reshare_engine::rows::{AgreeSlice, AgreeValue, AgreeValues, RowCheck, Rows};

use super::block_plan::{BLOCK_ALIGN, Block, BlockPlan};
use super::check::{check_agree, check_ids, check_padding, check_shape};
use super::{HEADER_BYTES, ShareFileDefect, ShareFileHeader, ShareFileSpec};
use crate::read;

/// The columns before the shares of a part: enough to join two packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowPrefix {
    /// The ids, ascending.
    pub ids: Vec<i64>,
    /// The agree columns, in session order.
    pub agree: Vec<AgreeData>,
    /// The row checks.
    pub row_checks: Vec<RowCheck>,
}

/// One agree column in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgreeData {
    /// One byte a row: 1 where the value is NULL, else 0.
    pub nulls: Vec<u8>,
    /// One value a row, zero where it is NULL.
    pub values: AgreeDataValues,
}

/// The values of an agree column in memory, by kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AgreeDataValues {
    /// Integers.
    Integer(Vec<i64>),
    /// UUIDs.
    Uuid(Vec<[u8; 16]>),
}

impl AgreeData {
    /// Borrows the column.
    #[must_use]
    pub fn as_slice(&self) -> AgreeSlice<'_> {
        AgreeSlice {
            nulls: &self.nulls,
            values: match &self.values {
                AgreeDataValues::Integer(values) => AgreeValues::Integer(values),
                AgreeDataValues::Uuid(values) => AgreeValues::Uuid(values),
            },
        }
    }

    fn as_slice_mut(&mut self) -> AgreeSliceMut<'_> {
        AgreeSliceMut {
            nulls: &mut self.nulls,
            values: match &mut self.values {
                AgreeDataValues::Integer(values) => AgreeValuesMut::Integer(values),
                AgreeDataValues::Uuid(values) => AgreeValuesMut::Uuid(values),
            },
        }
    }
}

impl RowPrefix {
    /// The agree values of one row, in session order.
    pub fn agree_values(&self, row: usize) -> impl Iterator<Item = AgreeValue> + '_ {
        self.agree.iter().map(move |column| column.as_slice().value(row))
    }
}

/// The size of the share columns with their padding: what [`write_shares`] will write.
pub(crate) fn stored_bytes(spec: &ShareFileSpec) -> Result<u64, ShareFileDefect> {
    let header = ShareFileHeader::new(spec.clone())?;
    Ok(header.plan.file_bytes - header.plan.prefix_bytes)
}

/// Writes header, ids, agree columns and row checks.
pub(crate) fn write_prefix(
    out: &mut impl Write,
    spec: &ShareFileSpec,
    rows: &Rows<'_>,
) -> Result<(), ShareFileDefect> {
    let header = ShareFileHeader::new(spec.clone())?;
    if rows.len() as u64 != spec.rows {
        return Err(ShareFileDefect::OtherRows { expected: spec.rows, got: rows.len() as u64 });
    }
    check_shape(rows, spec)?;
    check_ids(rows.ids, spec.ids)?;
    let plan = &header.plan;
    out.write_all(&header.encode()).map_err(ShareFileDefect::Write)?;
    write_block(out, &plan.ids, bytemuck::cast_slice(rows.ids))?;
    for (blocks, slice) in plan.agree.iter().zip(&rows.agree) {
        write_block(out, &blocks.nulls, slice.nulls)?;
        let values = match slice.values {
            AgreeValues::Integer(values) => bytemuck::cast_slice(values),
            AgreeValues::Uuid(values) => values.as_flattened(),
        };
        write_block(out, &blocks.values, values)?;
    }
    match &plan.row_checks {
        Some(block) => write_block(out, block, rows.row_checks.as_flattened()),
        None => Ok(()),
    }
}

/// Writes the share columns: the rest of the file after [`write_prefix`], which has checked the
/// rows.
pub(crate) fn write_shares(
    out: &mut impl Write,
    spec: &ShareFileSpec,
    rows: &Rows<'_>,
) -> Result<(), ShareFileDefect> {
    let header = ShareFileHeader::new(spec.clone())?;
    for (block, shares) in header.plan.shares.iter().zip(&rows.shares) {
        write_block(out, block, bytemuck::cast_slice(shares))?;
    }
    Ok(())
}

/// Reads a whole stream into a batch. On any error the batch is empty.
///
/// `spec` is what the manifest and the session say. The header must say the same before any
/// size in it is used.
pub(crate) fn read_rows(
    input: &mut dyn Read,
    spec: &ShareFileSpec,
    batch: &mut RowBatch,
) -> Result<(), ShareFileDefect> {
    let read = read_into(input, spec, batch);
    if read.is_err() {
        batch.clear();
    }
    read
}

/// Reads a stream up to its share columns.
pub(crate) fn read_prefix(
    input: &mut dyn Read,
    spec: &ShareFileSpec,
) -> Result<RowPrefix, ShareFileDefect> {
    let plan = read_header(input, spec)?;
    let too_many = |_| ShareFileDefect::TooManyRows { rows: spec.rows };
    let rows = usize::try_from(spec.rows).map_err(too_many)?;
    let agree = spec.layout.agree().iter().map(|column| AgreeData {
        nulls: vec![0; rows],
        values: match column.kind {
            AgreeKind::Integer => AgreeDataValues::Integer(vec![0; rows]),
            AgreeKind::Uuid => AgreeDataValues::Uuid(vec![[0; 16]; rows]),
        },
    });
    let checks = if spec.kind.has_row_checks() { rows } else { 0 };
    let mut prefix =
        RowPrefix { ids: vec![0; rows], agree: agree.collect(), row_checks: vec![[0; 8]; checks] };
    let mut agree: Vec<_> = prefix.agree.iter_mut().map(AgreeData::as_slice_mut).collect();
    read_columns(input, spec, &plan, &mut prefix.ids, &mut agree, &mut prefix.row_checks)?;
    Ok(prefix)
}

fn read_into(
    input: &mut dyn Read,
    spec: &ShareFileSpec,
    batch: &mut RowBatch,
) -> Result<(), ShareFileDefect> {
    if **batch.layout() != *spec.layout {
        return Err(ShareFileDefect::OtherLayout);
    }
    let plan = read_header(input, spec)?;
    let (rows, capacity) = (spec.rows, batch.capacity());
    let too_small = || ShareFileDefect::BatchTooSmall { rows, capacity };
    let count = usize::try_from(rows).map_err(|_| too_small())?;
    let RowsMut { ids, mut agree, row_checks, mut shares, .. } =
        batch.reset(count, spec.kind.has_row_checks()).map_err(|_| too_small())?;
    read_columns(input, spec, &plan, ids, &mut agree, row_checks)?;
    for (block, shares) in plan.shares.iter().zip(&mut shares) {
        read_block(input, block, &plan, bytemuck::cast_slice_mut(shares))?;
    }
    let expected = plan.file_bytes;
    match read_up_to(input, &mut [0])? {
        0 => Ok(()),
        _ => Err(ShareFileDefect::TrailingBytes { expected, got: expected + 1 }),
    }
}

fn read_header(input: &mut dyn Read, spec: &ShareFileSpec) -> Result<BlockPlan, ShareFileDefect> {
    let mut bytes = [0; HEADER_BYTES];
    let got = read_up_to(input, &mut bytes)? as u64;
    if got < HEADER_BYTES as u64 {
        return Err(ShareFileDefect::Truncated { expected: HEADER_BYTES as u64, got });
    }
    let header = ShareFileHeader::decode(&bytes)?;
    header.check_exactly(spec)?;
    if header.digest.as_bytes() != &[0; 32] {
        return Err(ShareFileDefect::DigestInPart);
    }
    Ok(header.plan)
}

/// Reads and checks everything between the header and the share columns.
fn read_columns(
    input: &mut dyn Read,
    spec: &ShareFileSpec,
    plan: &BlockPlan,
    ids: &mut [i64],
    agree: &mut [AgreeSliceMut<'_>],
    row_checks: &mut [RowCheck],
) -> Result<(), ShareFileDefect> {
    read_block(input, &plan.ids, plan, bytemuck::cast_slice_mut(ids))?;
    check_ids(ids, spec.ids)?;
    for ((column, blocks), slice) in spec.layout.agree().iter().zip(&plan.agree).zip(agree) {
        read_block(input, &blocks.nulls, plan, slice.nulls)?;
        let values = match &mut slice.values {
            AgreeValuesMut::Integer(values) => {
                read_block(input, &blocks.values, plan, bytemuck::cast_slice_mut(values))?;
                AgreeValues::Integer(values)
            }
            AgreeValuesMut::Uuid(values) => {
                read_block(input, &blocks.values, plan, values.as_flattened_mut())?;
                AgreeValues::Uuid(values)
            }
        };
        check_agree(&column.name, &AgreeSlice { nulls: slice.nulls, values })?;
    }
    match &plan.row_checks {
        Some(block) => read_block(input, block, plan, row_checks.as_flattened_mut()),
        None => Ok(()),
    }
}

fn write_block(out: &mut impl Write, block: &Block, bytes: &[u8]) -> Result<(), ShareFileDefect> {
    let padding = block.padding();
    let zeros = &[0; BLOCK_ALIGN as usize][..(padding.end - padding.start) as usize];
    out.write_all(bytes).and_then(|()| out.write_all(zeros)).map_err(ShareFileDefect::Write)
}

/// Reads one block and its padding, which must be zero.
fn read_block(
    input: &mut dyn Read,
    block: &Block,
    plan: &BlockPlan,
    bytes: &mut [u8],
) -> Result<(), ShareFileDefect> {
    let truncated = |got| ShareFileDefect::Truncated { expected: plan.file_bytes, got };
    let got = read_up_to(input, bytes)?;
    if got < bytes.len() {
        return Err(truncated(block.offset + got as u64));
    }
    let range = block.padding();
    let mut padding = [0; BLOCK_ALIGN as usize];
    let padding = &mut padding[..(range.end - range.start) as usize];
    let got = read_up_to(input, padding)?;
    if got < padding.len() {
        return Err(truncated(range.start + got as u64));
    }
    check_padding(padding, range.start)
}

/// As [`read::read_up_to`].
fn read_up_to(input: &mut dyn Read, buffer: &mut [u8]) -> Result<usize, ShareFileDefect> {
    read::read_up_to(input, buffer).map_err(ShareFileDefect::Read)
}
