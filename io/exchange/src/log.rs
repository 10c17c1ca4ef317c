//! Limits on the log: events are logged often enough to be seen and not so often that they fill a
//! disk, and no text of a client can forge a line.

use std::collections::HashMap;
use std::fmt::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many refusals with the same reason are logged before they are rate-limited.
const BURST: u32 = 20;
/// How often one is logged after that.
const REFUSAL_PERIOD: Duration = Duration::from_secs(30);

/// Decides for each reason which refusals are logged. All of them are counted elsewhere.
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
    /// Whether to log this refusal; if so, how many there were since the last logged one.
    pub(super) fn admit(&self, reason: &'static str, now: Instant) -> Option<u64> {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        let new = || Bucket { left: BURST, filled: now, unlogged: 0 };
        let bucket = reasons.entry(reason).or_insert_with(new);
        let periods =
            now.saturating_duration_since(bucket.filled).as_secs() / REFUSAL_PERIOD.as_secs();
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

/// The pause between logged attempts.
const ATTEMPT_PERIOD: Duration = Duration::from_secs(60);

/// Decides which failed attempts are logged, for all requests to one receiver: when it is down, every
/// request fails for the same reason.
#[derive(Debug, Default)]
pub(super) struct AttemptLog {
    logged: Mutex<Option<Instant>>,
}

impl AttemptLog {
    /// Whether to log an attempt that failed now.
    pub(super) fn admit(&self, now: Instant) -> bool {
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        let admitted =
            logged.is_none_or(|last| now.saturating_duration_since(last) >= ATTEMPT_PERIOD);
        if admitted {
            *logged = Some(now);
        }
        admitted
    }
}

/// Shows text in one line: escapes everything but plain ASCII and truncates long text.
pub(super) struct Shown<'a>(pub(super) &'a str);

/// Enough for the log line of a refusal.
const MAX_CHARS: usize = 300;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MAX_CHARS) {
            match character {
                ' ' | '!'..='~' => f.write_char(character)?,
                other => write!(f, "{}", other.escape_default())?,
            }
        }
        if characters.next().is_some() { f.write_str("...") } else { Ok(()) }
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
        let later = start + REFUSAL_PERIOD;
        assert_eq!(log.admit("slow", later), Some(1000 - u64::from(BURST)));
        assert_eq!(log.admit("slow", later), None);
        let much_later = later + 100 * REFUSAL_PERIOD;
        let logged = (0..1000).filter(|_| log.admit("slow", much_later).is_some()).count();
        assert_eq!(logged, BURST as usize);
    }

    #[test]
    fn the_first_failure_is_logged_and_then_one_a_period() {
        let (log, start) = (AttemptLog::default(), Instant::now());
        assert!(log.admit(start));
        assert!(!log.admit(start) && !log.admit(start + ATTEMPT_PERIOD / 2));
        assert!(log.admit(start + ATTEMPT_PERIOD));
        assert!(!log.admit(start + ATTEMPT_PERIOD + ATTEMPT_PERIOD / 2));
    }

    #[test]
    fn a_line_of_the_log_stays_one_line_and_short() {
        let shown = |text: &str| Shown(text).to_string();
        assert_eq!(shown("part 7: it's \"here\""), "part 7: it's \"here\"");
        assert_eq!(shown("a\r\nINFO b\x1b[2J\u{202e}"), "a\\r\\nINFO b\\u{1b}[2J\\u{202e}");
        let long = shown(&"\0".repeat(100_000));
        assert!(long.len() < 10 * MAX_CHARS && long.ends_with("..."), "{}", long.len());
    }
}
