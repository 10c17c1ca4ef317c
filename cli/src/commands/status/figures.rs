//! The findings of `reshare status`, as written in its JSON.

use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_exchange::LoadedParts;
use reshare_files::ids::IdRange;
use reshare_format::package::{PackageSurvey, Timestamp};
use reshare_pipeline::ledger::LedgerFigures;
use reshare_postgres::table::TableName;
use reshare_postgres::verified::LoadState;
use serde::Serialize;

/// Everything that was requested; the rest is absent or `null`.
#[derive(Debug, Serialize)]
pub(super) struct StatusReport {
    pub(super) session: String,
    pub(super) fingerprint: String,
    /// When it was read. A running command may be further by now.
    pub(super) read_at: Timestamp,
    pub(super) ledgers: Option<Vec<LedgerStatus>>,
    pub(super) packages: Vec<PackageStatus>,
    pub(super) inbox: Option<InboxStatus>,
    pub(super) load: Option<LoadStatus>,
}

#[derive(Debug, Serialize)]
pub(super) struct LedgerStatus {
    pub(super) sender: u8,
    /// Rows whose content is recorded. A row that was blinded in two versions counts twice.
    pub(super) rows_blinded: u64,
    /// Current parts, including those without rows.
    pub(super) parts: u64,
    pub(super) rows_sealed: u64,
    pub(super) rows_left_out: u64,
    pub(super) first_id: Option<i64>,
    pub(super) last_id: Option<i64>,
    pub(super) last_exported_at: Option<Timestamp>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum PackageState {
    /// There is no directory.
    None,
    Open,
    Closed,
}

#[derive(Debug, Serialize)]
pub(super) struct PackageStatus {
    pub(super) directory: PathBuf,
    pub(super) sender: Option<u8>,
    pub(super) state: PackageState,
    pub(super) parts: u64,
    pub(super) bytes: u64,
    pub(super) unfinished_files: u64,
    pub(super) extra_files: u64,
    /// Known of closed packages, as are all that follow.
    pub(super) parts_missing: Option<u64>,
    pub(super) rows: Option<u64>,
    pub(super) closed_at: Option<Timestamp>,
    /// Known of packages in an inbox whose rows are loaded as they arrive, as is what follows.
    pub(super) parts_loaded: Option<u64>,
    /// The last id up to which all rows of the sender are loaded.
    pub(super) loaded_up_to: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct InboxStatus {
    pub(super) directory: PathBuf,
    pub(super) exists: bool,
    pub(super) packages: Vec<PackageStatus>,
}

#[derive(Debug, Serialize)]
pub(super) struct LoadStatus {
    pub(super) table: String,
    pub(super) ranges: u64,
    /// The ids of the ranges, first and last; ranges without a gap are one.
    pub(super) ids: Vec<[i64; 2]>,
    pub(super) rows: u64,
    pub(super) only_lower_sender: u64,
    pub(super) only_higher_sender: u64,
    pub(super) disagreeing: u64,
    pub(super) last_loaded_at: Option<Timestamp>,
    /// How much of what both packages hold is loaded or recorded as left over; known when both
    /// are closed.
    pub(super) percent: Option<f64>,
    pub(super) verified: Option<Verified>,
}

#[derive(Debug, Serialize)]
pub(super) struct Verified {
    pub(super) rows: u64,
    pub(super) against: String,
    pub(super) at: Timestamp,
}

impl StatusReport {
    /// Works out how much of what was delivered is loaded.
    pub(super) fn compare_with_delivered(&mut self) {
        let in_inbox = self.inbox.iter().flat_map(|inbox| &inbox.packages);
        let known: Vec<_> = self.packages.iter().chain(in_inbox).collect();
        let rows_of = |sender| known.iter().find(|package| package.sender == sender)?.rows;
        let mut senders: Vec<_> = known.iter().filter_map(|package| package.sender).collect();
        senders.sort_unstable();
        senders.dedup();
        let [lower, higher] = senders.as_slice() else { return };
        let (Some(lower), Some(higher)) = (rows_of(Some(*lower)), rows_of(Some(*higher))) else {
            return;
        };
        if let Some(load) = &mut self.load {
            load.percent = Some(load.percent_of(lower.saturating_add(higher)));
        }
    }
}

impl LedgerStatus {
    pub(super) fn of(sender: PartyId, figures: &LedgerFigures) -> Self {
        let LedgerFigures { rows_blinded, parts, .. } = figures;
        Self {
            sender: sender.index(),
            rows_blinded: *rows_blinded,
            parts: parts.len() as u64,
            rows_sealed: parts.iter().map(|part| part.rows).sum(),
            rows_left_out: parts.iter().map(|part| part.rows_left_out()).sum(),
            first_id: parts.first().map(|part| part.ids.first()),
            last_id: parts.last().map(|part| part.ids.last()),
            last_exported_at: parts.iter().map(|part| part.exported_at).max(),
        }
    }
}

impl PackageStatus {
    pub(super) fn of(
        directory: &Path,
        sender: Option<PartyId>,
        found: Option<PackageSurvey>,
    ) -> Self {
        let exists = found.is_some();
        let PackageSurvey { parts, bytes, unfinished, extra, closed } = found.unwrap_or_default();
        let state = match (&closed, exists) {
            (Some(_), _) => PackageState::Closed,
            (None, true) => PackageState::Open,
            (None, false) => PackageState::None,
        };
        let closed = closed.as_ref();
        let sender = sender.or(closed.map(|closed| closed.claims.sender));
        Self {
            directory: directory.to_owned(),
            sender: sender.map(PartyId::index),
            state,
            parts,
            bytes,
            unfinished_files: unfinished,
            extra_files: extra,
            parts_missing: closed.map(|closed| closed.missing),
            rows: closed.map(|closed| closed.totals.rows),
            closed_at: closed.map(|closed| closed.claims.signed_at),
            parts_loaded: None,
            loaded_up_to: None,
        }
    }

    /// The same, with what the inbox says of parts whose rows are loaded: none of them is missing.
    pub(super) fn with_loaded(mut self, loaded: LoadedParts) -> Self {
        let LoadedParts { parts, gone, up_to } = loaded;
        self.parts_missing = self.parts_missing.map(|missing| missing.saturating_sub(gone));
        self.parts_loaded = (parts > 0).then_some(parts);
        self.loaded_up_to = up_to;
        self
    }
}

impl LoadStatus {
    pub(super) fn of(table: &TableName, state: &LoadState) -> Self {
        let mut status = Self {
            table: table.to_string(),
            ranges: state.loaded.len() as u64,
            ids: spans(state.loaded.iter().map(|range| range.ids)),
            rows: state.rows(),
            only_lower_sender: 0,
            only_higher_sender: 0,
            disagreeing: 0,
            last_loaded_at: state.loaded.iter().map(|range| range.loaded_at.into()).max(),
            percent: None,
            verified: state.verified.as_ref().map(|verified| Verified {
                rows: verified.rows,
                against: verified.against.clone(),
                at: verified.verified_at.into(),
            }),
        };
        for range in &state.loaded {
            status.only_lower_sender += range.leftovers.only_lower_sender.len() as u64;
            status.only_higher_sender += range.leftovers.only_higher_sender.len() as u64;
            status.disagreeing += range.leftovers.disagreeing.len() as u64;
        }
        status
    }

    /// A row that was rebuilt, or disagrees, is in both packages.
    fn percent_of(&self, delivered: u64) -> f64 {
        if delivered == 0 {
            return 100.0;
        }
        let done =
            2 * (self.rows + self.disagreeing) + self.only_lower_sender + self.only_higher_sender;
        (done as f64 * 1000.0 / delivered as f64).floor() / 10.0
    }
}

/// First and last ids of ranges that ascend; those without a gap as one.
fn spans(ranges: impl Iterator<Item = IdRange>) -> Vec<[i64; 2]> {
    let spans = IdRange::joined(ranges.map(|ids| (ids, 1)));
    spans.iter().map(|(ids, _)| [ids.first(), ids.last()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_without_a_gap_are_one_span() {
        let range = |first, last| IdRange::new(first, last).expect("in order");
        let ranges = [range(i64::MIN, -1), range(0, 9), range(11, 20), range(21, i64::MAX)];
        let expected = [[i64::MIN, 9], [11, i64::MAX]];
        assert_eq!(spans(ranges.into_iter()), expected);
        assert!(spans([].into_iter()).is_empty());
    }
}
