//! The demo's four databases: three parties', and the one that is rebuilt into.

use reshare_engine::party::PartyId;
use reshare_fixtures::postgres::{PostgresError, ThrowAwayPostgres};
use reshare_postgres::connect::Database;
use secrecy::SecretString;

use crate::failure::Failure;
use crate::setup::database::database;

/// Where the parties' tables are.
pub(super) struct Databases {
    parties: [Database; 3],
    target: Database,
    /// Stopped and removed with the databases.
    _cluster: Option<ThrowAwayPostgres>,
}

impl Databases {
    /// Starts a PostgreSQL of the demo's own, on a unix socket.
    pub(super) fn throw_away() -> Result<Self, PostgresError> {
        let cluster = ThrowAwayPostgres::start()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let create = |name: &str| -> Result<Database, PostgresError> {
            let url = runtime.block_on(cluster.create_database(name))?;
            Database::resolve(Some(&SecretString::from(url)))
                .map_err(|error| PostgresError::from(std::io::Error::other(error)))
        };
        let parties = [create("party_0")?, create("party_1")?, create("party_2")?];
        let target = create("target")?;
        Ok(Self { parties, target, _cluster: Some(cluster) })
    }

    /// Takes four databases of the user's.
    pub(super) fn given(urls: &[String]) -> Result<Self, Failure> {
        let [zero, one, two, target] = urls else {
            let error = format!("--db-url was given {} times, four are needed", urls.len());
            return Err(Failure::usage(error).hint("those of party 0, 1 and 2, and the target's"));
        };
        let parties = [database(Some(zero))?, database(Some(one))?, database(Some(two))?];
        Ok(Self { parties, target: database(Some(target))?, _cluster: None })
    }

    /// A party's own database.
    pub(super) fn of(&self, party: PartyId) -> &Database {
        &self.parties[usize::from(party.index())]
    }

    /// The database that is rebuilt into.
    pub(super) fn target(&self) -> &Database {
        &self.target
    }
}
