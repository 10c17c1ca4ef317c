//! The list of ids that accompanies a session file, for a session about scattered rows.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use reshare_files::fault::Refusable;
use reshare_files::file_error::{FileError, OnFile};
use reshare_files::ids::IdRange;
use reshare_files::input_file::{BYTE_ORDER_MARK, open_input, without_line_end};

use super::{Session, SessionIds};

const READ: &str = "read the list of ids";

/// The longest line that can be an id, with its line end: `-9223372036854775808\r\n`.
const MAX_LINE_BYTES: u64 = 22;

/// Ids from a file with one decimal id a line, strictly ascending. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdList {
    ids: Vec<i64>,
    digest: [u8; 32],
}

impl IdList {
    /// Reads a list.
    ///
    /// # Errors
    /// An [`IdListError`] that names the file, and the line if one is at fault.
    pub fn load(path: &Path) -> Result<Self, IdListError> {
        let mut reader = BufReader::new(open_input(path).on(READ, path)?);
        if reader.fill_buf().on(READ, path)?.starts_with(BYTE_ORDER_MARK) {
            reader.consume(BYTE_ORDER_MARK.len());
        }
        let (mut ids, mut line_bytes) = (Vec::new(), Vec::new());
        let mut digest = blake3::Hasher::new();
        for line in 1_u64.. {
            line_bytes.clear();
            let mut limited = reader.by_ref().take(MAX_LINE_BYTES);
            if limited.read_until(b'\n', &mut line_bytes).on(READ, path)? == 0 {
                break;
            }
            let id = parse_line(&line_bytes);
            let id = id.ok_or_else(|| IdListError::Line { path: path.to_owned(), line })?;
            if ids.last().is_some_and(|last| *last >= id) {
                return Err(IdListError::Order { path: path.to_owned(), line, id });
            }
            digest.update(&id.to_le_bytes());
            ids.push(id);
        }
        if ids.is_empty() {
            return Err(IdListError::Empty { path: path.to_owned() });
        }
        Ok(Self { ids, digest: *digest.finalize().as_bytes() })
    }

    /// Reads a list, which must be the one that a session names.
    ///
    /// # Errors
    /// As [`IdList::load`], and [`IdListError::NoList`] or [`IdListError::Other`] when the
    /// session is about a range or another list.
    pub fn load_for(path: &Path, session: &Session) -> Result<Self, IdListError> {
        let list = Self::load(path)?;
        match session.ids() {
            SessionIds::Range(range) => Err(IdListError::NoList { range: *range }),
            ids if *ids == list.session_ids() => Ok(list),
            SessionIds::List { count, .. } => Err(IdListError::Other {
                path: path.to_owned(),
                got: list.ids.len() as u64,
                expected: *count,
            }),
        }
    }

    /// The ids, strictly ascending.
    #[must_use]
    pub fn ids(&self) -> &[i64] {
        &self.ids
    }

    /// The ids in a range, strictly ascending.
    #[must_use]
    pub fn within(&self, range: IdRange) -> &[i64] {
        let start = self.ids.partition_point(|id| *id < range.first());
        let end = self.ids.partition_point(|id| *id <= range.last());
        &self.ids[start..end]
    }

    /// The range from the first id to the last.
    #[must_use]
    pub fn range(&self) -> IdRange {
        IdRange::of(&self.ids).unwrap_or(IdRange::ALL)
    }

    /// What a session says about this list.
    #[must_use]
    pub fn session_ids(&self) -> SessionIds {
        SessionIds::List { digest: self.digest, count: self.ids.len() as u64 }
    }
}

/// Reads digits after an optional minus, and a line end of either kind.
fn parse_line(line: &[u8]) -> Option<i64> {
    let whole = line.ends_with(b"\n") || (line.len() as u64) < MAX_LINE_BYTES;
    let line = without_line_end(line);
    let digits = line.strip_prefix(b"-").unwrap_or(line);
    // The standard library also accepts a plus and leading zeros, but a list has one spelling.
    let usual = digits.first().is_some_and(|first| (b'1'..=b'9').contains(first)) || line == b"0";
    let text = std::str::from_utf8(line).ok().filter(|_| whole && usual)?;
    text.parse().ok()
}

/// Why a list of ids is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdListError {
    /// The file cannot be read.
    #[error(transparent)]
    Unreadable(#[from] FileError),
    /// A line that is no id.
    #[error("{}, line {line}: expected one decimal id of 64 bits and nothing else", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
    },
    /// An id that does not follow its predecessor.
    #[error("{}, line {line}: id {id} is not larger than the one before", path.display())]
    Order {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The id.
        id: i64,
    },
    /// No id at all.
    #[error("{} holds no id", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The session has no list.
    #[error("a list of ids was given, but the session is about the range {range}")]
    NoList {
        /// The session's range.
        range: IdRange,
    },
    /// The session has another list.
    #[error(
        "{} with {got} ids is not the list of this session, which has {expected} ids",
        path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// How many ids it has.
        got: u64,
        /// How many ids the session's list has.
        expected: u64,
    },
}

impl Refusable for IdListError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::samples;

    struct Scratch(tempfile::TempDir);

    impl Scratch {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a temporary directory"))
        }

        fn file(&self, text: &str) -> PathBuf {
            let path = self.0.path().join("ids");
            std::fs::write(&path, text).expect("written");
            path
        }

        fn refuse(&self, text: &str) -> IdListError {
            IdList::load(&self.file(text)).expect_err("must be refused")
        }
    }

    #[test]
    fn a_list_is_read_and_its_digest_is_over_the_ids() {
        let scratch = Scratch::new();
        let list = IdList::load(&scratch.file("-5\n0\n7\n9223372036854775807\n")).expect("valid");
        assert_eq!(list.ids(), [-5, 0, 7, i64::MAX]);
        let bytes: Vec<u8> = list.ids().iter().flat_map(|id| id.to_le_bytes()).collect();
        let digest = *blake3::hash(&bytes).as_bytes();
        assert_eq!(list.session_ids(), SessionIds::List { digest, count: 4 });
        let other = IdList::load(&scratch.file("-5\r\n0\r\n7\r\n9223372036854775807"));
        assert_eq!(other.expect("valid"), list);
        assert_eq!(list.within(IdRange::new(-5, 6).expect("in order")), [-5, 0]);
        assert_eq!(list.range(), IdRange::new(-5, i64::MAX).expect("in order"));
        assert!(list.within(IdRange::new(8, 9).expect("in order")).is_empty());
        let lowest = IdList::load(&scratch.file("-9223372036854775808\r\n")).expect("valid");
        assert_eq!(lowest.ids(), [i64::MIN]);
    }

    #[test]
    fn lines_that_are_no_ascending_ids_are_refused() {
        let scratch = Scratch::new();
        assert!(matches!(scratch.refuse(""), IdListError::Empty { .. }));
        assert!(matches!(scratch.refuse("2\n1\n"), IdListError::Order { line: 2, id: 1, .. }));
        assert!(matches!(scratch.refuse("1\n1\n"), IdListError::Order { line: 2, .. }));
        for bad in ["\n", "1\n\n", "x\n", "+1\n", "01\n", "-0\n", " 1\n", "1,2\n", "# ids\n"] {
            assert!(matches!(scratch.refuse(bad), IdListError::Line { .. }), "{bad:?}");
        }
        let large = scratch.refuse("1\n9223372036854775808\n");
        assert!(matches!(large, IdListError::Line { line: 2, .. }));
        let missing = IdList::load(&scratch.0.path().join("missing"));
        assert!(matches!(missing, Err(IdListError::Unreadable(_))));
    }

    #[test]
    fn a_long_line_is_never_read_as_two_ids() {
        let scratch = Scratch::new();
        for digits in 20..50 {
            let line = "1".repeat(digits) + "\n";
            assert!(matches!(scratch.refuse(&line), IdListError::Line { line: 1, .. }), "{digits}");
            let mut padded = "0".repeat(digits);
            padded.push_str("12\n");
            assert!(matches!(scratch.refuse(&padded), IdListError::Line { line: 1, .. }));
        }
    }

    #[test]
    fn a_list_must_be_the_one_the_session_names() {
        let scratch = Scratch::new();
        let path = scratch.file("1\n2\n30\n");
        let list = IdList::load(&path).expect("valid");
        let mut facts = samples::facts();
        let range = Session::create(facts.clone()).expect("valid");
        assert!(matches!(IdList::load_for(&path, &range), Err(IdListError::NoList { .. })));
        facts.ids = list.session_ids();
        let session = Session::create(facts).expect("valid");
        assert_eq!(IdList::load_for(&path, &session).expect("the same"), list);
        let other = IdList::load_for(&scratch.file("1\n2\n31\n"), &session);
        assert!(matches!(other, Err(IdListError::Other { got: 3, expected: 3, .. })));
    }
}
