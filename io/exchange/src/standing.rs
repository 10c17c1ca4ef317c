//! Which receiver has answered, and how far it has loaded a sender's rows.

use std::fmt;

/// The header of every answer to a sender that has authenticated.
pub(super) const RECEIVER: &str = "reshare-receiver";

/// The value of the header: the receiver's instance, and the last id up to which all rows are
/// loaded, or `-`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// Another one after each start: what the receiver had only in memory is then lost.
    pub(super) instance: String,
    pub(super) used_up_to: Option<i64>,
}

impl Standing {
    pub(super) fn parse(value: &str) -> Option<Self> {
        let (instance, used) = value.split_once(' ')?;
        let used_up_to = if used == NONE { None } else { Some(used.parse().ok()?) };
        Some(Self { instance: instance.to_owned(), used_up_to })
    }
}

const NONE: &str = "-";

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.used_up_to {
            Some(id) => write!(f, "{} {id}", self.instance),
            None => write!(f, "{} {NONE}", self.instance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        for used_up_to in [None, Some(i64::MIN), Some(0), Some(i64::MAX)] {
            let standing = Standing { instance: "0a1b".to_owned(), used_up_to };
            assert_eq!(Standing::parse(&standing.to_string()), Some(standing));
        }
        for value in ["", "0a1b", "0a1b ", "0a1b one", "0a1b 1 2"] {
            assert_eq!(Standing::parse(value), None, "{value}");
        }
    }
}
