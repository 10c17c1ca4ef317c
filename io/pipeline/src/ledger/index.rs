//! The index of a ledger in memory: where the tags of each range of ids are, and the parts.

use std::collections::{BTreeMap, HashMap};

use reshare_files::ids::IdRange;

use super::LedgerDefect;
use super::format::{KIND_PART, KIND_PART_WITHOUT_BAD_ROWS, KIND_TAGS, TagRecord, range_of};
use super::log::Entry;
use super::part::{LedgerPart, SealedBefore};

/// About 40 bytes for the tags of a part and 200 for the part. The tags themselves stay in the
/// file.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Entries of tags, by first id and offset, with the last id.
    tags: BTreeMap<(i64, u64), i64>,
    /// The widest entry of tags, in ids: how far before an id its entry may begin.
    widest: u64,
    /// The parts that are in force, by their first id: none overlaps another one.
    parts: BTreeMap<i64, LedgerPart>,
    /// Where in `parts` the part of an index is.
    first_of: HashMap<u64, i64>,
    /// All sealed files of all parts, those that were replaced too.
    sealed: SealedBefore,
    next_part_index: u64,
}

impl Index {
    /// Adds an entry.
    pub(super) fn add(&mut self, entry: &Entry) -> Result<(), LedgerDefect> {
        let offset = entry.offset;
        let corrupt = |what| LedgerDefect::Corrupt { what, offset };
        let ids = range_of(&entry.head).ok_or(corrupt("range"))?;
        match entry.head.kind {
            KIND_TAGS => {
                let records = tag_records(entry)?;
                let ends = records.first().zip(records.last());
                let same = ends
                    .is_some_and(|(first, last)| (first.id, last.id) == (ids.first(), ids.last()));
                if !same || !records.windows(2).all(|pair| pair[0].id < pair[1].id) {
                    return Err(corrupt("tags"));
                }
                self.add_tags(ids, offset);
            }
            kind @ (KIND_PART | KIND_PART_WITHOUT_BAD_ROWS) => {
                let has_bad_rows = kind == KIND_PART_WITHOUT_BAD_ROWS;
                let part = LedgerPart::of_payload(ids, entry.payload(), has_bad_rows);
                self.add_part(part.ok_or(corrupt("part"))?);
            }
            _ => return Err(corrupt("kind of an entry")),
        }
        Ok(())
    }

    pub(super) fn add_tags(&mut self, ids: IdRange, offset: u64) {
        self.tags.insert((ids.first(), offset), ids.last());
        self.widest = self.widest.max(ids.last().abs_diff(ids.first()));
    }

    /// Puts a part in force, in place of those that it overlaps.
    pub(super) fn add_part(&mut self, part: LedgerPart) {
        self.next_part_index = self.next_part_index.max(part.index.saturating_add(1));
        self.sealed.add(&part);
        let overlapping: Vec<i64> = self
            .parts
            .range(..=part.ids.last())
            .rev()
            .take_while(|(_, earlier)| earlier.ids.last() >= part.ids.first())
            .map(|(first, _)| *first)
            .collect();
        for first in overlapping.into_iter().chain(self.first_of.get(&part.index).copied()) {
            if let Some(earlier) = self.parts.remove(&first) {
                self.first_of.remove(&earlier.index);
            }
        }
        self.first_of.insert(part.index, part.ids.first());
        self.parts.insert(part.ids.first(), part);
    }

    /// The offsets of the entries that may have tags for ids in a range.
    pub(super) fn tags_within(&self, ids: IdRange) -> Vec<u64> {
        let from = ids.first().saturating_sub_unsigned(self.widest);
        let begin_there = self.tags.range((from, 0)..=(ids.last(), u64::MAX));
        let reach = begin_there.filter(|(_, last)| **last >= ids.first());
        reach.map(|((_, offset), _)| *offset).collect()
    }

    pub(super) fn parts(&self) -> Vec<LedgerPart> {
        self.parts.values().cloned().collect()
    }

    pub(super) fn sealed(&self) -> &SealedBefore {
        &self.sealed
    }

    pub(super) fn next_part_index(&self) -> u64 {
        self.next_part_index
    }
}

/// The records of an entry of tags.
pub(super) fn tag_records(entry: &Entry) -> Result<Vec<TagRecord>, LedgerDefect> {
    let (records, rest) = entry.payload().as_chunks::<{ size_of::<TagRecord>() }>();
    if !rest.is_empty() {
        return Err(LedgerDefect::Corrupt { what: "tags", offset: entry.offset });
    }
    Ok(records.iter().map(|bytes| bytemuck::pod_read_unaligned(bytes)).collect())
}
