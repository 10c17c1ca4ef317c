//! PEM text around DER bytes, read and written without leaving copies of a key in memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// Base64 characters in a line, as OpenSSL writes them.
const LINE_CHARS: usize = 64;

const BEGIN: &str = "-----BEGIN ";
const END: &str = "-----END ";
const DASHES: &str = "-----";

/// Decodes the one block of a PEM text that must have the given label.
///
/// Text outside the block is refused, since a key file holds one key; white space is allowed.
///
/// # Secrecy
/// The bytes and all intermediate buffers are wiped when dropped.
///
/// # Errors
/// A [`PemError`]. It never holds any of the text except a label.
pub(super) fn decode(text: &str, label: &'static str) -> Result<Zeroizing<Vec<u8>>, PemError> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.next().ok_or(PemError::NoBlock { label })?;
    let got = first.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
    let got = got.ok_or(PemError::NoBlock { label })?;
    if got != label {
        return Err(PemError::Label { expected: label, got: printable(got) });
    }
    let mut base64 = Zeroizing::new(Vec::with_capacity(text.len()));
    let mut closed = false;
    for line in lines.by_ref() {
        if let Some(rest) = line.strip_prefix(END) {
            closed = rest.strip_suffix(DASHES) == Some(label);
            break;
        }
        base64.extend_from_slice(line.as_bytes());
    }
    if !closed {
        return Err(PemError::NoEnd { label });
    }
    if lines.next().is_some() {
        return Err(PemError::Trailing { label });
    }
    let room = base64::decoded_len_estimate(base64.len());
    let mut der = Zeroizing::new(vec![0; room]);
    let len = STANDARD.decode_slice(&*base64, &mut der).map_err(|_| PemError::Base64 { label })?;
    der.truncate(len);
    Ok(der)
}

/// Decodes the one block of a PEM text that may have any of the given labels.
///
/// # Errors
/// As [`decode`], by the first label.
pub(super) fn decode_one_of<const N: usize>(
    text: &str,
    labels: [&'static str; N],
) -> Result<(&'static str, Zeroizing<Vec<u8>>), PemError> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let got = first.strip_prefix(BEGIN).and_then(|rest| rest.strip_suffix(DASHES));
    let label = labels.into_iter().find(|label| got == Some(label)).unwrap_or(labels[0]);
    Ok((label, decode(text, label)?))
}

/// Cuts a text after its first PEM block; the rest is empty where no text but white space follows.
pub(super) fn first_block(text: &str) -> (&str, &str) {
    let after = text.find(END).map_or(text.len(), |end| {
        text[end..].find('\n').map_or(text.len(), |line_feed| end + line_feed + 1)
    });
    let (first, rest) = text.split_at(after);
    (first, rest.trim())
}

/// Encodes bytes as one PEM block that ends with a new line.
///
/// # Secrecy
/// The text is wiped when dropped.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let base64 = Zeroizing::new(STANDARD.encode(der));
    let line_breaks = base64.len() / LINE_CHARS + 1;
    let frame = 2 * (BEGIN.len() + label.len() + DASHES.len() + 1);
    let mut text = Zeroizing::new(String::with_capacity(base64.len() + line_breaks + frame));
    for part in [BEGIN, label, DASHES, "\n"] {
        text.push_str(part);
    }
    for (index, character) in base64.chars().enumerate() {
        if index > 0 && index.is_multiple_of(LINE_CHARS) {
            text.push('\n');
        }
        text.push(character);
    }
    for part in ["\n", END, label, DASHES, "\n"] {
        text.push_str(part);
    }
    text
}

/// A label that is safe to show: long or unusual text could be anything.
fn printable(label: &str) -> String {
    let usual = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == ' ';
    if label.len() <= 40 && label.chars().all(usual) { label.to_owned() } else { "?".to_owned() }
}

/// Why a text is not the PEM block that was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemError {
    /// It does not begin with a PEM block.
    #[error("expected a PEM block \"{label}\" and nothing before it")]
    NoBlock {
        /// The label that was expected.
        label: &'static str,
    },
    /// It is a block of another kind.
    #[error("expected a PEM block \"{expected}\", found \"{got}\"{}", label_hint(got))]
    Label {
        /// The label that was expected.
        expected: &'static str,
        /// The label that is there.
        got: String,
    },
    /// The block is not closed by its own label.
    #[error("the PEM block \"{label}\" has no end line of its own")]
    NoEnd {
        /// The label.
        label: &'static str,
    },
    /// There is something after the block.
    #[error("there is more after the PEM block \"{label}\": exactly one key is expected")]
    Trailing {
        /// The label.
        label: &'static str,
    },
    /// It is not canonical Base64.
    #[error("the PEM block \"{label}\" does not hold valid Base64")]
    Base64 {
        /// The label.
        label: &'static str,
    },
}

fn label_hint(got: &str) -> &'static str {
    match got {
        "EC PRIVATE KEY" | "EC PARAMETERS" => {
            " (openssl pkcs8 -topk8 -nocrypt turns such a key into a PKCS#8 file)"
        }
        "ENCRYPTED PRIVATE KEY" => " (a key with a passphrase is not supported)",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(der in prop::collection::vec(any::<u8>(), 0..300)) {
            let text = encode("PUBLIC KEY", &der);
            prop_assert!(text.lines().all(|line| !line.is_empty() || der.is_empty()));
            let back = decode(&text, "PUBLIC KEY");
            prop_assert_eq!(&*back.expect("just encoded"), &der);
        }
    }

    #[test]
    fn white_space_around_lines_does_not_matter() {
        let text = "\r\n -----BEGIN X-----\r\n\tAAEC \r\n AwQF\r\n-----END X-----\r\n\r\n";
        assert_eq!(*decode(text, "X").expect("valid"), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn other_texts_are_refused_by_what_is_wrong() {
        let refuse = |text: &str| decode(text, "X").expect_err("must be refused");
        assert_eq!(refuse(""), PemError::NoBlock { label: "X" });
        assert_eq!(refuse("AAEC"), PemError::NoBlock { label: "X" });
        let other = refuse("-----BEGIN Y-----\nAAEC\n-----END Y-----\n");
        assert_eq!(other, PemError::Label { expected: "X", got: "Y".into() });
        assert_eq!(refuse("-----BEGIN X-----\nAAEC\n"), PemError::NoEnd { label: "X" });
        let crossed = refuse("-----BEGIN X-----\nAAEC\n-----END Y-----\n");
        assert_eq!(crossed, PemError::NoEnd { label: "X" });
        let twice = "-----BEGIN X-----\nAAEC\n-----END X-----\n".repeat(2);
        assert_eq!(refuse(&twice), PemError::Trailing { label: "X" });
        for bad in ["AAE", "AAE*", "AA==AA==", "AAF=", "Proc-Type: 4,ENCRYPTED"] {
            let text = format!("-----BEGIN X-----\n{bad}\n-----END X-----\n");
            assert_eq!(refuse(&text), PemError::Base64 { label: "X" }, "{bad}");
        }
    }

    #[test]
    fn a_text_is_cut_after_its_first_block() {
        let block = "-----BEGIN X-----\nAAEC\n-----END X-----\n";
        assert_eq!(first_block(block), (block, ""));
        assert_eq!(first_block(&block.repeat(2)), (block, block.trim()));
        assert_eq!(first_block(&format!("{block} \r\n")), (block, ""));
        assert_eq!(first_block(block.trim()), (block.trim(), ""));
        assert_eq!(first_block("no block"), ("no block", ""));
    }

    #[test]
    fn a_label_that_could_be_a_secret_is_not_shown() {
        let error = decode("-----BEGIN hunter2-----\n", "X").expect_err("must be refused");
        assert!(!error.to_string().contains("hunter2"));
    }
}
