//! The file name of a part.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A part's file name, `part-000000.age`: its index in at least six decimal digits.
///
/// Each index has exactly one name, so two names never mean the same part, and a name never
/// leads to anything but a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartName {
    index: u64,
}

impl PartName {
    /// The name of the part with an index.
    #[must_use]
    pub const fn new(index: u64) -> Self {
        Self { index }
    }

    /// The part's index.
    #[must_use]
    pub const fn index(self) -> u64 {
        self.index
    }
}

impl fmt::Display for PartName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "part-{:06}.age", self.index)
    }
}

impl FromStr for PartName {
    type Err = NotAPartName;

    fn from_str(name: &str) -> Result<Self, NotAPartName> {
        let digits = name.strip_prefix("part-").and_then(|rest| rest.strip_suffix(".age"));
        let index = digits.and_then(|digits| digits.parse().ok()).ok_or(NotAPartName)?;
        let part = Self { index };
        if part.to_string() == name { Ok(part) } else { Err(NotAPartName) }
    }
}

impl Serialize for PartName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PartName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        name.parse().map_err(de::Error::custom)
    }
}

/// A name that no part has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a part's name is part-, its index in six digits or more, and .age")]
pub struct NotAPartName;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_index_has_exactly_one_name() {
        for (index, name) in [
            (0, "part-000000.age"),
            (999_999, "part-999999.age"),
            (1_000_000, "part-1000000.age"),
            (u64::MAX, "part-18446744073709551615.age"),
        ] {
            assert_eq!(PartName::new(index).to_string(), name);
            assert_eq!(name.parse(), Ok(PartName::new(index)));
        }
    }

    #[test]
    fn everything_else_is_no_name() {
        for name in [
            "",
            "part-.age",
            "part-0.age",
            "part-0000000.age",
            "part-00000a.age",
            "part-+00001.age",
            "part--00001.age",
            "part-18446744073709551616.age",
            "part-000000.AGE",
            "part-000000.age ",
            "../part-000000.age",
            "part-000000.age/..",
            "part-000000.age\0",
            "part-00000\u{0661}.age",
        ] {
            assert_eq!(name.parse::<PartName>(), Err(NotAPartName), "{name:?}");
        }
    }
}
