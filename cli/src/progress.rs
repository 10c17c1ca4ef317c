//! Shows a running pipeline: bars on a terminal, a line every ten seconds off it.

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use reshare_io::pipeline::progress::{Progress, ProgressSnapshot};
use tokio::task::JoinHandle;

/// How often a bar is drawn.
const BAR_PERIOD: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(10);

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
    let template = "{msg:<10} [{bar:28}] {human_pos}/{human_len} rows  {prefix}";
    let style = ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ");
    bar.set_style(style);
    let mut ticks = tokio::time::interval(BAR_PERIOD);
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        let rate = Rate::of(now);
        bar.set_message(now.stage);
        bar.set_length(now.rows_total);
        bar.set_position(now.rows_done + now.rows_skipped);
        bar.set_prefix(rate.to_string());
    }
}

async fn print_lines(progress: Arc<Progress>) {
    let mut ticks = tokio::time::interval(LINE_PERIOD);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        let rate = Rate::of(now);
        let through = now.rows_done + now.rows_skipped;
        eprintln!("{}: {through} of {} rows, {rate}", now.stage, now.rows_total);
    }
}

/// A rate over the stage that is running, and the time that is left at that rate.
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
        let left = (rows_per_second > 0.0)
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
            parts => write!(f, ", {parts} parts delivered"),
        }
    }
}

/// Writes a duration in the two units that matter.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
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
        assert_eq!(shown, "2 rows/s, 1.0 MB/s, 0 s left, 1 parts delivered");
    }

    #[test]
    fn durations_are_written_in_two_units() {
        assert_eq!(human_duration(Duration::from_secs(59)), "59 s");
        assert_eq!(human_duration(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(human_duration(Duration::from_secs(7320)), "2 h 2 min");
    }
}
