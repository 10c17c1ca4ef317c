//! What PostgreSQL or the way to it complained about.

use std::{fmt, io};

/// A failure at the database, reduced to what may be shown.
///
/// # Secrecy
/// The driver's own errors carry the server's DETAIL, which quotes values of the row that
/// failed, shares among them. Only code, message, table and constraint are kept here.
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

    /// Whether the server has no room on one of its disks.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.code() == Some(DISK_FULL)
    }

    /// Whether the data are at fault: then trying again does not help.
    ///
    /// Classes 22 (data), 23 (constraint) and P0 (raised by a trigger).
    #[must_use]
    pub fn is_about_data(&self) -> bool {
        self.code()
            .is_some_and(|code| ["22", "23", "P0"].iter().any(|class| code.starts_with(class)))
    }
}

/// SQLSTATE of a disk without room.
const DISK_FULL: &str = "53100";
/// SQLSTATEs of a session that is ended: by an administrator, by a crash, by a lost socket; and
/// of one that a starting or stopping server does not begin.
const ENDED: [&str; 6] = ["57P01", "57P02", "57P03", "08000", "08003", "08006"];
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
                code: error.code().map(|code| code.into_owned()),
                message: error.message().to_owned(),
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
