//! `network.toml`, which an operator may have got from somebody else.

use reshare_format::network::Network;

/// An accepted network is the same after it is written and read again.
///
/// # Panics
/// When it is not.
pub fn check(data: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(data) else { return false };
    let Ok(network) = Network::parse(text) else { return false };
    let again = Network::parse(&network.to_toml()).expect("reads what it wrote");
    assert_eq!(network.fingerprint(), again.fingerprint(), "the fingerprint has changed");
    assert_eq!(network.to_toml(), again.to_toml(), "two ways to write one network");
    true
}
