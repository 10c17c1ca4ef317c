//! How often a failed attempt is told to the operator: soon, and seldom enough to be read.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long nothing is told after something was.
const PERIOD: Duration = Duration::from_secs(60);

/// Decides for all requests to one receiver which failed attempts are told: where a receiver
/// is away, every request fails, and for one reason.
#[derive(Debug, Default)]
pub(super) struct AttemptLog {
    told: Mutex<Option<Instant>>,
}

impl AttemptLog {
    /// Whether to tell of an attempt that failed now.
    pub(super) fn admit(&self, now: Instant) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted = told.is_none_or(|last| now.saturating_duration_since(last) >= PERIOD);
        if admitted {
            *told = Some(now);
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_failure_is_told_and_then_one_a_period() {
        let (log, start) = (AttemptLog::default(), Instant::now());
        assert!(log.admit(start));
        assert!(!log.admit(start) && !log.admit(start + PERIOD / 2));
        assert!(log.admit(start + PERIOD));
        assert!(!log.admit(start + PERIOD + PERIOD / 2));
    }
}
