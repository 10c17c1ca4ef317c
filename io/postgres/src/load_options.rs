//! How rows are loaded.

use std::time::Duration;

/// What to do about rows that are already in the target and were not loaded by this session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Refuse.
    Error,
    /// Replace the row: it is deleted and inserted again, so that columns the session does not know
    /// take their defaults. An UPDATE would fire triggers that raise the version.
    Replace {
        /// Replace the row even if its integer agree columns are higher than the delivered ones.
        allow_older: bool,
    },
}

impl OnConflict {
    pub(super) const fn replaces(self) -> bool {
        matches!(self, Self::Replace { .. })
    }
}

/// How to load.
#[derive(Debug, Clone, Copy)]
pub struct LoadOptions {
    /// What to do about rows that are already there.
    pub on_conflict: OnConflict,
    /// How long to wait while another process loads the same session into the same table.
    pub lock_wait: Duration,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { on_conflict: OnConflict::Error, lock_wait: Duration::from_secs(60) }
    }
}
