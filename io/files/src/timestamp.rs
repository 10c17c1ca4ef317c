//! Timestamps, as manifests and approvals write them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::StaticFormatDescription;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// A moment in whole seconds. It has exactly one spelling: `2026-01-31T23:59:59Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(PrimitiveDateTime);

const FORMAT: StaticFormatDescription =
    format_description!("[year repr:full]-[month]-[day]T[hour]:[minute]:[second]Z");

impl Timestamp {
    /// The current second.
    #[must_use]
    pub fn now() -> Self {
        Self::from(OffsetDateTime::now_utc())
    }

    /// The moment in UTC.
    #[must_use]
    pub fn moment(self) -> OffsetDateTime {
        self.0.assume_utc()
    }
}

impl From<OffsetDateTime> for Timestamp {
    /// Drops the fraction of the second.
    fn from(moment: OffsetDateTime) -> Self {
        let utc = moment.to_utc();
        let whole = utc.time().truncate_to_second();
        Self(PrimitiveDateTime::new(utc.date(), whole))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.format(FORMAT).map_err(|_| fmt::Error)?)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Timestamp {
    type Err = NotATimestamp;

    fn from_str(text: &str) -> Result<Self, NotATimestamp> {
        let moment = Self(PrimitiveDateTime::parse(text, FORMAT).map_err(|_| NotATimestamp)?);
        if moment.to_string() == text { Ok(moment) } else { Err(NotATimestamp) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

/// Text that is no moment in the one way of writing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a time is written like 2026-01-31T23:59:59Z, in UTC and whole seconds")]
pub struct NotATimestamp;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_in_one_way_only() {
        let moment: Timestamp = "2026-01-31T23:59:59Z".parse().unwrap();
        assert_eq!(moment.to_string(), "2026-01-31T23:59:59Z");
        assert_eq!(Timestamp::from(moment.moment()), moment);
        let now = Timestamp::now();
        assert_eq!(now.to_string().parse(), Ok(now));
        for text in [
            "2026-01-31T23:59:59+00:00",
            "2026-01-31T23:59:59.5Z",
            "2026-01-31 23:59:59Z",
            "2026-01-31T23:59:59",
            "2026-02-30T00:00:00Z",
            "+2026-01-31T23:59:59Z",
            "2026-01-31T23:59:59Z ",
            "2026-1-31T23:59:59Z",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(NotATimestamp), "{text}");
        }
    }
}
