//! The lines of a file of part records: the records, what verifies them, and which parts were used.
//!
//! A line is `KIND VALUE CHECK`. The checksum finds what a disk has damaged; what a sender has said
//! is proved by the signature of each record.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reshare_engine::fingerprint::Fingerprint;

use super::{PartName, SignedPartRecord};
use crate::keys::certificate::CertificateChain;

/// One line.
#[derive(Debug)]
pub enum RecordLine {
    /// The certificates that verify the records after it; `None` where they are none.
    Chain(Option<CertificateChain>),
    /// A signed record.
    Part(SignedPartRecord),
    /// A part all of whose rows are in the receiver's table.
    Used(PartName),
}

impl RecordLine {
    /// Reads a line with its line feed; `None` for anything else than a whole one of this session.
    #[must_use]
    pub fn read(session: Fingerprint, line: &[u8]) -> Option<Self> {
        let (text, check) = std::str::from_utf8(line).ok()?.trim_end().rsplit_once(' ')?;
        (check == checksum(session, text)).then_some(())?;
        let (kind, value) = text.split_once(' ')?;
        Some(match kind {
            CHAIN => {
                let pem = STANDARD.decode(value).unwrap_or_default();
                Self::Chain(CertificateChain::from_canonical_pem(&pem).ok())
            }
            PART => Self::Part(SignedPartRecord::parse(value)?),
            USED => Self::Used(value.parse().ok()?),
            _ => return None,
        })
    }

    /// The line of certificates.
    #[must_use]
    pub fn chain(session: Fingerprint, chain: &CertificateChain) -> String {
        line(session, CHAIN, &STANDARD.encode(chain.to_pem()))
    }

    /// The line of a record.
    #[must_use]
    pub fn part(session: Fingerprint, signed: &SignedPartRecord) -> String {
        line(session, PART, &signed.to_text())
    }

    /// The line of a part that was used.
    #[must_use]
    pub fn used(session: Fingerprint, name: PartName) -> String {
        line(session, USED, &name.to_string())
    }
}

const CHAIN: &str = "chain";
const PART: &str = "part";
const USED: &str = "used";

fn line(session: Fingerprint, kind: &str, value: &str) -> String {
    let text = format!("{kind} {value}");
    let check = checksum(session, &text);
    format!("{text} {check}\n")
}

/// The first 16 hexadecimal digits of BLAKE3 over the session's fingerprint and a line.
fn checksum(session: Fingerprint, text: &str) -> String {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&session.0).update(text.as_bytes());
    hasher.finalize().to_hex()[..16].to_owned()
}
