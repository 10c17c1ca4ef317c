//! A fingerprint as operators read it to each other: 16 groups of four digits, or 24 words.
//!
//! The words are those of BIP-39 for 256 bits: 11 bits each, the last 8 bits a checksum. Both forms
//! say all of the fingerprint, and every flag takes both.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use aws_lc_rs::digest;
use reshare_engine::fingerprint::Fingerprint;

/// The 2048 words in order, with the source and the licence as comments.
const LIST: &str = include_str!("words.txt");
/// Words of a fingerprint: 256 bits and a checksum of 8.
const WORDS: usize = 24;
const WORD_BITS: usize = 11;
/// Letters of a word in the list.
const WORD_LETTERS: RangeInclusive<usize> = 3..=8;
/// Groups of a fingerprint, and digits of a group.
const GROUPS: usize = 16;
const GROUP_DIGITS: usize = 4;
const DIGITS: usize = GROUPS * GROUP_DIGITS;

static LIST_WORDS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| LIST.lines().filter(|line| !line.starts_with('#')).collect());

/// A fingerprint in 16 groups of four hexadecimal digits.
#[must_use]
pub fn fingerprint_groups(fingerprint: &Fingerprint) -> String {
    let digits = fingerprint.to_string();
    let groups: Vec<&str> = (0..GROUPS).map(|group| group_of(&digits, group)).collect();
    groups.join(" ")
}

/// A fingerprint in 24 words of BIP-39.
#[must_use]
pub fn fingerprint_words(fingerprint: &Fingerprint) -> String {
    let bytes = with_checksum(fingerprint);
    let word = |place: usize| {
        let index = (0..WORD_BITS).fold(0, |index, bit| {
            let bit = place * WORD_BITS + bit;
            index << 1 | usize::from(bytes[bit / 8] >> (7 - bit % 8) & 1)
        });
        LIST_WORDS[index]
    };
    (0..WORDS).map(word).collect::<Vec<_>>().join(" ")
}

/// Reads a fingerprint as an operator types it when it is read aloud: digits or words.
///
/// Upper and lower case are the same; white space, colons and hyphens between digits or words are
/// skipped.
///
/// # Errors
/// A [`FingerprintError`] for anything but 64 hexadecimal digits or 24 words that belong together.
pub fn parse_fingerprint(text: &str) -> Result<Fingerprint, FingerprintError> {
    let is_separator = |c: char| c.is_whitespace() || c == ':' || c == '-';
    let tokens: Vec<String> = text
        .split(is_separator)
        .filter(|token| !token.is_empty())
        .map(str::to_ascii_lowercase)
        .collect();
    let digits = tokens.concat();
    let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    // Some words are of the letters a to f alone.
    let is_words = tokens.len() == WORDS && tokens.iter().all(|token| index_of(token).is_some());
    if is_hex && !is_words {
        return fingerprint_from_hex(&digits);
    }
    let is_word = |token: &String| {
        WORD_LETTERS.contains(&token.len()) && token.bytes().all(|byte| byte.is_ascii_lowercase())
    };
    if !tokens.iter().all(is_word) {
        return Err(FingerprintError::Digits { digits: digits.chars().count() });
    }
    from_words(&tokens)
}

/// Reads the one form that files hold: 64 hexadecimal digits in lower case.
///
/// # Errors
/// [`FingerprintError::Digits`] for anything else.
pub fn fingerprint_from_hex(text: &str) -> Result<Fingerprint, FingerprintError> {
    let mut bytes = [0; 32];
    let is_lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) if is_lower => Ok(Fingerprint(bytes)),
        _ => Err(FingerprintError::Digits { digits: text.chars().count() }),
    }
}

fn from_words(words: &[String]) -> Result<Fingerprint, FingerprintError> {
    let mut bits = Vec::with_capacity(WORDS * WORD_BITS);
    for (place, word) in words.iter().enumerate() {
        let index = index_of(word).ok_or_else(|| {
            let word = word.chars().take(MAX_SHOWN_CHARS).collect();
            FingerprintError::Unknown { place: place + 1, word }
        })?;
        bits.extend((0..WORD_BITS).rev().map(|bit| index >> bit & 1));
    }
    if words.len() != WORDS {
        return Err(FingerprintError::Count { words: words.len() });
    }
    let byte = |bits: &[usize]| bits.iter().fold(0_u8, |byte, bit| byte << 1 | u8::from(*bit == 1));
    let bytes: Vec<u8> = bits.chunks(8).map(byte).collect();
    let fingerprint = Fingerprint(std::array::from_fn(|place| bytes[place]));
    match with_checksum(&fingerprint)[..] == bytes {
        true => Ok(fingerprint),
        false => Err(FingerprintError::Checksum),
    }
}

/// The fingerprint and the first byte of its SHA-256, as BIP-39 has it.
fn with_checksum(fingerprint: &Fingerprint) -> [u8; 33] {
    let checksum = digest::digest(&digest::SHA256, &fingerprint.0).as_ref()[0];
    std::array::from_fn(|place| fingerprint.0.get(place).copied().unwrap_or(checksum))
}

fn index_of(word: &str) -> Option<usize> {
    LIST_WORDS.binary_search(&word).ok()
}

/// Digits of a group of 64.
fn group_of(digits: &str, group: usize) -> &str {
    &digits[group * GROUP_DIGITS..(group + 1) * GROUP_DIGITS]
}

/// The most characters of a text of unknown origin that an error repeats.
const MAX_SHOWN_CHARS: usize = 32;

/// A text that is no fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FingerprintError {
    /// Neither digits nor words.
    #[error(
        "a fingerprint is {DIGITS} hexadecimal digits or {WORDS} words, this is {digits} characters \
         or other ones"
    )]
    Digits {
        /// How many characters there are without separators.
        digits: usize,
    },
    /// Words, but not enough or too many.
    #[error("a fingerprint has {WORDS} words, these are {words}")]
    Count {
        /// How many there are.
        words: usize,
    },
    /// A word that is not in the list.
    #[error("word {place} of the fingerprint, {word:?}, is not in the list of BIP-39")]
    Unknown {
        /// Its place, from 1.
        place: usize,
        /// The word.
        word: String,
    },
    /// Words of the list that are no fingerprint together.
    #[error("these {WORDS} words are no fingerprint: one of them is wrong, or two are swapped")]
    Checksum,
}

/// A fingerprint that is not the one it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FingerprintMismatch {
    /// What has the fingerprint, such as `session`.
    pub what: &'static str,
    /// The one that was given.
    pub given: Fingerprint,
    /// The one that it has.
    pub found: Fingerprint,
}

impl FingerprintMismatch {
    /// Compares a fingerprint that was given with that of something.
    ///
    /// # Errors
    /// The mismatch, when they differ.
    pub fn check(what: &'static str, given: Fingerprint, found: Fingerprint) -> Result<(), Self> {
        if given == found { Ok(()) } else { Err(Self { what, given, found }) }
    }
}

impl std::error::Error for FingerprintMismatch {}

impl reshare_files::fault::Refusable for FingerprintMismatch {}

impl fmt::Display for FingerprintMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [given, found] = [self.given, self.found].map(|fingerprint| fingerprint.to_string());
        let differs = |group: &usize| group_of(&given, *group) != group_of(&found, *group);
        let group = (0..GROUPS).find(differs).unwrap_or_default();
        let [expected, got] = [&given, &found].map(|digits| group_of(digits, group));
        let what = self.what;
        write!(
            f,
            "the {what} has another fingerprint than the expected one: the first group that "
        )?;
        write!(f, "differs is number {} of {GROUPS}, {got} in place of {expected}. ", group + 1)?;
        let [given, found] = [self.given, self.found].map(|one| fingerprint_groups(&one));
        write!(f, "It is {found}; expected was {given}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_fingerprint_may_be_typed_in_groups() {
        let fingerprint = Fingerprint([0xab; 32]);
        let text = fingerprint.to_string();
        assert_eq!(parse_fingerprint(&text), Ok(fingerprint));
        assert_eq!(parse_fingerprint(&fingerprint_groups(&fingerprint)), Ok(fingerprint));
        let groups: Vec<&str> = (0..8).map(|group| &text[8 * group..8 * group + 8]).collect();
        assert_eq!(parse_fingerprint(&groups.join(" ").to_uppercase()), Ok(fingerprint));
        assert_eq!(parse_fingerprint(&groups.join("-")), Ok(fingerprint));
        assert_eq!(parse_fingerprint(&groups.join(":\n")), Ok(fingerprint));
        let digits = |digits| Err(FingerprintError::Digits { digits });
        assert_eq!(parse_fingerprint(&text[1..]), digits(63));
        assert_eq!(parse_fingerprint(&format!("{text}00")), digits(66));
        assert_eq!(parse_fingerprint(&text.replacen('a', "g", 1)), digits(64));
        assert_eq!(parse_fingerprint(""), digits(0));
    }

    #[test]
    fn files_hold_one_form_alone() {
        let fingerprint = Fingerprint([0xab; 32]);
        let text = fingerprint.to_string();
        assert_eq!(fingerprint_from_hex(&text), Ok(fingerprint));
        let words = fingerprint_words(&fingerprint);
        for other in [text.to_uppercase(), fingerprint_groups(&fingerprint), words] {
            assert!(fingerprint_from_hex(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn the_words_are_those_of_bip_39() {
        assert_eq!(LIST_WORDS.len(), 2048);
        assert!(LIST_WORDS.is_sorted());
        assert!(LIST_WORDS.iter().all(|word| WORD_LETTERS.contains(&word.len())));
        let lines: String = LIST_WORDS.iter().map(|word| format!("{word}\n")).collect();
        let sha256 = hex::encode(digest::digest(&digest::SHA256, lines.as_bytes()));
        assert!(LIST.contains(&sha256), "the comment in the list has another digest than {sha256}");
        // Test vectors of BIP-39 with 256 bits; the last word has the checksum.
        let winner = "legal winner thank year wave sausage worth";
        for (byte, words) in [
            (0x00, format!("{}art", "abandon ".repeat(23))),
            (0x7f, format!("{winner} useful {winner} useful {winner} title")),
            (0xff, format!("{}vote", "zoo ".repeat(23))),
        ] {
            let fingerprint = Fingerprint([byte; 32]);
            assert_eq!(fingerprint_words(&fingerprint), words);
            assert_eq!(parse_fingerprint(&words.to_uppercase()), Ok(fingerprint));
        }
    }

    #[test]
    fn words_that_are_no_fingerprint_are_refused() {
        let words = fingerprint_words(&Fingerprint([7; 32]));
        let list: Vec<&str> = words.split(' ').collect();
        let count = |words| Err(FingerprintError::Count { words });
        assert_eq!(parse_fingerprint(&list[1..].join(" ")), count(23));
        assert_eq!(parse_fingerprint(&format!("{words} zoo")), count(25));
        let mut unknown = list.clone();
        unknown[4] = "reshare";
        let word = "reshare".to_owned();
        let refused = Err(FingerprintError::Unknown { place: 5, word });
        assert_eq!(parse_fingerprint(&unknown.join(" ")), refused);
        let mut wrong = list.clone();
        wrong[4] = if wrong[4] == "zoo" { "zone" } else { "zoo" };
        // One changed word is found with 255 of 256 in each case; this one is.
        assert_eq!(parse_fingerprint(&wrong.join(" ")), Err(FingerprintError::Checksum));
    }

    #[test]
    fn a_mismatch_names_the_first_group_that_differs() {
        let given = Fingerprint([0xab; 32]);
        let mut found = given;
        assert_eq!(FingerprintMismatch::check("session", given, found), Ok(()));
        (found.0[9], found.0[20]) = (0xac, 0);
        let refused = FingerprintMismatch::check("session", given, found).expect_err("another");
        let text = refused.to_string();
        assert!(text.contains("number 5 of 16, abac in place of abab"), "{text}");
        for whole in [given, found] {
            assert!(text.contains(&fingerprint_groups(&whole)), "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_form_is_read_back(bytes: [u8; 32], separator in "[ :-]") {
            let fingerprint = Fingerprint(bytes);
            let groups = fingerprint_groups(&fingerprint);
            prop_assert_eq!(groups.split(' ').count(), 16);
            for text in [groups, fingerprint_words(&fingerprint)] {
                let text = text.replace(' ', &separator);
                prop_assert_eq!(parse_fingerprint(&text), Ok(fingerprint));
            }
        }
    }
}
