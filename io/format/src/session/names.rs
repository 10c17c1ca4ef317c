//! Names in a session, each with a type of its own that is checked once.

use std::fmt;
use std::str::FromStr;

use crate::keys::NameError;

/// The name of a session: a letter or digit, then letters, digits, `.`, `_`, `:` and `-`.
///
/// It is also used in directory names and URLs: it is never `..` and never looks like a flag.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

/// The name of a deployment: lower-case letters, digits, `_` and `-`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Environment(String);

impl SessionId {
    /// The longest name, in bytes.
    pub const MAX_BYTES: usize = 128;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Environment {
    /// The longest name in bytes: a schema's name that contains it still fits PostgreSQL's 63.
    pub const MAX_BYTES: usize = 55;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for SessionId {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let usual = |byte: u8| byte.is_ascii_alphanumeric() || b"._:-".contains(&byte);
        let begins = text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric);
        if begins && text.len() <= Self::MAX_BYTES && text.bytes().all(usual) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::new("session id", text, SESSION_ID_RULE))
    }
}

impl FromStr for Environment {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let usual = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
        if !text.is_empty() && text.len() <= Self::MAX_BYTES && text.bytes().all(usual) {
            return Ok(Self(text.to_owned()));
        }
        Err(NameError::new("environment", text, ENVIRONMENT_RULE))
    }
}

const SESSION_ID_RULE: &str = "1 to 128 of A-Z a-z 0-9 . _ : -, the first one a letter or a digit";
const ENVIRONMENT_RULE: &str = "1 to 55 of a-z 0-9 _ -";
impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_ids_of_the_original_are_session_ids() {
        for good in ["session-2026-08-21T00:00:00Z", "a", "7", &"x".repeat(128)] {
            assert_eq!(good.parse::<SessionId>().expect("valid").as_str(), good);
        }
        for bad in ["", ".", "..", "-a", "a/b", "a b", "ä", "a\n", &"x".repeat(129)] {
            assert!(bad.parse::<SessionId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_environment_is_lower_case() {
        assert!("prod-eu_1".parse::<Environment>().is_ok());
        for bad in ["", "Prod", "a.b", "a\"b", &"x".repeat(56)] {
            assert!(bad.parse::<Environment>().is_err(), "{bad:?}");
        }
        let longest = format!("SMPC_{}_14", "x".repeat(Environment::MAX_BYTES));
        assert_eq!(longest.len(), 63);
    }
}
