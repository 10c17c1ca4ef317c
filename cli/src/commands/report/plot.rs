//! Drawings of a report: SVG without words, which a page puts next to them, so that they fit any width.

use std::fmt::Write;

use crate::runs::{RunRecord, Sample};

/// Colours that people with each kind of colour blindness tell apart, by Okabe and Ito.
const COLOURS: [&str; 6] = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00"];

/// The narrowest bar, in percent of the whole time: shorter stages are still seen.
const LEAST_WIDTH: f64 = 0.5;

/// The size of a plot; it is stretched to its place.
const WIDTH: f64 = 400.0;
const HEIGHT: f64 = 100.0;

/// The colour of a run's stage.
pub(super) fn colour(place: usize) -> &'static str {
    COLOURS[place % COLOURS.len()]
}

/// A bar for each stage of a run, in a time that begins `offset` seconds before the run and takes `total` seconds.
pub(super) fn bars(record: &RunRecord, offset: f64, total: f64) -> String {
    let percent = |seconds: f64| (seconds / total * 100.0).clamp(0.0, 100.0);
    let bar = |begin: f64, end: f64, colour: &str| {
        let width = (percent(end) - percent(begin)).max(LEAST_WIDTH);
        let at = percent(begin).min(100.0 - width);
        format!("<rect x=\"{at:.2}%\" width=\"{width:.2}%\" height=\"100%\" fill=\"{colour}\"/>")
    };
    let mut svg =
        String::from("<svg class=\"bars\" width=\"100%\" height=\"18\" aria-hidden=\"true\">");
    svg.push_str(&bar(offset, offset + record.seconds, "#d0d0d0"));
    for (place, stage) in record.stages.iter().enumerate() {
        svg.push_str(&bar(offset + stage.begin, offset + stage.end, colour(place)));
    }
    svg + "</svg>"
}

/// The rate at which a run moved rows, at the middle of each time between samples: seconds, rows a second.
pub(super) fn rates(samples: &[Sample]) -> Vec<(f64, f64)> {
    let rate = |pair: &[Sample]| {
        let [before, now] = pair else { return None };
        let rows = match before.stage == now.stage {
            true => now.rows.saturating_sub(before.rows),
            false => now.rows,
        };
        let seconds = now.at - before.at;
        (seconds > 0.0).then(|| ((before.at + now.at) / 2.0, rows as f64 / seconds))
    };
    samples.windows(2).filter_map(rate).collect()
}

/// A line of these rates and its highest one; `None` where there is too little for a line.
pub(super) fn line(rates: &[(f64, f64)], seconds: f64) -> Option<(String, f64)> {
    let highest = rates.iter().map(|(_, rate)| *rate).fold(0.0, f64::max);
    if rates.len() < 2 || highest <= 0.0 || seconds <= 0.0 {
        return None;
    }
    let mut points = String::new();
    for (at, rate) in rates {
        let (x, y) = (at / seconds * WIDTH, HEIGHT - rate / highest * HEIGHT);
        let _ = write!(points, "{x:.1},{y:.1} ");
    }
    let svg = format!(
        "<svg class=\"plot\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">\
         <path d=\"M0 50H400M0 25H400M0 75H400\" class=\"grid\"/>\
         <polyline points=\"{}\" vector-effect=\"non-scaling-stroke\"/></svg>",
        points.trim_end()
    );
    Some((svg, highest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: f64, stage: &str, rows: u64) -> Sample {
        Sample { at, stage: stage.to_owned(), rows, bytes: 0 }
    }

    #[test]
    fn a_rate_starts_again_with_a_new_stage() {
        let samples = [sample(0.0, "a", 0), sample(2.0, "a", 10), sample(3.0, "b", 4)];
        assert_eq!(rates(&samples), [(1.0, 5.0), (2.5, 4.0)]);
        let (svg, highest) = line(&rates(&samples), 4.0).expect("a line");
        assert!(svg.contains("points=\"100.0,0.0 250.0,20.0\""), "{svg}");
        assert!((highest - 5.0).abs() < 1e-9);
    }

    #[test]
    fn what_moved_no_row_has_no_line() {
        assert_eq!(line(&rates(&[sample(0.0, "a", 0), sample(0.0, "a", 0)]), 1.0), None);
        assert_eq!(line(&[(0.0, 0.0), (1.0, 0.0)], 1.0), None);
    }
}
