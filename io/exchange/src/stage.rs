//! How far a receiver is.

/// How far the receiver is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Stage {
    /// It looks at the table and reads its inbox, and takes nothing yet.
    Starting,
    /// It takes deliveries.
    Receiving,
    /// Both packages are complete, and their rows are merged and loaded.
    Rebuilding,
    /// Everything is done.
    Done,
    /// The rebuild has failed; the packages are kept.
    Failed,
}

impl Stage {
    pub(super) const ALL: [Self; 5] =
        [Self::Starting, Self::Receiving, Self::Rebuilding, Self::Done, Self::Failed];

    /// The stage in one word.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Receiving => "receiving",
            Self::Rebuilding => "rebuilding",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}
