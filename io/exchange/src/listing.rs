//! What the receiver has of a package, in the form that both sides exchange.

use std::collections::HashMap;

use axum::body::Bytes;
use reshare_format::package::{PartEntry, PartName};
use serde::{Deserialize, Serialize, Serializer};

use super::client_error::ClientError;
use super::part_records::{PartRecords, PartStage};
use super::stored::{Place, Stored, StoredParts};

/// The answer to a `GET` of a package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listing {
    /// Whether the manifest is there, so that nothing changes any more.
    pub closed: bool,
    /// The parts that are at the receiver, in the order of their names.
    pub(super) parts: Vec<ListedPart>,
}

impl Listing {
    /// The parts by their names.
    pub fn by_name(&self) -> HashMap<PartName, &ListedPart> {
        self.parts.iter().map(|part| (part.name, part)).collect()
    }

    /// Refuses a listing with a part that its sender has not sealed, by name and digest.
    ///
    /// A sender records each part before a byte of it leaves: where its record does not know a part
    /// that has arrived, the record is not the one that the part was sealed with.
    ///
    /// # Errors
    /// [`ClientError::UnknownPart`].
    pub fn check_known(
        &self,
        knows: impl Fn(PartName, &blake3::Hash) -> bool,
    ) -> Result<(), ClientError> {
        self.check_each(|part| part.sealed_digest().is_some_and(|sealed| knows(part.name, &sealed)))
    }

    /// The same for a sender that has only its package: by name, and by digest or content.
    ///
    /// # Errors
    /// As [`Self::check_known`].
    pub fn check_within(&self, parts: &[PartEntry]) -> Result<(), ClientError> {
        let parts: HashMap<PartName, &PartEntry> =
            parts.iter().map(|part| (part.name, part)).collect();
        self.check_each(|listed| {
            parts.get(&listed.name).is_some_and(|part| listed.has_content_of(part))
        })
    }

    fn check_each(&self, knows: impl Fn(&ListedPart) -> bool) -> Result<(), ClientError> {
        match self.parts.iter().find(|part| !knows(part)) {
            Some(part) => Err(ClientError::UnknownPart { part: part.name }),
            None => Ok(()),
        }
    }
}

/// One part of a listing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPart {
    pub(super) name: PartName,
    pub(super) bytes: u64,
    /// BLAKE3 in 64 hexadecimal digits, as in the manifest.
    pub(super) blake3: String,
    /// The content digest of its record, where its sender has sent one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) content_digest: Option<String>,
    /// Whether its rows are loaded, and it can be replaced no more.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) used: bool,
    /// Whether it is only in memory so far: a crash of the receiver loses it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(super) held: bool,
}

impl ListedPart {
    /// Its size.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// BLAKE3 of its file.
    fn sealed_digest(&self) -> Option<blake3::Hash> {
        blake3::Hash::from_hex(&self.blake3).ok()
    }

    /// Whether the receiver needs nothing more for a part that the sender has recorded: its very
    /// file is there, or its content was used.
    #[must_use]
    pub fn is_of(&self, part: &PartEntry) -> bool {
        if part.rows == 0 {
            return self.bytes == 0;
        }
        let content = part.content_digest.to_hex();
        let is_used = self.used && self.content_digest.as_deref() == Some(&*content);
        is_used || self.blake3 == *part.sealed_digest.to_hex()
    }

    /// Whether it has the content of a part that the sender has recorded, however that was sealed.
    #[must_use]
    pub fn has_content_of(&self, part: &PartEntry) -> bool {
        let content = part.content_digest.to_hex();
        self.is_of(part) || self.content_digest.as_deref() == Some(&*content)
    }

    /// Whether a crash of the receiver would lose it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.held
    }

    /// Whether the part came with its record.
    #[must_use]
    pub fn is_recorded(&self) -> bool {
        self.content_digest.is_some()
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

/// Writes the listing of many parts without a copy of it all in memory before.
pub(super) fn json(closed: bool, parts: &StoredParts, records: &PartRecords) -> Bytes {
    #[derive(Serialize)]
    struct Borrowed<'a> {
        closed: bool,
        #[serde(serialize_with = "listed")]
        parts: (&'a StoredParts, &'a PartRecords),
    }
    // Text and numbers: there is nothing that JSON cannot write.
    let parts = (parts, records);
    let mut text = serde_json::to_vec(&Borrowed { closed, parts }).unwrap_or_default();
    text.push(b'\n');
    text.into()
}

fn listed<S: Serializer>(
    (parts, records): &(&StoredParts, &PartRecords),
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let part = |(name, part): (&PartName, &Stored)| {
        let known = records.get(*name);
        ListedPart {
            name: *name,
            bytes: part.bytes,
            blake3: part.blake3.to_hex().to_string(),
            content_digest: known
                .map(|known| known.record.part.content_digest.to_hex().to_string()),
            used: known.is_some_and(|known| known.stage == PartStage::Used),
            held: part.place == Place::Memory,
        }
    };
    let without_rows = records.iter().filter(|known| known.record.part.rows == 0);
    let without_rows = without_rows.map(|known| {
        let PartEntry { name, sealed_digest, content_digest, .. } = &known.record.part;
        ListedPart {
            name: *name,
            bytes: 0,
            blake3: sealed_digest.to_hex().to_string(),
            content_digest: Some(content_digest.to_hex().to_string()),
            used: known.stage == PartStage::Used,
            held: false,
        }
    });
    serializer.collect_seq(parts.iter().map(part).chain(without_rows))
}

/// The body of every refusal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RefusalBody {
    /// The reason in one word, as the metrics count it.
    pub(super) error: String,
    /// The reason for people.
    pub(super) message: String,
}

#[cfg(test)]
mod tests {
    use reshare_files::ids::IdRange;
    use reshare_format::package::{SealedPart, Timestamp};

    use super::*;

    #[test]
    fn a_part_that_was_sealed_twice_has_one_content() {
        let name = PartName::new(3);
        let entry = |sealed: &[u8], content: &[u8]| {
            let sealed_digest = blake3::hash(sealed);
            let part = SealedPart { name, sealed_bytes: 9, sealed_digest };
            let ids = IdRange::new(1, 5).expect("in order");
            PartEntry::new(&part, ids, 5, blake3::hash(content), Timestamp::now())
        };
        let first = entry(b"first", b"rows");
        let listed = ListedPart {
            name,
            bytes: 9,
            blake3: first.sealed_digest.to_hex().to_string(),
            content_digest: Some(first.content_digest.to_hex().to_string()),
            used: false,
            held: false,
        };
        let again = entry(b"again", b"rows");
        assert!(listed.is_of(&first) && listed.has_content_of(&first));
        // In an open package its file is replaced, and in a closed one it is what was meant.
        assert!(!listed.is_of(&again) && listed.has_content_of(&again));
        let other = entry(b"again", b"other rows");
        assert!(!listed.has_content_of(&other));
        // Without a record only the very file says what it holds.
        let without_record = ListedPart { content_digest: None, ..listed };
        assert!(without_record.has_content_of(&first) && !without_record.has_content_of(&again));
    }
}
