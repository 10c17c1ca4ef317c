//! When to retry: exponential back-off with jitter and a time limit.

use std::time::{Duration, Instant};

use aws_lc_rs::rand;

/// The attempts of one request.
pub(super) struct Retry {
    start: Instant,
    attempts: u32,
    give_up_after: Duration,
    first_pause: Duration,
}

impl Retry {
    pub(super) fn new(give_up_after: Duration, first_pause: Duration) -> Self {
        Self { start: Instant::now(), attempts: 0, give_up_after, first_pause }
    }

    /// The number of attempts, and the time that they took.
    pub(super) fn so_far(&self) -> (u32, Duration) {
        (self.attempts, self.start.elapsed())
    }

    /// Waits before the next attempt; `false` when it is time to give up.
    pub(super) async fn wait(&mut self) -> bool {
        let pause = pause_after(self.first_pause, self.attempts, random());
        self.attempts += 1;
        if self.start.elapsed() + pause > self.give_up_after {
            return false;
        }
        tokio::time::sleep(pause).await;
        true
    }
}

const LONGEST_PAUSE: Duration = Duration::from_secs(15);

/// Half of the doubled pause is fixed, the other half random: senders that were disconnected at the
/// same moment do not return at the same moment.
fn pause_after(first: Duration, attempts: u32, random: u8) -> Duration {
    let full = first.saturating_mul(2_u32.saturating_pow(attempts)).min(LONGEST_PAUSE);
    full / 2 + full / 2 * u32::from(random) / 255
}

fn random() -> u8 {
    let mut byte = [0];
    // Jitter is optional: without random bytes the pause is the shortest.
    let _ = rand::fill(&mut byte);
    byte[0]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_half_of_each_is_random() {
        let first = Duration::from_millis(200);
        let millis = |attempts, random| pause_after(first, attempts, random).as_millis();
        assert_eq!((millis(0, 0), millis(0, 255)), (100, 200));
        assert_eq!((millis(3, 0), millis(3, 255)), (800, 1600));
        assert_eq!((millis(60, 0), millis(60, 255)), (7_500, 15_000));
    }
}
