//! Something of another session than the one at hand.

use reshare_engine::fingerprint::Fingerprint;

/// The fingerprint of another session than the one expected.
///
/// Every file that a session binds reports it with this type: share files, manifests, approvals,
/// receipts, ledgers and inboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it belongs to the session with fingerprint {got}, expected {expected}")]
pub struct SessionMismatch {
    /// The session at hand.
    pub expected: Fingerprint,
    /// The session found.
    pub got: Fingerprint,
}

impl SessionMismatch {
    /// Compares two fingerprints.
    ///
    /// # Errors
    /// The mismatch, when they differ.
    pub fn check(expected: Fingerprint, got: Fingerprint) -> Result<(), Self> {
        if got == expected { Ok(()) } else { Err(Self { expected, got }) }
    }
}
