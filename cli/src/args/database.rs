//! The flags of a database, and of what a load does to its table.

use std::num::NonZeroUsize;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reshare_postgres::connect::DEFAULT_LOCK_WAIT;
use reshare_postgres::load_options::{LoadOptions, OnConflict};

use super::value::{MAX_SECONDS, parallel, within};
use crate::failure::Failure;

/// Where the table is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseArgs {
    /// URL of the database, or env:NAME for the variable that holds it [default: DATABASE_URL,
    /// then the libpq variables and .pgpass]
    #[arg(long, value_name = "URL")]
    pub(crate) db_url: Option<String>,

    /// Schema of the table [default: SMPC_{environment}_{party}]
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) db_schema: Option<String>,

    #[command(flatten)]
    pub(crate) connections: ConnectionArgs,
}

/// How many connections.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// Database connections to use in parallel [default: RAYON_NUM_THREADS, else one per core; at
    /// most 4]
    #[arg(short = 'j', long, value_name = "N", value_parser = parallel)]
    connections: Option<NonZeroUsize>,

    /// How long to wait for a lock that somebody else holds on the table, and for another process
    /// that loads the same session
    #[arg(long, value_name = "SECONDS", default_value_t = DEFAULT_LOCK_WAIT.as_secs(), value_parser = within::<u64>(1..=MAX_SECONDS))]
    lock_wait: u64,
}

impl ConnectionArgs {
    /// The number asked for, or the default.
    pub(crate) fn count(&self) -> usize {
        let default = || reshare_pipeline::default_threads().min(4);
        self.connections.map_or_else(default, NonZeroUsize::get)
    }

    /// How long to wait for a lock.
    pub(crate) fn lock_wait(&self) -> Duration {
        Duration::from_secs(self.lock_wait)
    }
}

/// What a load does with rows that are in the table already.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rows that are in the table already")]
pub(crate) struct ConflictArgs {
    /// Refuse the load before anything is written, or replace whole rows: columns that are not
    /// delivered take their defaults
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ConflictRule::Error)]
    on_conflict: ConflictRule,

    /// With `--on-conflict replace`: also replace rows of a higher version
    #[arg(long)]
    allow_older: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConflictRule {
    Error,
    Replace,
}

impl ConflictArgs {
    /// The options of the load.
    pub(crate) fn options(&self, connections: &ConnectionArgs) -> Result<LoadOptions, Failure> {
        let on_conflict = match (self.on_conflict, self.allow_older) {
            (ConflictRule::Error, false) => OnConflict::Error,
            (ConflictRule::Error, true) => {
                let error = "--allow-older needs --on-conflict replace";
                return Err(Failure::usage(error));
            }
            (ConflictRule::Replace, allow_older) => OnConflict::Replace { allow_older },
        };
        Ok(LoadOptions { on_conflict, lock_wait: connections.lock_wait() })
    }
}
