//! How many parts a sender uploads at once: more, as long as that moves more bytes.
//!
//! A connection on a long line moves its window once in a round trip, so several move more than
//! one. How many are worth their memory depends on the line, and nobody can know it before.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

/// The fewest and the most uploads at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UploadOptions {
    pub(super) least: NonZeroUsize,
    pub(super) most: NonZeroUsize,
}

impl UploadOptions {
    /// Always as many.
    #[must_use]
    pub const fn fixed(at_once: NonZeroUsize) -> Self {
        Self { least: at_once, most: at_once }
    }

    /// As many as the line rewards.
    #[must_use]
    pub const fn adaptive(least: NonZeroUsize, most: NonZeroUsize) -> Self {
        Self { least, most }
    }

    /// How many there are before the line is known.
    #[must_use]
    pub const fn at_first(self) -> NonZeroUsize {
        self.least
    }

    /// No more than there are parts.
    pub(super) fn at_most(self, parts: NonZeroUsize) -> Self {
        Self { least: self.least.min(parts), most: self.most.min(parts) }
    }
}

/// What uploads tell the pace.
#[derive(Debug, Default)]
pub(super) struct LineFigures {
    /// Bytes of bodies that were handed to a connection.
    pub(super) sent: Arc<AtomicU64>,
    /// Whether a part had to wait because all uploads were busy.
    pub(super) is_full: AtomicBool,
}

/// Raises and lowers the number of uploads until it is dropped.
#[derive(Debug)]
pub(super) struct Pace(JoinHandle<()>);

impl Pace {
    /// Begins with the fewest. Only uploads with a number below the one in the channel may begin.
    pub(super) fn start(
        options: UploadOptions,
        figures: &Arc<LineFigures>,
    ) -> (Self, watch::Receiver<usize>) {
        let (tx, rx) = watch::channel(options.least.get());
        let figures = Arc::clone(figures);
        let adapting = tokio::spawn(async move {
            let mut climb = Climb::new(options);
            let (mut before, mut since) = (0, Instant::now());
            loop {
                tokio::time::sleep(PERIOD).await;
                let (sent, now) = (figures.sent.load(Ordering::Relaxed), Instant::now());
                let rate = (sent - before) as f64 / (now - since).as_secs_f64();
                (before, since) = (sent, now);
                let is_full = figures.is_full.swap(false, Ordering::Relaxed);
                let uploads = climb.next(rate, is_full);
                if tx.send_if_modified(|now| std::mem::replace(now, uploads) != uploads) {
                    let megabytes = rate / 1e6;
                    tracing::debug!(uploads, "the line moved {megabytes:.1} MB/s");
                }
            }
        });
        (Self(adapting), rx)
    }
}

impl Drop for Pace {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// How long each number of uploads is tried: some round trips of a long line.
const PERIOD: Duration = Duration::from_secs(1);
/// By how much more must move for more uploads to be worth it.
const GAIN: f64 = 1.05;
/// How many periods pass before more are tried again: lines change.
const REST: u32 = 60;

/// Climbs as long as the rate rises.
#[derive(Debug)]
struct Climb {
    options: UploadOptions,
    uploads: usize,
    /// The number and its rate before the last step, while that is judged.
    before: Option<(usize, f64)>,
    /// Periods to wait.
    rest: u32,
}

impl Climb {
    fn new(options: UploadOptions) -> Self {
        Self { options, uploads: options.least.get(), before: None, rest: 1 }
    }

    /// How many uploads there should be, after a period in which so many bytes a second moved, and
    /// parts waited for an upload or not.
    fn next(&mut self, rate: f64, is_full: bool) -> usize {
        if let Some((uploads, before)) = self.before.take()
            && rate < before * GAIN
        {
            self.uploads = uploads;
            self.rest = REST;
            return self.uploads;
        }
        if self.rest > 0 {
            self.rest -= 1;
        } else if is_full && self.uploads < self.options.most.get() {
            self.before = Some((self.uploads, rate));
            // Half as many again: a long line is full after a few periods, whatever it needs.
            let more = self.uploads + self.uploads.div_ceil(2);
            self.uploads = more.min(self.options.most.get());
        }
        self.uploads
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adaptive(least: usize, most: usize) -> Climb {
        let count = |count| NonZeroUsize::new(count).unwrap();
        Climb::new(UploadOptions::adaptive(count(least), count(most)))
    }

    /// The numbers over some periods on a line that moves `rate(uploads)`.
    fn climbed(climb: &mut Climb, periods: usize, rate: impl Fn(usize) -> f64) -> Vec<usize> {
        (0..periods).map(|_| climb.next(rate(climb.uploads), true)).collect()
    }

    #[test]
    fn uploads_become_more_until_the_line_is_full() {
        let mut climb = adaptive(4, 24);
        // Each connection moves ten, all of them 100 at the most.
        let climbed = climbed(&mut climb, 8, |uploads| (10 * uploads).min(130) as f64);
        assert_eq!(climbed, [4, 6, 9, 14, 21, 14, 14, 14]);
        // Much later it looks again.
        assert!((0..61).any(|_| climb.next(130.0, true) == 21));
    }

    #[test]
    fn uploads_stay_as_they_are_where_more_move_no_more_and_where_nothing_waits() {
        let mut climb = adaptive(4, 24);
        assert_eq!(climbed(&mut climb, 4, |_| 500.0), [4, 6, 4, 4]);
        let mut climb = adaptive(4, 24);
        assert!((0..50).all(|_| climb.next(100.0, false) == 4));
    }

    #[test]
    fn uploads_never_exceed_the_most() {
        assert_eq!(climbed(&mut adaptive(4, 8), 6, |uploads| uploads as f64), [4, 6, 8, 8, 8, 8]);
        assert_eq!(climbed(&mut adaptive(3, 3), 4, |uploads| uploads as f64), [3; 4]);
    }
}
