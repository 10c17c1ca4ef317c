//! Counts, amounts and text of unknown origin, as a terminal shows them.

use std::time::Duration;

/// Makes text of unknown origin harmless for a terminal: control characters are shown escaped.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '\n' => out.push(character),
            control if control.is_control() => out.extend(control.escape_default()),
            usual => out.push(usual),
        }
    }
    out
}

/// Writes how many there are of something, in a table: "0 rows", "1 row", "2 rows".
pub(crate) fn number_of(count: u64, thing: &str) -> String {
    if count == 1 { format!("1 {thing}") } else { format!("{count} {thing}s") }
}

/// Writes how many there are of something: "no rows", "1 row", "2 rows".
pub(crate) fn counted(count: u64, thing: &str) -> String {
    match count {
        0 => format!("no {thing}s"),
        1 => format!("1 {thing}"),
        _ => format!("{count} {thing}s"),
    }
}

/// Writes an amount of bytes as people say it.
pub(crate) fn human_bytes(amount: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    let mut value = amount as f64 / 1e3;
    let mut unit = 0;
    while value >= 1e3 && unit + 1 < UNITS.len() {
        value /= 1e3;
        unit += 1;
    }
    if amount < 1_000 { format!("{amount} bytes") } else { format!("{value:.1} {}", UNITS[unit]) }
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
    fn amounts_are_said_in_the_unit_that_fits() {
        let said = [999, 1_000, 4_608_000, 1_500_000_000_000].map(human_bytes);
        assert_eq!(said, ["999 bytes", "1.0 kB", "4.6 MB", "1.5 TB"]);
    }

    #[test]
    fn durations_are_written_in_two_units() {
        assert_eq!(human_duration(Duration::from_secs(59)), "59 s");
        assert_eq!(human_duration(Duration::from_secs(61)), "1 min 1 s");
        assert_eq!(human_duration(Duration::from_secs(7320)), "2 h 2 min");
    }
}
