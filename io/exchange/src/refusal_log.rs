//! How often a refusal is logged: enough to be seen, too little to fill a disk.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Refusals of one reason that are logged at once, before they are thinned out.
const BURST: u32 = 20;
/// How often another one is logged after that.
const PERIOD: Duration = Duration::from_secs(30);

/// Decides for each reason which of its refusals are logged; all are counted elsewhere.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    reasons: Mutex<HashMap<&'static str, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    left: u32,
    filled: Instant,
    unlogged: u64,
}

impl RefusalLog {
    /// Whether to log one more refusal; then how many there were since the last logged one.
    pub(super) fn admit(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Bucket { left: BURST, filled: now, unlogged: 0 };
        let bucket = reasons.entry(reason).or_insert_with(new);
        let periods = now.saturating_duration_since(bucket.filled).as_secs() / PERIOD.as_secs();
        if periods > 0 {
            let more = u32::try_from(periods).unwrap_or(BURST);
            bucket.left = bucket.left.saturating_add(more).min(BURST);
            bucket.filled = now;
        }
        if bucket.left == 0 {
            bucket.unlogged += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.unlogged))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_one_reason_is_thinned_out_and_hides_no_other() {
        let (log, start) = (RefusalLog::default(), Instant::now());
        let logged = (0..1000).filter(|_| log.admit("slow", start).is_some()).count();
        assert_eq!(logged, BURST as usize);
        assert_eq!(log.admit("expired", start), Some(0));
        let later = start + PERIOD;
        assert_eq!(log.admit("slow", later), Some(1000 - u64::from(BURST)));
        assert_eq!(log.admit("slow", later), None);
        let much_later = later + 100 * PERIOD;
        let logged = (0..1000).filter(|_| log.admit("slow", much_later).is_some()).count();
        assert_eq!(logged, BURST as usize);
    }
}
