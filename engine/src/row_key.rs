//! The key, the row check and the content tag of one row.

use std::fmt;

use blake3::Hasher;
use bytemuck::{Pod, Zeroable};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::cipher::Cipher;
use crate::fingerprint::Fingerprint;
use crate::key_schedule::KeySchedule;
use crate::keystream::Keystream;
use crate::layout::RowLayout;
use crate::rows::{AgreeValue, RowCheck};
use crate::staged_hasher::StagedHasher;

/// The key of one row of one content: of its keystream and of its row check.
///
/// # Secrecy
/// Wiped when dropped; `Debug` prints nothing of it.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct RowKey([u8; 32]);

/// Identifies the content of a row, and reveals nothing to anyone without the key: 16 bytes.
///
/// Rows of the same session, id and agree values have the same tag when their plain shares are the
/// same.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct ContentTag(pub [u8; 16]);

/// Digests the tags of a part: BLAKE3, keyed, over the tags in order.
///
/// # Secrecy
/// `key` belongs to one sender alone. With a key that both senders have, the other one could test
/// guesses of a record.
#[must_use]
pub fn content_digest(key: &[u8; 32], tags: &[ContentTag]) -> [u8; 32] {
    *blake3::keyed_hash(key, bytemuck::cast_slice(tags)).as_bytes()
}

/// Identifies a row and its content: `id (i64 LE) || per agree column tag || value`.
///
/// The tag is 0 for NULL, 1 for an integer, 2 for a UUID; a NULL has no value, an integer
/// 8 bytes (i64 LE), a UUID 16. Each tag fixes the length of its value, so two encodings are equal
/// only when the rows are.
#[derive(Debug, Clone)]
pub struct RowIdentity {
    bytes: [u8; Self::MAX_BYTES],
    len: usize,
}

impl RowIdentity {
    const MAX_BYTES: usize = 8 + RowLayout::MAX_COLUMNS * 17;

    /// Encodes a row's id and agree values, in session order.
    ///
    /// # Panics
    /// Above [`RowLayout::MAX_COLUMNS`] values: no layout has as many.
    #[must_use]
    pub fn new(id: i64, agree: impl Iterator<Item = AgreeValue>) -> Self {
        let mut identity = Self { bytes: [0; Self::MAX_BYTES], len: 0 };
        identity.push(&id.to_le_bytes());
        for value in agree {
            match value {
                AgreeValue::Null => identity.push(&[0]),
                AgreeValue::Integer(value) => {
                    identity.push(&[1]);
                    identity.push(&value.to_le_bytes());
                }
                AgreeValue::Uuid(value) => {
                    identity.push(&[2]);
                    identity.push(&value);
                }
            }
        }
        identity
    }

    /// The encoding.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }
}

/// Derives keys, row checks and content tags of one session's rows. Allocates only for the first
/// tag.
///
/// # Secrecy
/// Holds keys, and plain shares while it hashes: wiped when dropped.
#[derive(Clone)]
pub struct RowHasher {
    row_key: Hasher,
    row_key_label: Vec<u8>,
    row_check_label: Vec<u8>,
    content: StagedHasher,
    content_label: Vec<u8>,
}

impl RowHasher {
    /// Takes the keys and labels of a session.
    #[must_use]
    pub fn new(keys: &KeySchedule, fingerprint: &Fingerprint) -> Self {
        Self {
            row_key: Hasher::new_keyed(keys.blinding_key()),
            row_key_label: fingerprint.label("row-key"),
            row_check_label: fingerprint.label("row-check"),
            content: StagedHasher::new(Hasher::new_keyed(keys.content_tag_key())),
            content_label: fingerprint.label("content-tag"),
        }
    }

    /// Derives a row's key: BLAKE3, keyed by the blinding key, of `label("row-key") || identity`.
    ///
    /// # Source
    /// `docs/format.md`, *Row key, row check, content tag*.
    #[must_use]
    pub fn row_key(&mut self, identity: &RowIdentity) -> RowKey {
        self.row_key.update(&self.row_key_label).update(identity.as_bytes());
        let mut hash = self.row_key.finalize();
        self.row_key.reset();
        let key = RowKey(*hash.as_bytes());
        hash.zeroize();
        key
    }

    /// Derives a row's check: the first 8 bytes of BLAKE3, keyed by the row key, of
    /// `label("row-check")`.
    #[must_use]
    pub fn row_check(&self, key: &RowKey) -> RowCheck {
        let hash = blake3::keyed_hash(&key.0, &self.row_check_label);
        std::array::from_fn(|i| hash.as_bytes()[i])
    }

    /// Tags a row's content: the first 16 bytes of BLAKE3, keyed by the content tag key, of
    /// `label("content-tag") || identity || plain shares`.
    ///
    /// # Shapes
    /// `shares` gives the plain columns of the row in layout order; they enter as u16 LE.
    #[must_use]
    pub fn content_tag<'a>(
        &mut self,
        identity: &RowIdentity,
        shares: impl Iterator<Item = &'a [u16]>,
    ) -> ContentTag {
        let Self { content, content_label, .. } = self;
        content.update(content_label).update(identity.as_bytes());
        shares.for_each(|column| {
            content.update(bytemuck::cast_slice(column));
        });
        let hash = content.finalize();
        content.reset();
        ContentTag(std::array::from_fn(|i| hash.as_bytes()[i]))
    }
}

impl RowKey {
    /// Starts the row's keystream, with the fastest cipher.
    #[must_use]
    pub fn keystream(&self) -> Keystream {
        Keystream::new(&self.0)
    }

    /// Starts the row's keystream.
    #[must_use]
    pub fn keystream_with(&self, cipher: Cipher) -> Keystream {
        Keystream::with_cipher(&self.0, cipher)
    }
}

impl Drop for RowHasher {
    fn drop(&mut self) {
        self.row_key.zeroize();
    }
}

impl fmt::Debug for RowHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowHasher(..)")
    }
}

impl fmt::Debug for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RowKey(..)")
    }
}

impl fmt::Display for ContentTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ContentTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ContentTag({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key_schedule::SharedSecret;

    const FINGERPRINT: Fingerprint = Fingerprint([5; 32]);

    fn keys() -> KeySchedule {
        KeySchedule::derive(&SharedSecret::new([1; 32]), "run", &FINGERPRINT)
    }

    #[test]
    fn an_identity_is_id_then_tag_and_value_of_each_agree_column() {
        let agree = [AgreeValue::Null, AgreeValue::Integer(-2), AgreeValue::Uuid([7; 16])];
        let identity = RowIdentity::new(258, agree.into_iter());
        let mut expected = vec![2, 1, 0, 0, 0, 0, 0, 0, 0, 1, 0xfe];
        expected.extend([0xff; 7]);
        expected.push(2);
        expected.extend([7; 16]);
        assert_eq!(identity.as_bytes(), expected);
        let most = std::iter::repeat_n(AgreeValue::Uuid([1; 16]), RowLayout::MAX_COLUMNS);
        assert_eq!(RowIdentity::new(1, most).as_bytes().len(), RowIdentity::MAX_BYTES);
    }

    #[test]
    fn key_check_and_tag_are_blake3_of_label_and_identity() {
        let (keys, mut hasher) = (keys(), RowHasher::new(&keys(), &FINGERPRINT));
        let identity = RowIdentity::new(3, [AgreeValue::Integer(9)].into_iter());
        let message = |purpose| [&FINGERPRINT.label(purpose), identity.as_bytes()].concat();
        for round in 0..2 {
            let key = hasher.row_key(&identity);
            let expected = blake3::keyed_hash(keys.blinding_key(), &message("row-key"));
            assert_eq!(expected, key.0, "round {round}");
            let check = blake3::keyed_hash(&key.0, &FINGERPRINT.label("row-check"));
            assert_eq!(hasher.row_check(&key), check.as_bytes()[..8]);
        }
    }

    #[test]
    fn a_tag_is_the_same_however_the_columns_meet_the_staging_buffer() {
        let (keys, mut hasher) = (keys(), RowHasher::new(&keys(), &FINGERPRINT));
        let identity = RowIdentity::new(3, [AgreeValue::Null].into_iter());
        let head = [&FINGERPRINT.label("content-tag"), identity.as_bytes()].concat();
        let words: Vec<u16> = (0..40_000_u16).map(|n| n.wrapping_mul(40_503)).collect();
        for cuts in [vec![0], vec![4], vec![32_700], vec![12_800, 19_200, 32_000], vec![40_000]] {
            for total in [4, 16_000, 32_732, 32_736, 40_000] {
                let cuts = cuts.iter().map(|cut| *cut.min(&total)).chain([total]);
                let mut start = 0;
                let columns = cuts.map(|end| &words[std::mem::replace(&mut start, end)..end]);
                let tag = hasher.content_tag(&identity, columns);
                let message = [&head[..], bytemuck::cast_slice(&words[..total])].concat();
                let expected = blake3::keyed_hash(keys.content_tag_key(), &message);
                assert_eq!(tag.0, expected.as_bytes()[..16], "{total} words");
            }
        }
    }

    #[test]
    fn a_content_digest_depends_on_every_tag_and_on_their_order() {
        let (a, b) = (ContentTag([1; 16]), ContentTag([2; 16]));
        let digest = content_digest(&[1; 32], &[a, b]);
        assert_ne!(digest, content_digest(&[2; 32], &[a, b]));
        let keyed = blake3::keyed_hash(&[1; 32], &[[1; 16], [2; 16]].concat());
        assert_eq!(digest, *keyed.as_bytes());
        assert_ne!(digest, content_digest(&[1; 32], &[b, a]));
        assert_ne!(digest, content_digest(&[1; 32], &[a]));
    }

    #[test]
    fn debug_prints_no_key() {
        let mut hasher = RowHasher::new(&keys(), &FINGERPRINT);
        let key = hasher.row_key(&RowIdentity::new(1, std::iter::empty()));
        assert_eq!(format!("{hasher:?} {key:?}"), "RowHasher(..) RowKey(..)");
        assert_eq!(format!("{:?}", key.keystream()), "Keystream(..)");
    }
}
