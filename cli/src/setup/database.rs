//! Databases, tables, and how many work on them.

use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::workers::Workers;
use reshare_postgres::connect::Database;
use reshare_postgres::table::{TableName, TableSpec};
use secrecy::SecretString;

use crate::args::WorkArgs;
use crate::argv::ENV_PREFIX;
use crate::failure::Failure;

/// The table of one party, in its own schema or another one.
pub(crate) fn table_of(
    session: &Session,
    party: PartyId,
    schema: Option<&str>,
) -> Result<TableSpec, Failure> {
    let schema = schema.map_or_else(|| session.database_schema(party), str::to_owned);
    let name = TableName::new(&schema, session.table()).map_err(Failure::usage)?;
    let layout = Arc::clone(session.layout());
    TableSpec::new(name, session.id_column(), layout).map_err(Failure::usage)
}

/// Finds a database: a URL, a variable that holds one, or the environment's defaults.
pub(crate) fn database(url: Option<&str>) -> Result<Database, Failure> {
    let url = match url.map(|url| (url, url.strip_prefix(ENV_PREFIX))) {
        None => None,
        Some((url, None)) => Some(SecretString::from(url)),
        Some((_, Some(name))) => {
            let value = std::env::var(name)
                .map_err(|_| Failure::usage(format!("the variable {name} holds no URL")))?;
            Some(SecretString::from(value))
        }
    };
    Database::resolve(url.as_ref()).map_err(Failure::usage)
}

/// How many connections and threads work, and on parts of which size.
pub(crate) fn workers(connections: usize, work: &WorkArgs) -> Workers {
    Workers { connections, threads: work.threads(), rows_per_part: work.batch_size }
}
