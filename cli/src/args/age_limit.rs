//! How old something may get.

use std::str::FromStr;
use std::time::Duration;

/// A limit such as `90s`, `30m`, `1h` or `1h30m`, or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AgeLimit(Option<Duration>);

impl AgeLimit {
    /// The limit; `None` when there is none.
    pub(crate) fn limit(self) -> Option<Duration> {
        self.0
    }
}

const EXPECTED: &str = "a time such as 90s, 30m, 1h or 1h30m is expected, or off";

impl FromStr for AgeLimit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        let (mut seconds, mut rest, mut largest) = (0_u64, text, u64::MAX);
        while !rest.is_empty() {
            let end = rest.find(|c: char| !c.is_ascii_digit()).ok_or(EXPECTED)?;
            let number: u64 = rest[..end].parse().map_err(|_| EXPECTED)?;
            let unit = match rest[end..].chars().next() {
                Some('h') => 3600,
                Some('m') => 60,
                Some('s') => 1,
                _ => return Err(EXPECTED),
            };
            // Each unit once, the larger ones first.
            if unit >= largest {
                return Err(EXPECTED);
            }
            let part = number.checked_mul(unit).ok_or(EXPECTED)?;
            seconds = seconds.checked_add(part).ok_or(EXPECTED)?;
            (largest, rest) = (unit, &rest[end + 1..]);
        }
        if seconds == 0 {
            return Err("a time of at least one second is expected, or off");
        }
        Ok(Self(Some(Duration::from_secs(seconds))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_its_units_in_order_and_is_not_zero() {
        for (text, seconds) in
            [("1s", 1), ("90s", 90), ("30m", 1800), ("1h30m", 5400), ("2h1s", 7201)]
        {
            assert_eq!(text.parse(), Ok(AgeLimit(Some(Duration::from_secs(seconds)))), "{text}");
        }
        assert_eq!("off".parse(), Ok(AgeLimit(None)));
        for bad in
            ["", "0s", "1", "h", "1d", "30m1h", "1m1m", "-1s", "1.5h", "99999999999999999h", "1é"]
        {
            assert!(bad.parse::<AgeLimit>().is_err(), "{bad}");
        }
    }
}
