//! The public file of a party, which another organisation made.

use reshare_format::party::PublicParty;

/// An accepted file is the same after it is written and read again.
///
/// # Panics
/// When it is not.
pub fn check(data: &[u8]) -> bool {
    let Ok(public) = PublicParty::parse(data) else { return false };
    let written = public.to_bytes();
    let again = PublicParty::parse(&written).expect("reads what it wrote");
    assert_eq!(again.fingerprint(), public.fingerprint(), "the fingerprint has changed");
    assert_eq!(again.to_bytes(), written, "two ways to write one file");
    true
}
