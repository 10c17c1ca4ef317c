//! Connections to the receiver that wait for their next request.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::connection::Sending;

/// The idle connections of one target, and when each had its last answer.
#[derive(Debug, Default)]
pub(super) struct Idle(Mutex<Vec<(Sending, Instant)>>);

/// One that was idle for longer may be dead unnoticed: what is on the way forgets it.
const LONGEST: Duration = Duration::from_secs(10);

impl Idle {
    /// Takes the one that was used last, if any is still open.
    pub(super) fn take(&self) -> Option<Sending> {
        self.with(|idle| {
            idle.retain(|(sending, since)| !sending.is_closed() && since.elapsed() < LONGEST);
            idle.pop().map(|(sending, _)| sending)
        })
    }

    /// Keeps one that has had its last answer.
    pub(super) fn put(&self, sending: Sending) {
        self.with(|idle| idle.push((sending, Instant::now())));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<(Sending, Instant)>) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
