//! Shows a running pipeline: a line that changes on a terminal, elsewhere one every half a minute, or
//! every five while nothing changes.

mod line;

use std::io::IsTerminal;
use std::sync::Arc;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use reshare_exchange::progress::{Progress, ProgressSnapshot};
use serde_json::{Value, json};
use terminal_size::terminal_size_of;
use tokio::task::JoinHandle;

use self::line::line;
use crate::streams;

/// How often the line on a terminal is drawn.
const DRAW_PERIOD: Duration = Duration::from_millis(200);
/// How often a line is printed where there is no terminal.
const LINE_PERIOD: Duration = Duration::from_secs(30);
/// How often the same is printed again: a receiver may wait for days, and a log keeps every line.
const SAME_PERIOD: Duration = Duration::from_secs(300);
/// The width of a terminal that does not tell.
const USUAL_WIDTH: u16 = 80;

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
        if std::io::stderr().is_terminal() && !streams::lines_are_json() {
            let bar = ProgressBar::new(0);
            let task = tokio::spawn(draw(progress, bar.clone()));
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

async fn draw(progress: Arc<Progress>, bar: ProgressBar) {
    let style = ProgressStyle::with_template("{msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let mut ticks = tokio::time::interval(DRAW_PERIOD);
    loop {
        ticks.tick().await;
        // A terminal may change its width. The last column stays free: some break the line there.
        let width = terminal_size_of(std::io::stderr()).map_or(USUAL_WIDTH, |(width, _)| width.0);
        bar.set_message(line(
            &progress.snapshot(),
            &progress.detail(),
            usize::from(width.max(2) - 1),
        ));
    }
}

async fn print_lines(progress: Arc<Progress>) {
    let mut ticks = tokio::time::interval(LINE_PERIOD);
    ticks.tick().await;
    let mut lines = Lines::default();
    loop {
        ticks.tick().await;
        let now = progress.snapshot();
        if let Some(line) = lines.next(now, &progress.detail(), Instant::now()) {
            streams::say_with(&line, &fields(&now));
        }
    }
}

/// What a line says, for programs.
fn fields(now: &ProgressSnapshot) -> Value {
    let (rows, bytes) = now.done();
    json!({
        "stage": now.stage,
        "stage_seconds": now.elapsed.as_secs_f64(),
        "rows": rows,
        "rows_skipped": now.rows_skipped,
        "rows_total": (now.rows_total > 0 && !now.is_open).then_some(now.rows_total),
        "bytes": bytes,
    })
}

/// The lines that were printed.
#[derive(Default)]
struct Lines {
    /// What the last one was about, and when it was printed.
    last: Option<(ProgressSnapshot, String, Instant)>,
}

impl Lines {
    /// The line to print now, if it is time for one.
    fn next(&mut self, now: ProgressSnapshot, detail: &str, at: Instant) -> Option<String> {
        if let Some((last, last_detail, printed)) = &self.last {
            let is_same = *last == ProgressSnapshot { elapsed: last.elapsed, ..now };
            if is_same && last_detail == detail && at.duration_since(*printed) < SAME_PERIOD {
                return None;
            }
        }
        self.last = Some((now, detail.to_owned(), at));
        Some(line(&now, detail, usize::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_again_after_five_minutes_only() {
        let progress = Progress::default();
        progress.begin("receive", 0);
        let at = Instant::now();
        let now = |seconds| {
            let elapsed = Duration::from_secs(seconds);
            (ProgressSnapshot { elapsed, ..progress.snapshot() }, at + elapsed)
        };
        let mut lines = Lines::default();
        let mut next = |(now, at), detail| lines.next(now, detail, at);
        assert_eq!(next(now(30), "").as_deref(), Some("receive: for 30 s"));
        assert_eq!(next(now(60), ""), None, "nothing new");
        let detail = "sender 0 up to id 9";
        assert_eq!(next(now(90), detail), Some(format!("receive: for 1 min 30 s, {detail}")));
        progress.add(0, 78_400_000);
        let arrived = "receive: 1 part, 78.4 MB, for 2 min 0 s, sender 0 up to id 9";
        assert_eq!(next(now(120), detail).as_deref(), Some(arrived));
        assert_eq!(next(now(419), detail), None);
        assert!(next(now(420), detail).is_some());
    }
}
