//! Signed records of parts, from a header of a request and from a package.

use reshare_format::package::{RecordLine, SignedPartRecord};

use crate::sample;

/// An accepted record is written back unchanged, alone and in the line of a file.
///
/// # Panics
/// When it is not.
pub fn check(data: &[u8]) -> bool {
    // As a line of a file, whose checksum stops nearly everything.
    let _ = RecordLine::read(sample::FINGERPRINT, data);
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Some(record) = SignedPartRecord::parse(text) else { return false };
    assert_eq!(record.to_text(), text, "two ways to write one record");
    let line = RecordLine::part(sample::FINGERPRINT, &record);
    let Some(RecordLine::Part(again)) = RecordLine::read(sample::FINGERPRINT, line.as_bytes())
    else {
        panic!("it does not read its own line")
    };
    assert_eq!(again.to_text(), text, "another record");
    true
}
