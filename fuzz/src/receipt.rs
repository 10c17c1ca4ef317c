//! Receipts of the receiver.

use reshare_format::receipt::UnverifiedReceipt;

/// An accepted document is written back unchanged.
///
/// # Panics
/// When it is not.
pub fn check(data: &[u8]) -> bool {
    let Ok(receipt) = UnverifiedReceipt::parse(data) else { return false };
    let written = receipt.to_bytes().expect("writes what it read");
    assert_eq!(written, data, "two ways to write one receipt");
    let again = UnverifiedReceipt::parse(&written).expect("reads what it wrote");
    assert_eq!(again, receipt, "another receipt");
    true
}
