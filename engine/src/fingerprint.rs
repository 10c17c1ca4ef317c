//! The fingerprint of a session, and the labels that bind it into every key.

use std::fmt;

/// BLAKE3 of a session's canonical encoding. Public: operators compare it by voice.
///
/// The encoding itself is defined where sessions are read; here it is 32 bytes that
/// every derived key depends on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// Returns the label of one purpose under this session.
    ///
    /// Formula: `"reshare/v2/" || purpose || 0x00 || fingerprint`. A purpose holds no
    /// NUL, so no label is a prefix of another one.
    #[must_use]
    pub fn label(&self, purpose: &str) -> Vec<u8> {
        debug_assert!(!purpose.as_bytes().contains(&0));
        let mut label = Vec::with_capacity(LABEL_DOMAIN.len() + purpose.len() + 33);
        label.extend_from_slice(LABEL_DOMAIN);
        label.extend_from_slice(purpose.as_bytes());
        label.push(0);
        label.extend_from_slice(&self.0);
        label
    }
}

/// Domain and version that every label begins with.
const LABEL_DOMAIN: &[u8] = b"reshare/v2/";

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_domain_purpose_nul_and_fingerprint() {
        let label = Fingerprint([7; 32]).label("row-key");
        assert_eq!(&label[..19], b"reshare/v2/row-key\0");
        assert_eq!(&label[19..], &[7; 32]);
    }
}
