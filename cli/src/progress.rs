//! Shows a running pipeline: bars on a terminal, elsewhere a line every ten seconds, or every
//! minute while nothing changes.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use reshare_exchange::progress::{Progress, ProgressSnapshot};
use tokio::task::JoinHandle;

use crate::streams::say;
use crate::text::{counted, human_duration};

/// How often a bar is drawn.
const BAR_PERIOD: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(10);
/// How often the same is printed again: a receiver may wait for days, and a log keeps every line.
const SAME_PERIOD: Duration = Duration::from_secs(60);

/// Watches a [`Progress`] until it is dropped.
pub(crate) struct Watch {
    task: Option<JoinHandle<()>>,
    bar: Option<ProgressBar>,
}

impl Watch {
    /// Starts to show `progress`, unless `quiet`.
    pub(crate) fn start(progress: Arc<Progress>, quiet: bool) -> Self {
        if quiet {
            return Self { task: None, bar: None };
        }
        if std::io::stderr().is_terminal() {
            let bar = ProgressBar::new(0);
            let task = tokio::spawn(draw_bar(progress, bar.clone()));
            return Self { task: Some(task), bar: Some(bar) };
        }
        Self { task: Some(tokio::spawn(print_lines(progress))), bar: None }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

async fn draw_bar(progress: Arc<Progress>, bar: ProgressBar) {
    let style = |template| {
        ProgressStyle::with_template(template)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> ")
    };
    let of_rows = style("{msg:<10} [{bar:28}] {human_pos}/{human_len} rows  {prefix}");
    let of_anything = style("{msg:<10} {prefix}");
    let mut ticks = tokio::time::interval(BAR_PERIOD);
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        bar.set_message(now.stage);
        if now.rows_total == 0 {
            bar.set_style(of_anything.clone());
            bar.set_prefix(Uncounted(now).to_string());
            continue;
        }
        bar.set_style(of_rows.clone());
        bar.set_length(now.rows_total);
        bar.set_position(now.rows_done + now.rows_skipped);
        bar.set_prefix(Rate::of(now).to_string());
    }
}

async fn print_lines(progress: Arc<Progress>) {
    let mut ticks = tokio::time::interval(LINE_PERIOD);
    ticks.tick().await;
    let mut lines = Lines::default();
    loop {
        ticks.tick().await;
        if let Some(line) = lines.next(progress.snapshot(), Instant::now()) {
            say!("{line}");
        }
    }
}

/// The lines that were printed.
#[derive(Default)]
struct Lines {
    /// The last one's counters, and when it was printed.
    last: Option<(ProgressSnapshot, Instant)>,
}

impl Lines {
    /// The line to print now, if it is time for one.
    fn next(&mut self, now: ProgressSnapshot, at: Instant) -> Option<String> {
        if let Some((last, printed)) = self.last {
            let is_same = last == ProgressSnapshot { elapsed: last.elapsed, ..now };
            if is_same && at.duration_since(printed) < SAME_PERIOD {
                return None;
            }
        }
        self.last = Some((now, at));
        let through = now.rows_done + now.rows_skipped;
        Some(match now.rows_total {
            0 => format!("{}: {}", now.stage, Uncounted(now)),
            total if now.is_open => {
                format!(
                    "{}: {through} of the {total} rows that both have delivered, {}",
                    now.stage,
                    Rate::of(now)
                )
            }
            total => format!("{}: {through} of {total} rows, {}", now.stage, Rate::of(now)),
        })
    }
}

/// A stage whose number of rows is not known.
struct Uncounted(ProgressSnapshot);

impl std::fmt::Display for Uncounted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ProgressSnapshot { steps_done, bytes_done, elapsed, .. } = self.0;
        if bytes_done > 0 {
            write!(f, "{}, {:.1} MB, ", counted(steps_done, "part"), bytes_done as f64 / 1e6)?;
        }
        write!(f, "for {}", human_duration(elapsed))
    }
}

/// The rate of the running stage, and the time left at that rate.
struct Rate {
    rows_per_second: f64,
    bytes_per_second: f64,
    left: Option<Duration>,
    parts_delivered: u64,
}

impl Rate {
    fn of(now: ProgressSnapshot) -> Self {
        let seconds = now.elapsed.as_secs_f64().max(1e-3);
        let rows_per_second = now.rows_done as f64 / seconds;
        let to_do = now.rows_total.saturating_sub(now.rows_done + now.rows_skipped);
        let left = (rows_per_second > 0.0 && !now.is_open)
            .then(|| Duration::from_secs_f64((to_do as f64 / rows_per_second).min(1e9)));
        let bytes_per_second = now.bytes_done as f64 / seconds;
        Self { rows_per_second, bytes_per_second, left, parts_delivered: now.parts_delivered }
    }
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} rows/s, {:.1} MB/s", self.rows_per_second, self.bytes_per_second / 1e6)?;
        if let Some(left) = self.left {
            write!(f, ", {} left", human_duration(left))?;
        }
        match self.parts_delivered {
            0 => Ok(()),
            parts => write!(f, ", {} delivered", counted(parts, "part")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_skipped_is_neither_left_nor_counted_into_the_rate() {
        let progress = Progress::default();
        progress.begin("load", 100);
        progress.skip(50);
        progress.add(10, 1000);
        let mut now = progress.snapshot();
        now.elapsed = Duration::from_secs(2);
        assert_eq!(Rate::of(now).to_string(), "5 rows/s, 0.0 MB/s, 8 s left");
    }

    #[test]
    fn parts_that_are_delivered_meanwhile_are_counted_too() {
        let progress = Progress::default();
        progress.begin("send", 4);
        progress.add(4, 2_000_000);
        progress.deliver_part();
        let mut now = progress.snapshot();
        now.elapsed = Duration::from_secs(2);
        let shown = Rate::of(now).to_string();
        assert_eq!(shown, "2 rows/s, 1.0 MB/s, 0 s left, 1 part delivered");
    }

    #[test]
    fn nothing_is_said_to_be_left_while_more_may_come() {
        let progress = Progress::default();
        progress.begin("receive and rebuild", 0);
        progress.set_open(true);
        progress.expect_more(60);
        progress.add(20, 2_000_000);
        let now = |progress: &Progress| ProgressSnapshot {
            elapsed: Duration::from_secs(2),
            ..progress.snapshot()
        };
        let line = Lines::default().next(now(&progress), Instant::now()).unwrap();
        let rows = "receive and rebuild: 20 of the 60 rows that both have delivered";
        assert_eq!(line, format!("{rows}, 10 rows/s, 1.0 MB/s"));
        progress.set_open(false);
        assert_eq!(Rate::of(now(&progress)).to_string(), "10 rows/s, 1.0 MB/s, 4 s left");
    }

    #[test]
    fn what_has_no_known_end_shows_what_has_come_and_how_long_it_takes() {
        let progress = Progress::default();
        progress.begin("receive", 0);
        let at = Instant::now();
        let now = |seconds| {
            let elapsed = Duration::from_secs(seconds);
            (ProgressSnapshot { elapsed, ..progress.snapshot() }, at + elapsed)
        };
        let mut lines = Lines::default();
        let mut line = |(now, at)| lines.next(now, at);
        assert_eq!(line(now(10)).as_deref(), Some("receive: for 10 s"));
        assert_eq!(line(now(20)), None, "nothing new");
        progress.add(0, 39_000_000);
        progress.add(0, 39_400_000);
        let arrived = "receive: 2 parts, 78.4 MB, for 30 s";
        assert_eq!(line(now(30)).as_deref(), Some(arrived));
        assert_eq!(line(now(89)), None);
        let again = "receive: 2 parts, 78.4 MB, for 1 min 30 s";
        assert_eq!(line(now(90)).as_deref(), Some(again));
        progress.begin("rebuild", 100);
        progress.add(50, 500);
        let rows = "rebuild: 50 of 100 rows, 5 rows/s, 0.0 MB/s, 10 s left";
        assert_eq!(line(now(10)).as_deref(), Some(rows));
    }
}
