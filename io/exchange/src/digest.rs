//! The digest of a body in the header `Repr-Digest` (RFC 9530).

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reshare_engine::staged_hasher::StagedHasher;

/// The header's name.
pub(super) const REPR_DIGEST: &str = "repr-digest";
/// The private dictionary key for BLAKE3, for which RFC 9530 registers none.
pub(super) const BLAKE3_KEY: &str = "reshare-blake3";
const SHA256_KEY: &str = "sha-256";
const DIGEST_BYTES: usize = 32;

/// An announced digest, of one of the two supported kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReprDigest {
    /// SHA-256, from any client.
    Sha256([u8; DIGEST_BYTES]),
    /// BLAKE3, from our own client. Manifests list it too.
    Blake3([u8; DIGEST_BYTES]),
}

impl ReprDigest {
    /// Reads the header's value: a dictionary of `key=:base64:` with at least one supported kind.
    /// BLAKE3 is preferred if both are there.
    pub(super) fn parse(header: &str) -> Option<Self> {
        let mut sha256 = None;
        for member in header.split(',') {
            let (key, value) = member.trim().split_once('=')?;
            let known = [SHA256_KEY, BLAKE3_KEY].contains(&key);
            if !known {
                continue;
            }
            let base64 = value.strip_prefix(':')?.strip_suffix(':')?;
            let bytes: [u8; DIGEST_BYTES] = STANDARD.decode(base64).ok()?.try_into().ok()?;
            if key == BLAKE3_KEY {
                return Some(Self::Blake3(bytes));
            }
            sha256 = Some(Self::Sha256(bytes));
        }
        sha256
    }
}

impl std::fmt::Display for ReprDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (key, bytes) = match self {
            Self::Sha256(bytes) => (SHA256_KEY, bytes),
            Self::Blake3(bytes) => (BLAKE3_KEY, bytes),
        };
        write!(f, "{key}=:{}:", STANDARD.encode(bytes))
    }
}

/// Digests a body while it is received: always BLAKE3, and SHA-256 if it was announced.
pub(super) struct BodyHasher {
    announced: ReprDigest,
    blake3: StagedHasher,
    sha256: Option<digest::Context>,
}

impl BodyHasher {
    pub(super) fn new(announced: ReprDigest) -> Self {
        let sha256 = matches!(announced, ReprDigest::Sha256(_));
        let sha256 = sha256.then(|| digest::Context::new(&digest::SHA256));
        Self { announced, blake3: StagedHasher::default(), sha256 }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.blake3.update(bytes);
        if let Some(sha256) = &mut self.sha256 {
            sha256.update(bytes);
        }
    }

    /// The body's BLAKE3; `None` when the announced digest does not match.
    pub(super) fn finish(mut self) -> Option<blake3::Hash> {
        let blake3 = self.blake3.finalize();
        let matches = match (self.announced, self.sha256) {
            (ReprDigest::Blake3(announced), _) => blake3.as_bytes() == &announced,
            (ReprDigest::Sha256(announced), Some(sha256)) => sha256.finish().as_ref() == announced,
            (ReprDigest::Sha256(_), None) => false,
        };
        matches.then_some(blake3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sha256(bytes: &[u8]) -> ReprDigest {
        let digest = digest::digest(&digest::SHA256, bytes);
        ReprDigest::Sha256(digest.as_ref().try_into().expect("32 bytes"))
    }

    #[test]
    fn what_is_written_is_read_and_unknown_kinds_are_passed_over() {
        let blake3 = ReprDigest::Blake3(*blake3::hash(b"body").as_bytes());
        for digest in [sha256(b"body"), blake3] {
            assert_eq!(ReprDigest::parse(&digest.to_string()), Some(digest));
            let among = format!("md5=:AAAA:, {digest}");
            assert_eq!(ReprDigest::parse(&among), Some(digest));
        }
        let both = format!("{}, {blake3}", sha256(b"other"));
        assert_eq!(ReprDigest::parse(&both), Some(blake3));
    }

    #[test]
    fn the_example_of_rfc_9530_is_read() {
        // Appendix B.1: {"hello": "world"} and a line feed.
        let header = "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:";
        assert_eq!(ReprDigest::parse(header), Some(sha256(b"{\"hello\": \"world\"}\n")));
    }

    #[test]
    fn anything_else_is_no_digest() {
        for header in ["", "sha-256", "sha-256=AAAA", "sha-256=:AAAA:", "md5=:AAAA:", "sha-256=::"]
        {
            assert_eq!(ReprDigest::parse(header), None, "{header}");
        }
    }

    #[test]
    fn a_body_is_only_what_was_announced() {
        for (body, fits) in [(&b"body"[..], true), (b"bodY", false), (b"", false)] {
            for announced in
                [sha256(b"body"), ReprDigest::Blake3(*blake3::hash(b"body").as_bytes())]
            {
                let mut hasher = BodyHasher::new(announced);
                hasher.update(body);
                assert_eq!(hasher.finish().is_some(), fits);
            }
        }
    }
}
