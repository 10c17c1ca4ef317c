//! Why there is no connection.

use std::time::Duration;

use reshare_files::fault::Refusable;

use crate::error::DatabaseError;

/// Why there is no connection. Never holds a URL or a password.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The URL cannot be read.
    #[error("the database URL cannot be used: {reason}")]
    BadUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// A variable, or a line of a service file, cannot be used.
    #[error("{place} cannot be used: {reason}")]
    BadSetting {
        /// The variable or the line.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// TLS does not come about as it was asked for, so nothing was sent.
    #[error("no protected connection to PostgreSQL at {server}: {reason}")]
    Tls {
        /// Server, database and user.
        server: String,
        /// What TLS says.
        reason: String,
    },
    /// A pooler gives each transaction, or each statement, to any process of the server.
    #[error(
        "PostgreSQL at {server} is behind a pooler that does not keep sessions: statements of one \
         connection reach several processes of the server"
    )]
    Pooled {
        /// Server, database and user.
        server: String,
    },
    /// No server is of the kind that `target_session_attrs` asks for.
    #[error("PostgreSQL at {server}: no server is as target_session_attrs asks for")]
    OtherKind {
        /// Servers, database and user.
        server: String,
    },
    /// No server answers, or it does not speak PostgreSQL's protocol.
    #[error("cannot reach PostgreSQL at {server}")]
    Unreachable {
        /// Server, database and user.
        server: String,
        /// What happened.
        #[source]
        source: DatabaseError,
    },
    /// The connection timed out.
    #[error("PostgreSQL at {server} did not answer within {after:?}")]
    TimedOut {
        /// Server, database and user.
        server: String,
        /// The time limit.
        after: Duration,
    },
    /// The user or the password is wrong, or the server's rules do not let the user in.
    #[error("PostgreSQL at {server} does not let the user in")]
    Denied {
        /// Server, database and user.
        server: String,
        /// What the server says.
        #[source]
        source: DatabaseError,
    },
    /// The server has no such database.
    #[error("PostgreSQL at {server} has no such database")]
    NoSuchDatabase {
        /// Server, database and user.
        server: String,
        /// What the server says.
        #[source]
        source: DatabaseError,
    },
    /// All connections the server allows are taken.
    #[error("PostgreSQL at {server} has no connection left: give -j fewer")]
    NoConnectionLeft {
        /// Server, database and user.
        server: String,
        /// What the server says.
        #[source]
        source: DatabaseError,
    },
    /// The server refuses for another reason.
    #[error("PostgreSQL at {server} refuses the connection")]
    Refused {
        /// Server, database and user.
        server: String,
        /// What the server says.
        #[source]
        source: DatabaseError,
    },
}

impl ConnectError {
    pub(super) fn bad_setting(place: &str, reason: &str) -> Self {
        Self::BadSetting { place: place.to_owned(), reason: reason.to_owned() }
    }
}

/// A server that is not there may come back; one that says no says so again.
impl Refusable for ConnectError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::BadUrl { .. }
            | Self::BadSetting { .. }
            | Self::Tls { .. }
            | Self::Pooled { .. }
            | Self::Denied { .. }
            | Self::NoSuchDatabase { .. } => true,
            Self::OtherKind { .. }
            | Self::Unreachable { .. }
            | Self::TimedOut { .. }
            | Self::NoConnectionLeft { .. }
            | Self::Refused { .. } => false,
        }
    }
}
