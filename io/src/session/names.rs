//! Names in a session: each checked once, then a type of its own.

use std::fmt;
use std::str::FromStr;

/// The name of a session: a letter or digit, then letters, digits, `.`, `_`, `:` and `-`.
///
/// It also names directories and stands in URLs: it is never `..` and never looks like a
/// flag.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct SessionId(String);

/// The name of a deployment: lower-case letters, digits, `_` and `-`.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Environment(String);

/// The one name in a party's certificate by which it is known: matched exactly.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// A DNS name in lower case, without wildcard.
    Dns(String),
    /// A URI, such as a SPIFFE id. Told from a DNS name by its colon.
    Uri(String),
}

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
    /// The longest name in bytes: with it, a schema's name still fits PostgreSQL's 63.
    pub const MAX_BYTES: usize = 55;

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CertificateName {
    /// The longest URI, in bytes.
    pub const MAX_URI_BYTES: usize = 255;
    /// The longest DNS name, in bytes.
    pub const MAX_DNS_BYTES: usize = 253;

    /// The name, without its sort.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) => name,
        }
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

impl FromStr for CertificateName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        match text.split_once(':') {
            Some((scheme, rest)) if is_uri(scheme, rest, text) => Ok(Self::Uri(text.to_owned())),
            Some(_) => Err(NameError::new("certificate name", text, URI_RULE)),
            None if is_dns_name(text) => Ok(Self::Dns(text.to_owned())),
            None => Err(NameError::new("certificate name", text, DNS_RULE)),
        }
    }
}

const SESSION_ID_RULE: &str = "1 to 128 of A-Z a-z 0-9 . _ : -, the first one a letter or a digit";
const ENVIRONMENT_RULE: &str = "1 to 55 of a-z 0-9 _ -";
const URI_RULE: &str = "a URI is a scheme, a colon and more, in printable ASCII, at most 255";
const DNS_RULE: &str = "a DNS name is labels of a-z 0-9 - with dots between, at most 253, no \
                        wildcard, no address";

fn is_uri(scheme: &str, rest: &str, whole: &str) -> bool {
    let usual = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    scheme.as_bytes().first().is_some_and(u8::is_ascii_alphabetic)
        && scheme.bytes().all(usual)
        && !rest.is_empty()
        && rest.bytes().all(|byte| byte.is_ascii_graphic())
        && whole.len() <= CertificateName::MAX_URI_BYTES
}

fn is_dns_name(text: &str) -> bool {
    let usual = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(usual)
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    // A last label of digits makes it an IPv4 address: RFC 1123 section 2.1.
    let last = text.rsplit('.').next().unwrap_or(text);
    text.len() <= CertificateName::MAX_DNS_BYTES
        && text.split('.').all(is_label)
        && !last.bytes().all(|byte| byte.is_ascii_digit())
}

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

impl fmt::Display for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for CertificateName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// A text that is no name of its sort.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {what}: {rule}")]
pub struct NameError {
    what: &'static str,
    text: String,
    rule: &'static str,
}

impl NameError {
    fn new(what: &'static str, text: &str, rule: &'static str) -> Self {
        Self { what, text: text.chars().take(256).collect(), rule }
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

    #[test]
    fn a_certificate_name_is_a_uri_or_a_dns_name() {
        let parse = |text: &str| text.parse::<CertificateName>();
        let uri = "spiffe://mpc.example/party/0";
        assert_eq!(parse(uri), Ok(CertificateName::Uri(uri.into())));
        let dns = "party-0.mpc.example";
        assert_eq!(parse(dns), Ok(CertificateName::Dns(dns.into())));
        let long_label = format!("{}.example", "x".repeat(64));
        for bad in [
            "",
            "*.example",
            "a..b",
            "A.example",
            "a_b",
            "-a",
            "10.0.0.1",
            "a b",
            "a.",
            &long_label,
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        for bad in ["spiffe:", ":x", "1a:x", "a:b c", "a:\u{7f}", "a:ä", "::1"] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
