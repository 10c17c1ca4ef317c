//! What the receiver has of a package, as both sides speak of it.

use serde::{Deserialize, Serialize};

use crate::package::PartName;

/// The answer to a `GET` of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Listing {
    /// Whether the manifest is there: nothing changes any more.
    pub(super) closed: bool,
    /// The parts that are durable at the receiver, in the order of their names.
    pub(super) parts: Vec<ListedPart>,
}

/// One part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedPart {
    pub(super) name: PartName,
    pub(super) bytes: u64,
    /// BLAKE3 in 64 hexadecimal digits, as in the manifest.
    pub(super) blake3: String,
}

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusalBody {
    /// The reason in one word, as the metrics count it.
    pub(super) error: String,
    /// The reason for people.
    pub(super) message: String,
}
