//! What PostgreSQL or the way to it complained about.

use std::{fmt, io};

use reshare_files::fault::Refusable;

/// A failure at the database, reduced to what may be shown.
///
/// # Secrecy
/// The driver's own errors carry the server's DETAIL, which quotes values of the row that
/// failed, shares among them. Only code, message and constraint are kept here, and of the
/// message, which a trigger may have written, no more than `shown` lets through.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseError {
    code: Option<String>,
    message: String,
    constraint: Option<Box<str>>,
    is_connection_lost: bool,
}

impl DatabaseError {
    /// The five-character SQLSTATE, when the server itself answered.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    /// Of a way to the server that does not come about, or that ends.
    pub(super) fn of_way(error: &io::Error) -> Self {
        Self {
            code: None,
            message: error.to_string(),
            constraint: None,
            is_connection_lost: BROKEN.contains(&error.kind()),
        }
    }

    /// The constraint that was violated, if it was one.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        self.constraint.as_deref()
    }

    /// Whether a connection that was there ended, or is not to be had for the moment: the
    /// server stops or starts, an administrator ended it, or the way to it broke.
    #[must_use]
    pub fn is_connection_lost(&self) -> bool {
        self.is_connection_lost
    }

    /// Whether the server has undone the transaction in favour of another one, or of what it has to
    /// replay as a standby: the same transaction may succeed now.
    #[must_use]
    pub fn is_undone_for_others(&self) -> bool {
        matches!(self.code(), Some("40001" | "40P01"))
    }

    /// Whether the server finds what it has stored damaged.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.code().is_some_and(|code| DAMAGE.contains(&code))
    }

    /// Whether a lock was waited for in vain.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        self.code() == Some("55P03")
    }

    /// Whether the server has no room on one of its disks.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.code() == Some(DISK_FULL)
    }
}

/// A refusal is about the data: classes 22 (data), 23 (constraint) and P0 (raised by a trigger).
impl Refusable for DatabaseError {
    fn is_refusal(&self) -> bool {
        self.code()
            .is_some_and(|code| ["22", "23", "P0"].iter().any(|class| code.starts_with(class)))
    }
}

/// SQLSTATEs of data or of an index that the server finds damaged.
pub(super) const DAMAGE: [&str; 2] = ["XX001", "XX002"];
/// SQLSTATE of a disk without room.
const DISK_FULL: &str = "53100";
/// SQLSTATEs of a session that is ended: by an administrator, by a crash, for being idle, by a lost
/// socket; and
/// of one that a starting or stopping server does not begin.
const ENDED: [&str; 8] = ["57P01", "57P02", "57P03", "57P05", "25P03", "08000", "08003", "08006"];
/// How a connection that was there ends.
const BROKEN: [io::ErrorKind; 4] = [
    io::ErrorKind::UnexpectedEof,
    io::ErrorKind::ConnectionReset,
    io::ErrorKind::ConnectionAborted,
    io::ErrorKind::BrokenPipe,
];

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self {
                is_connection_lost: error.code().is_some_and(|code| ENDED.contains(&&*code)),
                message: shown(error.message(), error.code().as_deref()),
                code: error.code().map(|code| code.into_owned()),
                constraint: error.constraint().map(Box::from),
            },
            sqlx::Error::Io(error) if BROKEN.contains(&error.kind()) => Self {
                code: None,
                message: format!("the connection to the server was lost: {error}"),
                constraint: None,
                is_connection_lost: true,
            },
            other => Self {
                code: None,
                message: other.to_string(),
                constraint: None,
                is_connection_lost: false,
            },
        }
    }
}

/// What a message may say: a trigger's RAISE can quote the row that it refuses.
///
/// Whatever the code, since RAISE may give any, digits that spell bytes are left out: runs that
/// are longer than any name or UUID. Where the code says that a procedure raised it (class P0),
/// only the beginning is kept, too: there are more ways to spell bytes.
fn shown(message: &str, code: Option<&str>) -> String {
    let mut told = String::with_capacity(message.len());
    for piece in message.split_inclusive(|c: char| !is_digit(c)) {
        let run = piece.trim_end_matches(|c: char| !is_digit(c));
        let is_hex = run.bytes().all(|byte| byte.is_ascii_hexdigit());
        let most = if is_hex { MAX_HEX } else { MAX_RUN };
        let spells_bytes = run.len() > most || run.contains("\\x");
        told.push_str(if spells_bytes { LEFT_OUT } else { run });
        told.push_str(&piece[run.len()..]);
    }
    if code.is_some_and(|code| code.starts_with("P0"))
        && let Some((end, _)) = told.char_indices().nth(MAX_RAISED)
    {
        told.truncate(end);
        told.push_str("...");
    }
    told
}

/// Hexadecimal, base64, and the escapes of bytea.
fn is_digit(c: char) -> bool {
    c.is_ascii_alphanumeric() || ['+', '/', '=', '\\'].contains(&c)
}

/// Stands for digits that are not shown.
const LEFT_OUT: &str = "[bytes left out]";
/// A UUID without its dashes.
const MAX_HEX: usize = 32;
/// The longest name that PostgreSQL takes.
const MAX_RUN: usize = 63;
/// Characters of a message that a procedure raised.
const MAX_RAISED: usize = 200;

impl fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.code {
            Some(code) => write!(f, " (SQLSTATE {code})"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for DatabaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseError({self})")
    }
}

impl std::error::Error for DatabaseError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_spell_bytes_are_left_out_and_the_servers_own_words_stay() {
        let kept = [
            "relation \"SMPC_dev_0.irises\" does not exist",
            "could not extend file \"pg_tblspc/16384/PG_17_202406281/16385/16390\": No space left",
            "null value in column \"a_name_of_sixty_three_characters_which_is_the_longest_there_is__\"",
            "id 00000000-0000-0000-0000-0000000000ff, hash 0123456789abcdef0123456789abcdef",
        ];
        for message in kept {
            assert_eq!(shown(message, Some("53100")), message);
        }
        let base64 = "q83vEjRWeJASNFZ4kBI0VniQEjRWeJA+/zRWeJASNFZ4kBI0VniQEjRWeJASNA==";
        let escaped = "\\001\\002\\377".repeat(6);
        for bytes in ["\\xab01", "\\\\xab01", &"a1".repeat(17), base64, &escaped] {
            let told = shown(&format!("row (7,{bytes},\"{bytes}\") is bad"), Some("23514"));
            assert_eq!(told, "row (7,[bytes left out],\"[bytes left out]\") is bad");
        }
    }

    #[test]
    fn of_what_a_procedure_raises_the_beginning_is_shown() {
        let message = "\u{e9}1 ".repeat(500);
        assert_eq!(shown(&message, Some("53100")), message);
        let told = shown(&message, Some("P0001"));
        assert_eq!(told.chars().count(), 203);
        assert!(told.ends_with("..."), "{told}");
    }
}
