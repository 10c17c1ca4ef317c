//! What is known of one sender's parts, by the ids that they cover.

use std::collections::{BTreeMap, HashMap};

use reshare_files::ids::IdRange;

use super::{PartEntry, PartName};

/// Something that is known of a part.
pub(super) trait OfPart {
    /// The part. Its ids are those that it covers.
    fn part(&self) -> &PartEntry;
}

/// Parts by the first id that each covers. Of two that overlap or have one name, the later one is
/// kept.
#[derive(Debug, Clone)]
pub(super) struct RecordMap<T> {
    by_first: BTreeMap<i64, T>,
    names: HashMap<PartName, i64>,
}

impl<T> Default for RecordMap<T> {
    fn default() -> Self {
        Self { by_first: BTreeMap::new(), names: HashMap::new() }
    }
}

impl<T: OfPart> RecordMap<T> {
    /// Takes a part; `true` when it takes the place of others.
    pub(super) fn insert(&mut self, of: T) -> bool {
        let (name, ids) = (of.part().name, of.part().ids);
        let before = self.by_first.range(..ids.first()).next_back();
        let within = self.by_first.range(ids.first()..=ids.last());
        let overlap =
            before.into_iter().chain(within).filter(|(_, of)| of.part().ids.overlaps(ids));
        let mut replaced: Vec<i64> = overlap.map(|(first, _)| *first).collect();
        replaced.extend(self.names.get(&name));
        for first in &replaced {
            if let Some(of) = self.by_first.remove(first) {
                self.names.remove(&of.part().name);
            }
        }
        self.names.insert(name, ids.first());
        self.by_first.insert(ids.first(), of);
        !replaced.is_empty()
    }

    /// Keeps some of them alone; `true` when others were there.
    pub(super) fn retain(&mut self, keep: impl Fn(&T) -> bool) -> bool {
        let before = self.by_first.len();
        self.by_first.retain(|_, of| keep(of));
        self.names = self.by_first.iter().map(|(first, of)| (of.part().name, *first)).collect();
        self.by_first.len() < before
    }

    pub(super) fn get(&self, name: PartName) -> Option<&T> {
        self.by_first.get(self.names.get(&name)?)
    }

    /// All of them, by ascending ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.by_first.values()
    }

    pub(super) fn len(&self) -> usize {
        self.by_first.len()
    }

    /// Those from an id on that have no gap between them, as long as they are `wanted`.
    pub(super) fn tiles_from(
        &self,
        begin: i64,
        wanted: impl Fn(&T) -> bool,
    ) -> impl Iterator<Item = &T> {
        let mut next = Some(begin);
        std::iter::from_fn(move || {
            let of = self.by_first.get(&next?).filter(|of| wanted(of))?;
            next = of.part().ids.last().checked_add(1);
            Some(of)
        })
    }
}

impl OfPart for PartEntry {
    fn part(&self) -> &PartEntry {
        self
    }
}

/// The last id that ascending parts cover.
pub(super) fn covered_up_to<'a>(parts: impl Iterator<Item = &'a PartEntry>) -> Option<i64> {
    parts.last().map(|part| IdRange::last(part.ids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::package::{SealedPart, Timestamp};

    fn entry(index: u64, first: i64, last: i64) -> PartEntry {
        let digest = blake3::hash(&index.to_le_bytes());
        let sealed =
            SealedPart { name: PartName::new(index), sealed_bytes: 9, sealed_digest: digest };
        let ids = IdRange::new(first, last).unwrap();
        PartEntry::new(&sealed, ids, 1, digest, Timestamp::now())
    }

    fn tiles(map: &RecordMap<PartEntry>, from: i64) -> Vec<u64> {
        map.tiles_from(from, |part| part.name.index() != 99).map(|part| part.name.index()).collect()
    }

    #[test]
    fn the_later_of_two_parts_that_overlap_or_have_one_name_is_kept() {
        let mut map = RecordMap::default();
        assert!(!map.insert(entry(0, 1, 10)) && !map.insert(entry(1, 11, 20)));
        assert!(!map.insert(entry(2, 21, i64::MAX)));
        assert_eq!(tiles(&map, 1), [0, 1, 2]);
        assert!(map.insert(entry(7, 5, 15)));
        assert_eq!((tiles(&map, 1), tiles(&map, 5)), (vec![], vec![7]));
        assert_eq!(map.get(PartName::new(0)), None);
        assert!(map.insert(entry(7, 1, 4)));
        assert_eq!((tiles(&map, 1), map.len()), (vec![7], 2));
        assert!(!map.insert(entry(99, 5, 20)));
        assert_eq!(tiles(&map, 1), [7]);
        assert!(map.retain(|part| part.name.index() == 2) && map.get(PartName::new(99)).is_none());
        assert!(!map.retain(|_| true));
        assert_eq!(covered_up_to(map.iter()), Some(i64::MAX));
    }
}
