//! One line about a running pipeline, for terminals of any width and for logs.

use std::time::Duration;

use reshare_exchange::progress::ProgressSnapshot;

use crate::text::{counted, human_duration};

/// Where a bar is worth its room, and how much it takes.
const WIDTH_WITH_A_BAR: usize = 72;
const BAR: usize = 20;

/// What there is to say, in at most `width` columns. What matters most comes first, and what does
/// not fit is left out; `detail` comes last.
pub(super) fn line(now: &ProgressSnapshot, detail: &str, width: usize) -> String {
    let mut line = now.stage.to_owned();
    if let Some(share) = share_done(now)
        && (WIDTH_WITH_A_BAR..usize::MAX).contains(&width)
    {
        let filled = (share * BAR as f64) as usize;
        line.push_str(&format!(" [{}{}]", "=".repeat(filled), " ".repeat(BAR - filled)));
    }
    let mut between = ": ";
    for fact in facts(now).into_iter().chain([detail.to_owned()]) {
        let length = line.chars().count() + between.len() + fact.chars().count();
        if !fact.is_empty() && length <= width {
            line.push_str(between);
            line.push_str(&fact);
            between = ", ";
        }
    }
    if line.chars().count() > width { line.chars().take(width).collect() } else { line }
}

/// Rows of all runs that are where this stage brings them.
fn rows_there(now: &ProgressSnapshot) -> u64 {
    now.rows_skipped + now.done().0
}

/// The share of the rows that are there, 0 to 1; `None` where their number is not known.
fn share_done(now: &ProgressSnapshot) -> Option<f64> {
    let is_known = now.rows_total > 0 && !now.is_open;
    is_known.then(|| (rows_there(now) as f64 / now.rows_total as f64).clamp(0.0, 1.0))
}

/// What is known, the most important first.
fn facts(now: &ProgressSnapshot) -> Vec<String> {
    let seconds = now.elapsed.as_secs_f64().max(1e-3);
    if now.rows_total == 0 && !now.is_open {
        let mut facts = vec![];
        if now.bytes_done > 0 {
            facts.push(counted(now.steps_done, "part"));
            facts.push(format!("{:.1} MB", now.bytes_done as f64 / 1e6));
        }
        facts.push(format!("for {}", human_duration(now.elapsed)));
        return facts;
    }
    let (total, there) = (now.rows_total, rows_there(now));
    let mut facts = vec![];
    if now.is_open {
        // Of those that both senders have delivered by now.
        facts.push(format!("{there} of {total} rows so far"));
    } else {
        // Rounded down: 100 % is all of them.
        let percent = share_done(now).map_or(0, |share| (share * 100.0) as u64);
        facts.push(format!("{percent} %"));
        facts.extend(time_left(now, seconds).map(|left| format!("{} left", human_duration(left))));
        facts.push(match now.is_delivery {
            true => format!("{there} of {total} rows delivered"),
            false => format!("{there} of {total} rows"),
        });
    }
    let (rows, bytes) = now.done();
    facts.push(format!("{:.0} rows/s", rows as f64 / seconds));
    facts.push(format!("{:.1} MB/s", bytes as f64 / 1e6 / seconds));
    if now.is_delivery {
        facts.push(format!("{} sealed", now.rows_skipped + now.rows_done));
    } else if now.parts_delivered > 0 {
        facts.push(format!("{} arrived", counted(now.parts_delivered, "part")));
    }
    facts
}

/// The time that the rest takes at the rate so far; `None` before there is a rate, and at the end.
fn time_left(now: &ProgressSnapshot, seconds: f64) -> Option<Duration> {
    let rate = now.done().0 as f64 / seconds;
    let to_do = now.rows_total.saturating_sub(rows_there(now)) as f64;
    // Rounded up: as long as a row is missing, there is time left.
    let left = (to_do / rate).min(1e9).ceil();
    (rate > 0.0 && to_do > 0.0).then(|| Duration::from_secs_f64(left))
}

#[cfg(test)]
mod tests {
    use reshare_exchange::progress::Progress;

    use super::*;

    const UNLIMITED: usize = usize::MAX;

    fn after(progress: &Progress, seconds: u64) -> ProgressSnapshot {
        ProgressSnapshot { elapsed: Duration::from_secs(seconds), ..progress.snapshot() }
    }

    #[test]
    fn what_was_skipped_is_neither_left_nor_counted_into_the_rate() {
        let progress = Progress::default();
        progress.begin("load", 100);
        progress.skip(50);
        progress.add(10, 1000);
        let shown = line(&after(&progress, 2), "", UNLIMITED);
        assert_eq!(shown, "load: 60 %, 8 s left, 60 of 100 rows, 5 rows/s, 0.0 MB/s");
    }

    #[test]
    fn a_delivery_counts_what_is_delivered_and_not_what_is_read() {
        let progress = Progress::default();
        progress.begin("send", 400);
        progress.expect_delivery();
        progress.add(400, 30_000_000);
        let shown = line(&after(&progress, 10), "", UNLIMITED);
        let nothing = "send: 0 %, 0 of 400 rows delivered, 0 rows/s, 0.0 MB/s, 400 sealed";
        assert_eq!(shown, nothing, "there is no rate to tell the time that is left by");
        progress.deliver_part(100, 8_000_000);
        let shown = line(&after(&progress, 10), "", UNLIMITED);
        let some =
            "send: 25 %, 30 s left, 100 of 400 rows delivered, 10 rows/s, 0.8 MB/s, 400 sealed";
        assert_eq!(shown, some);
    }

    #[test]
    fn nothing_is_said_to_be_left_while_more_may_come() {
        let progress = Progress::default();
        progress.begin("receive and rebuild", 0);
        progress.set_open(true);
        progress.expect_more(60);
        progress.add(20, 2_000_000);
        progress.deliver_part(20, 2_100_000);
        let senders = "sender 0 up to id 40, sender 1 up to id 60 (complete)";
        let shown = line(&after(&progress, 2), senders, UNLIMITED);
        let rows = "receive and rebuild: 20 of 60 rows so far";
        assert_eq!(shown, format!("{rows}, 10 rows/s, 1.0 MB/s, 1 part arrived, {senders}"));
        progress.set_open(false);
        let shown = line(&after(&progress, 2), "", UNLIMITED);
        assert!(shown.contains("33 %, 4 s left, 20 of 60 rows"), "{shown}");
    }

    #[test]
    fn what_has_no_known_end_shows_what_has_come_and_how_long_it_takes() {
        let progress = Progress::default();
        progress.begin("receive", 0);
        assert_eq!(line(&after(&progress, 10), "", UNLIMITED), "receive: for 10 s");
        progress.add(0, 39_000_000);
        progress.add(0, 39_400_000);
        let arrived = "receive: 2 parts, 78.4 MB, for 1 min 30 s";
        assert_eq!(line(&after(&progress, 90), "", UNLIMITED), arrived);
    }

    #[test]
    fn a_line_fits_any_terminal_and_loses_the_least_important_first() {
        let progress = Progress::default();
        progress.begin("send", 20_000_000);
        progress.expect_delivery();
        progress.add(12_345_678, 9_000_000_000);
        progress.deliver_part(10_000_000, 8_000_000_000_000);
        let now = after(&progress, 86_400);
        for width in 40..=200 {
            let shown = line(&now, "a detail", width);
            assert!(shown.chars().count() <= width, "{width}: {shown}");
            for fact in ["send", "50 %", "24 h 0 min left"] {
                assert!(shown.contains(fact), "{width}: {shown}");
            }
            let has_bar = shown.contains("[==========");
            assert_eq!(has_bar, width >= WIDTH_WITH_A_BAR, "{width}: {shown}");
        }
        assert_eq!(line(&now, "", 40), "send: 50 %, 24 h 0 min left, 116 rows/s");
        assert!(line(&now, "a detail", 200).ends_with("12345678 sealed, a detail"));
    }
}
