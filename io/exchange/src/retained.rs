//! Parts that the receiver has in memory only: a sender keeps them until their rows are loaded, and
//! sends them again when the receiver was started again meanwhile.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use super::part_upload::PartUpload;
use super::standing::Standing;

/// The retained parts of one delivery.
#[derive(Debug, Default)]
pub struct Retained {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The receiver that answered last.
    instance: Option<String>,
    parts: VecDeque<Kept>,
}

#[derive(Debug)]
struct Kept {
    part: PartUpload,
    /// The receiver that has it.
    instance: Option<String>,
}

impl Retained {
    /// Notes where the receiver is: what it has loaded is let go.
    pub(super) fn note(&self, standing: &Standing) {
        self.with(|state| {
            state.instance = Some(standing.instance.clone());
            let used = standing.used_up_to;
            let is_used = |kept: &Kept| kept.part.ids.is_some_and(|ids| Some(ids.last()) <= used);
            state.parts.retain(|kept| !is_used(kept));
        });
    }

    /// Retains a part that a receiver has in memory.
    pub(super) fn keep(&self, part: PartUpload, standing: Option<&Standing>) {
        let instance = standing.map(|standing| standing.instance.clone());
        self.with(|state| state.parts.push_back(Kept { part, instance }));
    }

    /// Takes a part that an earlier instance of the receiver had.
    pub(super) fn take_lost(&self) -> Option<PartUpload> {
        self.with(|state| {
            let is_lost = |kept: &Kept| kept.instance != state.instance;
            let lost = state.parts.iter().position(is_lost)?;
            state.parts.remove(lost).map(|kept| kept.part)
        })
    }

    /// Takes all parts.
    pub(super) fn take_all(&self) -> Vec<PartUpload> {
        self.with(|state| state.parts.drain(..).map(|kept| kept.part).collect())
    }

    fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use reshare_files::ids::IdRange;
    use reshare_format::package::PartName;

    use super::*;
    use crate::upload_body::Content;

    fn part(index: u64) -> PartUpload {
        let first = 10 * index.cast_signed();
        PartUpload {
            name: PartName::new(index),
            ids: IdRange::new(first, first + 9),
            rows: 10,
            content: Content::Memory(vec![7].into()),
            blake3: blake3::hash(&[7]),
            record: None,
        }
    }

    fn standing(instance: &str, used_up_to: Option<i64>) -> Standing {
        Standing { instance: instance.to_owned(), used_up_to }
    }

    #[test]
    fn parts_are_kept_until_they_are_used() {
        let retained = Retained::default();
        let first = standing("a", None);
        retained.note(&first);
        (0..4).for_each(|index| retained.keep(part(index), Some(&first)));
        retained.note(&standing("a", Some(18)));
        assert_eq!(retained.take_lost().map(|part| part.name.index()), None);
        let names: Vec<_> = retained.take_all().iter().map(|part| part.name.index()).collect();
        assert_eq!(names, [1, 2, 3]);
    }

    #[test]
    fn parts_of_another_receiver_are_lost_each_once() {
        let retained = Retained::default();
        retained.keep(part(0), Some(&standing("a", None)));
        retained.keep(part(1), Some(&standing("a", None)));
        retained.note(&standing("b", Some(9)));
        retained.keep(part(2), Some(&standing("b", None)));
        // An answer of the old one that was on its way.
        retained.keep(part(3), Some(&standing("a", None)));
        let lost = std::iter::from_fn(|| retained.take_lost().map(|part| part.name.index()));
        assert_eq!(lost.collect::<Vec<_>>(), [1, 3]);
        assert_eq!(retained.take_all().len(), 1);
    }
}
