//! What the receiving server allows.

use std::time::Duration;

use reshare_format::package::MAX_PARTS;

/// Bounds on what a sender can make the receiver do.
///
/// The largest part is the session's; a package is bounded by `package_bytes`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Parts in a package.
    pub parts: usize,
    /// Bytes of a package's parts.
    pub package_bytes: u64,
    /// Bytes of parts that may wait in the inbox to be merged, half of them for each sender; `None`
    /// where nothing is merged yet, so that packages are kept whole.
    pub inbox_bytes: Option<u64>,
    /// Bytes of parts that may be in memory only, half of them for each sender: only a receiver that
    /// merges what arrives has such parts.
    pub held_bytes: u64,
    /// How long a package that closes waits for its parts in memory to be loaded; then they are
    /// written to files.
    pub held_wait: Duration,
    /// Bytes of free disk that are kept: a part that would use them up is refused.
    pub keep_free_bytes: u64,
    /// Concurrent connections that have not authenticated yet.
    pub handshakes: usize,
    /// Concurrent connections of one sender.
    pub connections: usize,
    /// Concurrent requests of one sender.
    pub requests: usize,
    /// How long a TLS handshake and a request's headers may take.
    pub header_timeout: Duration,
    /// How long a body may stall, and a connection be idle.
    pub body_timeout: Duration,
    /// The minimum average speed of a body in bytes a second, after `body_timeout`.
    pub body_bytes_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            parts: MAX_PARTS,
            package_bytes: 8 << 40,
            inbox_bytes: None,
            held_bytes: 0,
            held_wait: Duration::from_secs(10),
            keep_free_bytes: 1 << 30,
            handshakes: 256,
            connections: 32,
            requests: 32,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            body_bytes_per_second: 16 << 10,
        }
    }
}
