//! Rows that a merge does not rebuild.

use serde::{Deserialize, Serialize};

/// Rows of a range that were not rebuilt, by id.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftovers {
    /// Rows that only the sender with the lower party id has.
    pub only_lower_sender: Vec<i64>,
    /// Rows that only the sender with the higher party id has.
    pub only_higher_sender: Vec<i64>,
    /// Rows whose agree columns differ.
    pub disagreeing: Vec<i64>,
}

impl Leftovers {
    /// The number of rows.
    #[must_use]
    pub fn len(&self) -> usize {
        self.only_lower_sender.len() + self.only_higher_sender.len() + self.disagreeing.len()
    }

    /// All ids, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = i64> + '_ {
        let [lower, higher] = [&self.only_lower_sender, &self.only_higher_sender];
        lower.iter().chain(higher).chain(&self.disagreeing).copied()
    }

    /// Adds the rows of another range.
    pub fn extend(&mut self, more: &Self) {
        self.only_lower_sender.extend(&more.only_lower_sender);
        self.only_higher_sender.extend(&more.only_higher_sender);
        self.disagreeing.extend(&more.disagreeing);
    }

    /// Whether every row was rebuilt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
