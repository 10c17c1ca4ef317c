//! The table of a run: each figure next to its limit, for eyes and as CSV.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

use time::OffsetDateTime;

/// The target of a ratio.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// A rate must reach this part of the limit's.
    AtLeast(f64),
    /// A time may be this multiple of the limit's.
    AtMost(f64),
}

impl Target {
    /// Whether a ratio reaches it.
    #[must_use]
    pub fn is_met(self, ratio: f64) -> bool {
        match self {
            Self::AtLeast(least) => ratio >= least,
            Self::AtMost(most) => ratio <= most,
        }
    }
}

/// A figure with the name of what was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// The figure, in the line's unit.
    pub value: f64,
}

/// One line.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// The figure.
    pub figure: Figure,
    /// The unit of figure and limit.
    pub unit: &'static str,
    /// The reference, measured in the same run.
    pub limit: Option<Figure>,
    /// The target for their ratio.
    pub target: Option<Target>,
}

impl Line {
    /// Figure over limit.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        Some(self.figure.value / self.limit.as_ref()?.value)
    }

    /// `ok`, `short`, or nothing if there is no target.
    #[must_use]
    pub fn verdict(&self) -> &'static str {
        match (self.ratio(), self.target) {
            (Some(ratio), Some(target)) if target.is_met(ratio) => "ok",
            (_, Some(_)) => "short",
            (_, None) => "",
        }
    }

    /// Figure, unit, limit, ratio, target, verdict, name, name of the limit.
    fn cells(&self) -> [String; 8] {
        let value = |value: f64| format!("{value:.3}");
        let target = match self.target {
            Some(Target::AtLeast(least)) => format!(">= {least}"),
            Some(Target::AtMost(most)) => format!("<= {most}"),
            None => String::new(),
        };
        let limit = self.limit.as_ref();
        [
            self.figure.name.clone(),
            value(self.figure.value),
            self.unit.to_owned(),
            limit.map_or_else(String::new, |limit| limit.name.clone()),
            limit.map_or_else(String::new, |limit| value(limit.value)),
            self.ratio().map_or_else(String::new, value),
            target,
            self.verdict().to_owned(),
        ]
    }
}

const HEADINGS: [&str; 8] =
    ["figure", "value", "unit", "limit", "its value", "ratio", "target", "verdict"];

/// The lines as columns of equal width.
#[must_use]
pub fn text(lines: &[Line]) -> String {
    let headings = HEADINGS.map(str::to_owned);
    let rows: Vec<_> = std::iter::once(headings).chain(lines.iter().map(Line::cells)).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..HEADINGS.len()).map(width).collect();
    let mut text = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            let is_number = matches!(column, 1 | 4 | 5);
            if is_number { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        let line = cells.collect::<Vec<_>>().join("  ");
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Writes the lines as CSV, each with the machine, the compiler and the day.
///
/// # Errors
/// Any error of the file system.
pub fn write_csv(path: &Path, lines: &[Line]) -> io::Result<()> {
    let about = [machine(), compiler(), OffsetDateTime::now_utc().date().to_string()];
    let mut csv = HEADINGS.join(",").replace("its value", "limit value") + ",cpu,compiler,date\n";
    for line in lines {
        let cells = line.cells().into_iter().chain(about.clone());
        let cells: Vec<String> = cells.map(|cell| quoted(&cell)).collect();
        let _ = writeln!(csv, "{}", cells.join(","));
    }
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    fs::write(path, csv)
}

fn quoted(cell: &str) -> String {
    if !cell.contains([',', '"', '\n']) {
        return cell.to_owned();
    }
    format!("\"{}\"", cell.replace('"', "\"\""))
}

/// The processor's name, its cores, the widest vectors that the kernels can use, and the cipher.
#[must_use]
pub fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kernel = reshare_engine::kernel::Backend::detect();
    let cipher = reshare_engine::cipher::Cipher::detect().backend();
    let name = name.unwrap_or("unknown processor");
    format!("{name}, {cores} cores, kernel {kernel}, cipher {cipher}")
}

fn compiler() -> String {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    version.unwrap_or_else(|_| "unknown compiler".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(value: f64, limit: f64, target: Target) -> Line {
        Line {
            figure: Figure { name: "part/seal, \"all\"".to_owned(), value },
            unit: "GB/s",
            limit: Some(Figure { name: "age".to_owned(), value: limit }),
            target: Some(target),
        }
    }

    #[test]
    fn a_rate_must_reach_its_target_and_a_time_must_not_exceed_it() {
        assert_eq!(line(0.85, 1.0, Target::AtLeast(0.85)).verdict(), "ok");
        assert_eq!(line(0.84, 1.0, Target::AtLeast(0.85)).verdict(), "short");
        assert_eq!(line(2.4, 1.0, Target::AtMost(2.4)).verdict(), "ok");
        assert_eq!(line(2.5, 1.0, Target::AtMost(2.4)).verdict(), "short");
        let unmeasured = Line { limit: None, ..line(1.0, 1.0, Target::AtMost(2.0)) };
        assert_eq!(unmeasured.verdict(), "short");
    }

    #[test]
    fn a_csv_has_a_line_for_each_figure_and_quotes_commas() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("new").join("table.csv");
        write_csv(&path, &[line(1.0, 2.0, Target::AtLeast(0.6))]).expect("written");
        let csv = fs::read_to_string(path).expect("readable");
        let lines: Vec<&str> = csv.lines().collect();
        assert_eq!(lines.len(), 2);
        assert!(
            lines[1]
                .starts_with("\"part/seal, \"\"all\"\"\",1.000,GB/s,age,2.000,0.500,>= 0.6,short,")
        );
    }
}
