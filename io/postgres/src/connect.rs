//! Connects to the database that a URL or the environment names.

use std::fmt;
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection};
use zeroize::Zeroizing;

use super::error::DatabaseError;
use super::pgpass::{Wanted, find_password};

/// The time limit for a connection, unless the URL or `PGCONNECT_TIMEOUT` sets another.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// The name of the connections in `pg_stat_activity`.
const APPLICATION_NAME: &str = "reshare";

/// The parameters that a URL may have. Any other is refused: the driver would log it with its value,
/// which may be the end of a password that was not percent-encoded.
const URL_PARAMETERS: &[&str] = &[
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];

/// A database to connect to.
///
/// # Secrecy
/// Holds the password; `Debug` and `Display` show only server, database and user.
#[derive(Clone)]
pub struct Database {
    options: PgConnectOptions,
    connect_timeout: Duration,
}

impl Database {
    /// Takes a URL, or else `DATABASE_URL`, or else the libpq variables.
    ///
    /// `postgres://user@host:port/database?sslmode=verify-full`; for a unix socket the `host`
    /// parameter, or the percent-encoded host, is a directory. What the URL leaves out comes from
    /// `PGHOST`, `PGPORT`, `PGUSER`, `PGDATABASE`, `PGPASSWORD`, `PGSSLMODE` and so on, a missing
    /// password from `PGPASSFILE` or `~/.pgpass`.
    ///
    /// # Errors
    /// [`ConnectError::BadUrl`], which does not quote the URL.
    pub fn resolve(url: Option<&SecretString>) -> Result<Self, ConnectError> {
        let from_environment;
        let url = match url {
            Some(url) => Some(url),
            None => {
                from_environment = std::env::var("DATABASE_URL").ok().map(SecretString::from);
                from_environment.as_ref()
            }
        };
        let parsed = match url {
            Some(url) => parse_url(url.expose_secret())?,
            None => from_variables(),
        };
        let mut options = parsed.options;
        if !parsed.has_password {
            options = with_password_from_file(options);
        }
        let options = options.application_name(APPLICATION_NAME).disable_statement_logging();
        let connect_timeout = parsed.connect_timeout.or_else(timeout_variable);
        let connect_timeout = connect_timeout.unwrap_or(DEFAULT_CONNECT_TIMEOUT);
        Ok(Self { options, connect_timeout })
    }

    /// Connects, and lifts time limits of the server that are meant for short queries.
    ///
    /// # Errors
    /// A [`ConnectError`] that names the server.
    pub fn connect<'a>(&'a self) -> BoxFuture<'a, Result<PgConnection, ConnectError>> {
        Box::pin(async move {
            let opened = async {
                let mut connection = PgConnection::connect_with(&self.options).await?;
                sqlx::raw_sql(SESSION_SETTINGS).execute(&mut connection).await?;
                Ok::<_, sqlx::Error>(connection)
            };
            match tokio::time::timeout(self.connect_timeout, opened).await {
                Ok(Ok(connection)) => Ok(connection),
                Ok(Err(error)) => Err(self.failure(error)),
                Err(_) => {
                    let (server, after) = (self.to_string(), self.connect_timeout);
                    Err(ConnectError::TimedOut { server, after })
                }
            }
        })
    }

    /// As [`Database::connect`], but read-only: the server refuses statements that change anything.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub fn connect_read_only<'a>(&'a self) -> BoxFuture<'a, Result<PgConnection, ConnectError>> {
        Box::pin(async move {
            let mut connection = self.connect().await?;
            let set = sqlx::raw_sql("SET default_transaction_read_only = on");
            set.execute(&mut connection).await.map_err(|error| self.failure(error))?;
            Ok(connection)
        })
    }

    fn failure(&self, error: sqlx::Error) -> ConnectError {
        let (server, source) = (self.to_string(), DatabaseError::from(error));
        match source.code() {
            Some("28000" | "28P01") => ConnectError::Denied { server, source },
            Some("3D000") => ConnectError::NoSuchDatabase { server, source },
            Some("53300") => ConnectError::NoConnectionLeft { server, source },
            Some(_) => ConnectError::Refused { server, source },
            None => ConnectError::Unreachable { server, source },
        }
    }
}

/// Only limits that are set are changed, since the server's version decides which exist. With
/// `row_security` off, a policy that would hide rows is an error and not a short export. Warnings
/// and notices are turned off: a trigger's may quote the row, and nothing reads them while rows are
/// sent, so many of them would make server and client block each other.
const SESSION_SETTINGS: &str = "\
    SELECT set_config(name, '0', false) FROM pg_catalog.pg_settings \
    WHERE setting <> '0' AND name IN ('statement_timeout', 'lock_timeout', 'transaction_timeout', \
        'idle_in_transaction_session_timeout', 'idle_session_timeout'); \
    SELECT set_config(name, 'on', false) FROM pg_catalog.pg_settings \
    WHERE setting = 'off' AND name = 'synchronous_commit'; \
    SET row_security = off; SET client_min_messages = error";

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.options.get_username();
        let database = self.options.get_database().unwrap_or(user);
        match self.options.get_socket() {
            Some(socket) => write!(f, "{}", socket.display())?,
            None => f.write_str(self.options.get_host())?,
        }
        write!(f, ":{}/{database} as {user}", self.options.get_port())
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

/// The settings of a URL or the environment.
struct Parsed {
    options: PgConnectOptions,
    has_password: bool,
    connect_timeout: Option<Duration>,
}

fn from_variables() -> Parsed {
    let has_password = std::env::var_os("PGPASSWORD").is_some();
    let options = PgConnectOptions::new_without_pgpass();
    Parsed { options, has_password, connect_timeout: None }
}

fn parse_url(url: &str) -> Result<Parsed, ConnectError> {
    let rest = url.strip_prefix("postgres://").or_else(|| url.strip_prefix("postgresql://"));
    let rest =
        rest.ok_or_else(|| bad_url("it does not begin with postgres:// or postgresql://"))?;
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    // Otherwise the end of a password would be taken for a database name and shown.
    if rest[authority.len()..].contains(['@', '#']) || authority.matches('@').count() > 1 {
        return Err(bad_url(
            "'@', '/', '?' and '#' within a name or a password must be percent-encoded",
        ));
    }
    let (before, query) = url.split_once('?').unwrap_or((url, ""));
    let (mut parameters, connect_timeout) = checked_parameters(query)?;
    let in_authority = authority.split_once('@').is_some_and(|(user, _)| user.contains(':'));
    let has_password = in_authority
        || parameters.iter().any(|parameter| parameter.starts_with("password="))
        || std::env::var_os("PGPASSWORD").is_some();
    if !has_password {
        // With any password, even an empty one, the driver does not read the password file.
        parameters.push("password=");
    }
    let driver_url = Zeroizing::new(format!("{before}?{}", parameters.join("&")));
    let options = driver_url.parse().map_err(|error: sqlx::Error| bad_url(&error.to_string()))?;
    Ok(Parsed { options, has_password, connect_timeout })
}

/// Removes `connect_timeout` from the parameters: the driver does not know it.
fn checked_parameters(query: &str) -> Result<(Vec<&str>, Option<Duration>), ConnectError> {
    let (mut kept, mut connect_timeout) = (vec![], None);
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key == "connect_timeout" {
            let seconds = value.parse().map_err(|_| bad_url("connect_timeout is no number"))?;
            connect_timeout = Some(timeout_of(seconds));
        } else if URL_PARAMETERS.contains(&key) {
            kept.push(parameter);
        } else {
            let known = URL_PARAMETERS.join(", ");
            return Err(bad_url(&format!(
                "it has an unknown parameter; known are connect_timeout, {known}"
            )));
        }
    }
    Ok((kept, connect_timeout))
}

/// Zero means no limit, as in libpq.
fn timeout_of(seconds: u64) -> Duration {
    if seconds == 0 { Duration::MAX } else { Duration::from_secs(seconds) }
}

fn timeout_variable() -> Option<Duration> {
    std::env::var("PGCONNECT_TIMEOUT").ok()?.parse().ok().map(timeout_of)
}

fn with_password_from_file(options: PgConnectOptions) -> PgConnectOptions {
    let socket = options.get_socket().map(|socket| socket.to_string_lossy().into_owned());
    let host = socket.unwrap_or_else(|| options.get_host().to_owned());
    let user = options.get_username();
    let wanted = Wanted {
        // In the file, this name means the socket in its default directory.
        host: if DEFAULT_SOCKETS.contains(&host.as_str()) { "localhost" } else { &host },
        port: options.get_port(),
        database: options.get_database().unwrap_or(user),
        user,
    };
    match find_password(&wanted) {
        Some(password) => options.password(password.expose_secret()),
        None => options,
    }
}

/// Where servers put their socket by default.
const DEFAULT_SOCKETS: &[&str] = &["/var/run/postgresql", "/run/postgresql", "/tmp"];

fn bad_url(reason: &str) -> ConnectError {
    ConnectError::BadUrl { reason: reason.to_owned() }
}

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
    /// No server answers, or it does not speak PostgreSQL's protocol or the requested TLS.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(url: &str) -> Result<Database, ConnectError> {
        Database::resolve(Some(&SecretString::from(url)))
    }

    #[test]
    fn urls_give_servers_without_their_password() {
        let database = resolve("postgres://op:geheim@db.example:5433/iris?sslmode=require");
        let database = database.expect("a good URL");
        assert_eq!(database.to_string(), "db.example:5433/iris as op");
        assert_eq!(format!("{database:?}"), "Database(db.example:5433/iris as op)");
        let socket = resolve("postgresql:///iris?host=/run/pg&user=op&password=geheim&port=5432");
        assert_eq!(socket.expect("a good URL").to_string(), "/run/pg:5432/iris as op");
        let socket = resolve("postgresql://op@%2Frun%2Fpg:5432/iris").expect("a good URL");
        assert_eq!(socket.to_string(), "/run/pg:5432/iris as op");
    }

    #[test]
    fn no_part_of_a_password_that_was_not_encoded_is_shown() {
        let bad = [
            "postgres://op:gehe/im@db/iris",
            "postgres://op:123/geheim@db/iris",
            "postgres://op:123?geheim@db/iris",
            "postgres://op:123#geheim@db/iris",
            "postgres://op:123#geheim",
            "postgres://op:geh@eim@db/iris",
            "postgres://op@db/iris?passwort=geheim",
            "postgres://op:1?geheim",
            "postgres://op:geheim@db:99999/iris",
            "postgres://op:geheim@db/iris?sslmode=perhaps",
            "postgres://op:%ffgeheim@db/iris",
            "mysql://op:geheim@db/iris",
            "geheim",
        ];
        for url in bad {
            let error = resolve(url).expect_err(url);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("geh") && !shown.contains("eim@"), "{shown}");
            assert!(matches!(error, ConnectError::BadUrl { .. }));
        }
    }

    #[test]
    fn the_time_to_connect_is_a_parameter_too() {
        let database = resolve("postgres://op@db/iris?connect_timeout=3&sslmode=disable");
        assert_eq!(database.expect("a good URL").connect_timeout, Duration::from_secs(3));
        assert_eq!(timeout_of(0), Duration::MAX);
    }
}
