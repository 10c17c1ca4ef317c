//! Text of unknown origin, made harmless for a log.

use std::fmt::{self, Write};

/// Shows text in one line: what is not plain ASCII escaped, what is long cut off.
pub(super) struct Shown<'a>(pub(super) &'a str);

/// As much as a log line of one refusal needs.
const MAX_CHARS: usize = 300;

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut characters = self.0.chars();
        for character in characters.by_ref().take(MAX_CHARS) {
            match character {
                ' ' | '!'..='~' => f.write_char(character)?,
                other => write!(f, "{}", other.escape_default())?,
            }
        }
        if characters.next().is_some() { f.write_str("...") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_the_log_stays_one_line_and_short() {
        let shown = |text: &str| Shown(text).to_string();
        assert_eq!(shown("part 7: it's \"here\""), "part 7: it's \"here\"");
        assert_eq!(shown("a\r\nINFO b\x1b[2J\u{202e}"), "a\\r\\nINFO b\\u{1b}[2J\\u{202e}");
        let long = shown(&"\0".repeat(100_000));
        assert!(long.len() < 10 * MAX_CHARS && long.ends_with("..."), "{}", long.len());
    }
}
