//! Approvals of the other parties.

use reshare_format::session::Approval;

/// An accepted document is written back unchanged.
///
/// # Panics
/// When it is not.
pub fn check(data: &[u8]) -> bool {
    let Ok(approval) = Approval::parse(data) else { return false };
    let written = approval.to_bytes().expect("writes what it read");
    let again = Approval::parse(&written).expect("reads what it wrote");
    assert_eq!(again.party(), approval.party(), "another party");
    assert_eq!(again.to_bytes().expect("writes"), written, "two ways to write one approval");
    true
}
