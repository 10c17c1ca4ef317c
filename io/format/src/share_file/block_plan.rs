//! The position of each column in a share file. It follows from kind, layout and rows alone.

use std::ops::Range;

use reshare_engine::layout::{AgreeKind, RowLayout};

use super::{HEADER_BYTES, Kind};

/// Every block begins at a multiple of this, and the file ends at one.
pub const BLOCK_ALIGN: u64 = 4096;

/// One block: the entries of one column, zero-padded to the next [`BLOCK_ALIGN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block {
    /// Position in the file.
    pub offset: u64,
    /// Bytes without the padding.
    pub bytes: u64,
    /// Bytes a row.
    pub row_bytes: u64,
}

impl Block {
    /// The bytes of the block without the padding.
    #[must_use]
    pub const fn range(&self) -> Range<u64> {
        self.offset..self.offset + self.bytes
    }

    /// The padding after it.
    #[must_use]
    pub const fn padding(&self) -> Range<u64> {
        let end = self.offset + self.bytes;
        end..end.next_multiple_of(BLOCK_ALIGN)
    }
}

/// The two blocks of an agree column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgreeBlocks {
    /// One byte a row.
    pub nulls: Block,
    /// 8 or 16 bytes a row.
    pub values: Block,
}

/// All blocks of a share file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockPlan {
    /// The ids.
    pub ids: Block,
    /// The agree columns.
    pub agree: Vec<AgreeBlocks>,
    /// The row checks, in blinded files.
    pub row_checks: Option<Block>,
    /// The share columns.
    pub shares: Vec<Block>,
    /// Where the share columns begin. All bytes before are the prefix.
    pub prefix_bytes: u64,
    /// The length of the file.
    pub file_bytes: u64,
}

impl BlockPlan {
    /// Lays out the blocks; `None` when the file would be longer than `i64::MAX` bytes.
    #[must_use]
    pub fn new(kind: Kind, layout: &RowLayout, rows: u64) -> Option<Self> {
        let mut end = HEADER_BYTES as u64;
        let mut next = |row_bytes: u64| -> Option<Block> {
            let bytes = rows.checked_mul(row_bytes)?;
            let offset = end;
            end = offset.checked_add(bytes)?.checked_next_multiple_of(BLOCK_ALIGN)?;
            (end <= i64::MAX as u64).then_some(Block { offset, bytes, row_bytes })
        };
        let ids = next(8)?;
        let mut agree = Vec::with_capacity(layout.agree().len());
        for column in layout.agree() {
            let nulls = next(1)?;
            agree.push(AgreeBlocks { nulls, values: next(agree_value_bytes(column.kind))? });
        }
        let row_checks = if kind.has_row_checks() { Some(next(8)?) } else { None };
        let prefix_bytes = next(0)?.offset;
        let columns = layout.shares().iter().map(|column| next(2 * column.len as u64));
        let shares = columns.collect::<Option<_>>()?;
        Some(Self { ids, agree, row_checks, shares, prefix_bytes, file_bytes: end })
    }

    /// Every block, in the order of the file.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        let agree = self.agree.iter().flat_map(|column| [&column.nulls, &column.values]);
        std::iter::once(&self.ids).chain(agree).chain(&self.row_checks).chain(&self.shares)
    }
}

/// Bytes of one value of an agree column.
const fn agree_value_bytes(kind: AgreeKind) -> u64 {
    match kind {
        AgreeKind::Integer => 8,
        AgreeKind::Uuid => 16,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_aligned_and_follow_each_other_without_gaps() {
        for rows in [0, 1, 511, 512, 4096, 4097] {
            let plan = BlockPlan::new(Kind::Blinded, &RowLayout::iris(), rows).unwrap();
            let mut end = 4096;
            for block in plan.blocks() {
                assert_eq!(block.offset, end);
                assert_eq!(block.bytes, rows * block.row_bytes);
                end = block.padding().end;
                assert_eq!(end % BLOCK_ALIGN, 0);
            }
            assert_eq!(plan.file_bytes, end);
            assert_eq!(plan.prefix_bytes, plan.shares[0].offset);
        }
    }

    #[test]
    fn a_plain_file_of_one_iris_row_has_the_documented_offsets() {
        let plan = BlockPlan::new(Kind::Plain, &RowLayout::iris(), 1).unwrap();
        let offsets: Vec<_> = plan.blocks().map(|block| block.offset).collect();
        assert_eq!(offsets, [4096, 8192, 12_288, 16_384, 45_056, 61_440, 90_112]);
        assert_eq!(plan.file_bytes, 106_496);
    }

    #[test]
    fn rows_that_overflow_a_length_have_no_plan() {
        for rows in [u64::MAX, u64::MAX / 8, 1 << 60, i64::MAX as u64] {
            assert_eq!(BlockPlan::new(Kind::Plain, &RowLayout::iris(), rows), None);
        }
    }
}
