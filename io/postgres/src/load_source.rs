//! The source of the rows of a load.

use reshare_engine::party::PartyId;

/// What the rows of a range were rebuilt from. It is recorded with the range, so that a load that
/// continues with something else is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadSource {
    /// The parts of two packages that cover ids of the range, the lower sender's first: see
    /// `reshare_format::receipt::content_of_parts`.
    Packages([(PartyId, blake3::Hash); 2]),
    /// A share file, by the digest in its header.
    ShareFile(blake3::Hash),
}

impl LoadSource {
    /// The bytes in the progress table: 64 for packages, 32 for a share file.
    pub(super) fn to_bytes(self) -> Vec<u8> {
        match self {
            Self::Packages([(_, lower), (_, higher)]) => {
                [*lower.as_bytes(), *higher.as_bytes()].concat()
            }
            Self::ShareFile(digest) => digest.as_bytes().to_vec(),
        }
    }

    /// Whether a range was recorded with just this source.
    #[must_use]
    pub fn is_recorded(self, recorded: &[u8]) -> bool {
        self.to_bytes() == recorded
    }

    /// Describes what differs from the record; `None` if nothing does, or if one is packages and
    /// the other a share file, which cannot be compared.
    #[must_use]
    pub fn differing(self, recorded: &[u8]) -> Option<String> {
        let own = self.to_bytes();
        if own.len() != recorded.len() || own == recorded {
            return None;
        }
        Some(match self {
            Self::ShareFile(_) => "the share file has become another".to_owned(),
            Self::Packages([(lower, _), (higher, _)]) => {
                match (own[..32] != recorded[..32], own[32..] != recorded[32..]) {
                    (true, false) => format!("the package of sender {lower} has become another"),
                    (false, true) => format!("the package of sender {higher} has become another"),
                    _ => format!("the packages of senders {lower} and {higher} have become others"),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packages(lower: u8, higher: u8) -> LoadSource {
        let party = |index| PartyId::new(index).expect("a party");
        let digest = |byte| blake3::Hash::from_bytes([byte; 32]);
        LoadSource::Packages([(party(0), digest(lower)), (party(2), digest(higher))])
    }

    #[test]
    fn the_package_that_differs_is_named() {
        let recorded = packages(1, 2).to_bytes();
        let differing = |lower, higher| packages(lower, higher).differing(&recorded);
        assert_eq!(differing(1, 2), None);
        assert_eq!(differing(9, 2).as_deref(), Some("the package of sender 0 has become another"));
        assert_eq!(differing(1, 9).as_deref(), Some("the package of sender 2 has become another"));
        assert_eq!(
            differing(2, 1).as_deref(),
            Some("the packages of senders 0 and 2 have become others")
        );
    }

    #[test]
    fn a_share_file_is_held_against_share_files_only() {
        let file = |byte| LoadSource::ShareFile(blake3::Hash::from_bytes([byte; 32]));
        assert_eq!(file(1).differing(&file(1).to_bytes()), None);
        assert_eq!(
            file(1).differing(&file(2).to_bytes()).as_deref(),
            Some("the share file has become another")
        );
        assert_eq!(file(1).differing(&packages(1, 1).to_bytes()), None);
    }
}
