//! The name in a certificate that identifies a party.

use std::fmt;
use std::str::FromStr;

use crate::keys::NameError;

/// The one name in a certificate that identifies a party. It is matched exactly.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum CertificateName {
    /// A DNS name in lower case, without wildcard.
    Dns(String),
    /// A URI, such as a SPIFFE id. Its colon distinguishes it from a DNS name.
    Uri(String),
}

impl CertificateName {
    /// The longest URI, in bytes.
    pub const MAX_URI_BYTES: usize = 255;
    /// The longest DNS name, in bytes.
    pub const MAX_DNS_BYTES: usize = 253;

    /// The name, without its kind.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Dns(name) | Self::Uri(name) => name,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

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
