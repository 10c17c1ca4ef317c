//! Opens a connection to the servers of a plan.

use std::path::PathBuf;

use secrecy::ExposeSecret;
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{ConnectOptions, Connection, Row};

use super::dial::{self, DialError};
use super::plan::{Place, Plan, SessionKind, Target};
use super::{ConnectError, Protection, Shared};
use crate::error::DatabaseError;

/// Connects to the first server that is to be had and is of the kind that is wanted.
pub(super) async fn reach<'p>(
    plan: &'p Plan,
    shared: &Shared,
) -> Result<(PgConnection, &'p Target), ConnectError> {
    let passes: &[SessionKind] = match plan.session {
        SessionKind::PreferStandby => &[SessionKind::Standby, SessionKind::Any],
        ref kind => std::slice::from_ref(kind),
    };
    let mut last = None;
    for kind in passes {
        for target in &plan.targets {
            let failed = match open(plan, shared, target).await {
                Ok(mut connection) => match is_of_kind(&mut connection, *kind).await {
                    Ok(true) => return Ok((connection, target)),
                    Ok(false) => ConnectError::OtherKind { server: plan.to_string() },
                    Err(error) => failure(plan, error),
                },
                Err(error) => error,
            };
            match failed {
                // Another server would say the same of the password.
                error @ (ConnectError::Denied { .. } | ConnectError::NoSuchDatabase { .. }) => {
                    return Err(error);
                }
                error => last = Some(error),
            }
        }
    }
    Err(last.expect("a plan has at least one server"))
}

async fn is_of_kind(connection: &mut PgConnection, kind: SessionKind) -> Result<bool, sqlx::Error> {
    if kind == SessionKind::Any {
        return Ok(true);
    }
    let sql = "SELECT pg_catalog.pg_is_in_recovery(), \
               pg_catalog.current_setting('default_transaction_read_only') = 'on'";
    let row = sqlx::raw_sql(sql).fetch_one(connection).await?;
    let (is_standby, is_read_only): (bool, bool) = (row.try_get(0)?, row.try_get(1)?);
    Ok(match kind {
        SessionKind::Any | SessionKind::PreferStandby => true,
        SessionKind::Primary => !is_standby,
        SessionKind::Standby => is_standby,
        SessionKind::ReadWrite => !is_standby && !is_read_only,
        SessionKind::ReadOnly => is_standby || is_read_only,
    })
}

/// Connects to one server, by one of its addresses.
pub(super) async fn open(
    plan: &Plan,
    shared: &Shared,
    target: &Target,
) -> Result<PgConnection, ConnectError> {
    let limit = plan.connect_timeout;
    let timed_out = || ConnectError::TimedOut { server: plan.to_string(), after: limit };
    let addresses = match &target.place {
        Place::Socket(folder) => {
            let signed_on = sign_on(plan, target, folder.clone());
            let connection =
                tokio::time::timeout(limit, signed_on).await.map_err(|_| timed_out())?;
            let connection = connection.map_err(|error| failure(plan, error))?;
            shared.set_protection(Protection::Local);
            return Ok(connection);
        }
        Place::Tcp { .. } => tokio::time::timeout(limit, dial::addresses(target)).await,
    };
    let io_failure = |error: std::io::Error| {
        let source = DatabaseError::of_way(&error);
        ConnectError::Unreachable { server: plan.to_string(), source }
    };
    let mut last = None;
    for address in addresses.map_err(|_| timed_out())?.map_err(io_failure)? {
        let opened = async {
            let (stream, protection) = dial::open(plan, target, address).await?;
            let folder =
                dial::relay(stream, target.port, shared.given_up.subscribe(), plan.to_string())?;
            Ok::<_, DialError>((folder, protection))
        };
        let signed_on = async {
            let (folder, protection) = opened.await.map_err(|error| match error {
                DialError::Io(error) => io_failure(error),
                DialError::Tls(reason) => ConnectError::Tls { server: plan.to_string(), reason },
            })?;
            let connection = sign_on(plan, target, folder).await;
            Ok((connection.map_err(|error| failure(plan, error))?, protection))
        };
        match tokio::time::timeout(limit, signed_on).await {
            Ok(Ok((connection, protection))) => {
                shared.set_protection(protection);
                return Ok(connection);
            }
            Ok(Err(error @ ConnectError::Unreachable { .. })) => last = Some(error),
            Ok(Err(error)) => return Err(error),
            Err(_) => last = Some(timed_out()),
        }
    }
    let none = || io_failure(std::io::Error::other("the host has no address"));
    Err(last.unwrap_or_else(none))
}

/// Signs on over the socket in a directory. Statements are not kept under a name: a pooler would
/// keep them for others.
async fn sign_on(
    plan: &Plan,
    target: &Target,
    folder: PathBuf,
) -> Result<PgConnection, sqlx::Error> {
    let options = PgConnectOptions::new_without_pgpass()
        .socket(folder)
        .port(target.port)
        .username(&plan.user)
        .database(&plan.database)
        .application_name(&plan.application_name)
        .ssl_mode(PgSslMode::Disable)
        .extra_float_digits(None)
        .statement_cache_capacity(0)
        .disable_statement_logging();
    let options = match &target.password {
        Some(password) => options.password(password.expose_secret()),
        None => options,
    };
    let options = match plan.options.is_empty() {
        true => options,
        false => options.options(plan.options.iter().map(|(name, value)| (name, value))),
    };
    PgConnection::connect_with(&options).await
}

/// What an error of the driver means for a connection.
pub(super) fn failure(plan: &Plan, error: sqlx::Error) -> ConnectError {
    let (server, source) = (plan.to_string(), DatabaseError::from(error));
    match source.code() {
        Some("28000" | "28P01") => ConnectError::Denied { server, source },
        Some("3D000") => ConnectError::NoSuchDatabase { server, source },
        Some("53300") => ConnectError::NoConnectionLeft { server, source },
        Some(_) => ConnectError::Refused { server, source },
        None => ConnectError::Unreachable { server, source },
    }
}
