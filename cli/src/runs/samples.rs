//! How a run went on over time.

use std::time::Duration;

use reshare_exchange::progress::ProgressSnapshot;
use serde::{Deserialize, Serialize};

/// Samples of a run that are kept: when there are more, every second one is dropped.
const MOST: usize = 200;

/// The time between the first samples.
pub(super) const FIRST_PERIOD: Duration = Duration::from_millis(100);

/// The counters of a run at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Seconds since the run began.
    pub(crate) at: f64,
    /// What it was doing.
    pub(crate) stage: String,
    /// Rows of this stage and run so far.
    pub(crate) rows: u64,
    /// Their bytes: of share data, or sealed where they are delivered.
    pub(crate) bytes: u64,
}

impl Sample {
    pub(super) fn of(now: &ProgressSnapshot, at: Duration) -> Self {
        let (rows, bytes) = now.done();
        Self { at: at.as_secs_f64(), stage: now.stage.to_owned(), rows, bytes }
    }
}

/// Samples at equal distances, however long the run takes.
#[derive(Debug)]
pub(super) struct Samples {
    taken: Vec<Sample>,
    period: Duration,
}

impl Default for Samples {
    fn default() -> Self {
        Self { taken: Vec::new(), period: FIRST_PERIOD }
    }
}

impl Samples {
    /// Takes a sample, if it is time for one.
    pub(super) fn offer(&mut self, sample: Sample) {
        let next = self.taken.last().map_or(0.0, |last| last.at + self.period.as_secs_f64());
        // Ticks come a little late or early.
        if sample.at + FIRST_PERIOD.as_secs_f64() / 2.0 < next {
            return;
        }
        if self.taken.len() == MOST {
            let mut place = 0;
            self.taken.retain(|_| {
                place += 1;
                place % 2 == 1
            });
            self.period *= 2;
        }
        self.taken.push(sample);
    }

    /// All of them, with the last one.
    pub(super) fn end(mut self, last: Sample) -> Vec<Sample> {
        if self.taken.len() == MOST {
            self.taken.pop();
        }
        self.taken.push(last);
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_run_keeps_no_more_samples_than_a_short_one_and_its_whole_length() {
        let sample = |tick: u32| Sample {
            at: (FIRST_PERIOD * tick).as_secs_f64(),
            stage: "send".to_owned(),
            rows: u64::from(tick),
            bytes: 0,
        };
        let mut samples = Samples::default();
        (0..100_000).for_each(|tick| samples.offer(sample(tick)));
        let taken = samples.end(sample(100_000));
        assert!((MOST / 2..=MOST).contains(&taken.len()), "{}", taken.len());
        assert_eq!((taken[0].rows, taken[taken.len() - 1].rows), (0, 100_000));
        let gaps = taken.windows(2).map(|pair| pair[1].rows - pair[0].rows);
        assert!(gaps.max().is_some_and(|gap| gap <= 1_100), "{taken:?}");
    }
}
