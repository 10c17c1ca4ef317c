//! `session.toml`, which another party may have made.

use reshare_format::session::Session;

/// An accepted session is the same after it is written and read again.
///
/// # Panics
/// When it is not.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(session) = Session::parse(text) else { return false };
    let again = Session::parse(&session.to_toml()).expect("reads what it wrote");
    assert_eq!(session.fingerprint(), again.fingerprint(), "the fingerprint has changed");
    assert_eq!(session.to_toml(), again.to_toml(), "two ways to write one session");
    true
}
