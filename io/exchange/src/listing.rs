//! What the receiver has of a package, in the form that both sides exchange.

use std::collections::HashMap;

use axum::body::Bytes;
use reshare_format::package::PartName;
use serde::{Deserialize, Serialize, Serializer};

use super::stored::{Stored, StoredParts};

/// The answer to a `GET` of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Whether the manifest is there, so that nothing changes any more.
    pub closed: bool,
    /// The parts that are durable at the receiver, in the order of their names.
    pub(super) parts: Vec<ListedPart>,
}

impl Listing {
    /// The digest of each part. One that is not valid matches no part.
    pub fn digests(&self) -> HashMap<PartName, blake3::Hash> {
        let digest =
            |part: &ListedPart| Some((part.name, blake3::Hash::from_hex(&part.blake3).ok()?));
        self.parts.iter().filter_map(digest).collect()
    }
}

/// One part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ListedPart {
    pub(super) name: PartName,
    pub(super) bytes: u64,
    /// BLAKE3 in 64 hexadecimal digits, as in the manifest.
    pub(super) blake3: String,
}

/// Writes a listing of many parts without first copying all of it in memory.
pub(super) fn json(closed: bool, parts: &StoredParts) -> Bytes {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        closed: bool,
        #[serde(serialize_with = "listed")]
        parts: &'a StoredParts,
    }
    // Text and numbers only: JSON can write all of it.
    let mut text = serde_json::to_vec(&Borrowed { closed, parts }).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn listed<S: Serializer>(parts: &&StoredParts, serializer: S) -> Result<S::Ok, S::Error> {
    let part = |(name, part): (&PartName, &Stored)| ListedPart {
        name: *name,
        bytes: part.bytes,
        blake3: part.blake3.to_hex().to_string(),
    };
    serializer.collect_seq(parts.iter().map(part))
}

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusalBody {
    /// The reason in one word, as the metrics count it.
    pub(super) error: String,
    /// The reason for people.
    pub(super) message: String,
}
