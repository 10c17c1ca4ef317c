//! What PostgreSQL or the way to it complained about.

use std::fmt;

/// A failure at the database, reduced to what may be shown.
///
/// # Secrecy
/// The driver's own errors carry the server's DETAIL, which quotes values of the row that
/// failed, shares among them. Only code, message, table and constraint are kept here.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseError {
    code: Option<String>,
    message: String,
    constraint: Option<String>,
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

    /// Whether the data are at fault: then trying again does not help.
    ///
    /// Classes 22 (data), 23 (constraint) and P0 (raised by a trigger).
    #[must_use]
    pub fn is_about_data(&self) -> bool {
        self.code()
            .is_some_and(|code| ["22", "23", "P0"].iter().any(|class| code.starts_with(class)))
    }
}

impl From<sqlx::Error> for DatabaseError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::Database(error) => Self {
                code: error.code().map(|code| code.into_owned()),
                message: error.message().to_owned(),
                constraint: error.constraint().map(str::to_owned),
            },
            other => Self { code: None, message: other.to_string(), constraint: None },
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
