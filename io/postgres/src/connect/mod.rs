//! Connects to the database that a URL or the environment names.

mod conninfo;
mod dial;
mod error;
mod given;
mod libpq;
mod open;
mod pgpass;
mod plan;
mod pooler;
mod service;
mod tls;
mod waits;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::BoxFuture;
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::watch;

pub use self::error::ConnectError;
use self::given::{Given, Variables};
use self::open::{failure, open, reach};
use self::plan::{Place, Plan, Target};
use super::error::DatabaseError;
use super::transaction::{self, Purpose};

/// The time limit for a connection, unless the URL or `PGCONNECT_TIMEOUT` sets another.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a statement waits for a lock, unless another time is set.
pub const DEFAULT_LOCK_WAIT: Duration = Duration::from_secs(60);

/// A database to connect to.
///
/// # Secrecy
/// Holds the password; `Debug` and `Display` show only server, database and user.
#[derive(Clone)]
pub struct Database {
    plan: Arc<Plan>,
    lock_wait: Duration,
    shared: Arc<Shared>,
}

/// What protects a connection from others on the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protection {
    /// It does not leave this machine.
    Local,
    /// TLS, with a verified chain and name.
    Full,
    /// TLS, with a verified chain: any certificate of the authority is taken.
    Chain,
    /// TLS with anybody.
    Unverified,
    /// Nothing.
    None,
}

/// What all connections to a database share.
#[derive(Debug, Default)]
struct Shared {
    /// Whether statements of a connection are known to reach one process of the server.
    is_proven: AtomicBool,
    is_watched: AtomicBool,
    /// The processes of the server behind the connections that were opened.
    backends: Mutex<Vec<i32>>,
    protection: Mutex<Option<Protection>>,
    given_up: watch::Sender<bool>,
}

impl Shared {
    fn backends(&self) -> Vec<i32> {
        self.backends.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn add_backend(&self, backend: i32) {
        let mut backends = self.backends.lock().unwrap_or_else(PoisonError::into_inner);
        if !backends.contains(&backend) {
            backends.push(backend);
        }
    }

    fn set_protection(&self, protection: Protection) {
        *self.protection.lock().unwrap_or_else(PoisonError::into_inner) = Some(protection);
    }

    /// Closes every way over TCP.
    fn give_up(&self) {
        self.given_up.send_replace(true);
    }
}

impl Database {
    /// Takes a URL or `name=value` words, or else `DATABASE_URL`, or else libpq's variables.
    ///
    /// `postgres://user@host:port/database?sslmode=verify-full`; for a unix socket the `host`
    /// parameter, or the percent-encoded host, is a directory. What is left out comes from a
    /// service (`service`, `PGSERVICE`), then from `PGHOST`, `PGPORT`, `PGUSER` and so on, a
    /// missing password from `PGPASSFILE` or `~/.pgpass`. Every setting of libpq is honoured, or
    /// refused by name.
    ///
    /// # Errors
    /// [`ConnectError::BadUrl`] and [`ConnectError::BadSetting`], which quote no value.
    pub fn resolve(url: Option<&SecretString>) -> Result<Self, ConnectError> {
        Self::resolve_in(url, &|name| std::env::var_os(name))
    }

    fn resolve_in(
        url: Option<&SecretString>,
        variables: Variables<'_>,
    ) -> Result<Self, ConnectError> {
        if url.is_some_and(|url| url.expose_secret().trim().is_empty()) {
            return Err(ConnectError::BadUrl { reason: "it is empty".into() });
        }
        let from_environment = match (url, variables("DATABASE_URL")) {
            (None, Some(value)) => {
                let not_text =
                    |_| ConnectError::bad_setting("the variable DATABASE_URL", "it is not UTF-8");
                Some(SecretString::from(value.into_string().map_err(not_text)?))
            }
            _ => None,
        };
        // An empty variable is one that is not set.
        let from_environment =
            from_environment.filter(|value| !value.expose_secret().trim().is_empty());
        let url = url.or(from_environment.as_ref()).map(|url| url.expose_secret());
        let plan = Plan::of(&Given::gather(url, variables)?, variables)?;
        plan.warn_of_weakness();
        Ok(Self { plan: Arc::new(plan), lock_wait: DEFAULT_LOCK_WAIT, shared: Arc::default() })
    }

    /// The same database, whose statements wait so long for a lock.
    #[must_use]
    pub fn with_lock_wait(mut self, lock_wait: Duration) -> Self {
        self.lock_wait = lock_wait;
        self
    }

    /// How long a statement waits for a lock.
    #[must_use]
    pub fn lock_wait(&self) -> Duration {
        self.lock_wait
    }

    /// What protects the connection that was opened last; `None` before there was one.
    #[must_use]
    pub fn protection(&self) -> Option<Protection> {
        *self.shared.protection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connects. No setting of the session is changed: see [`Database::begin`].
    ///
    /// The first time it is made sure that all statements reach one process of the server.
    ///
    /// # Errors
    /// A [`ConnectError`] that names the server; [`ConnectError::Pooled`] for a pooler that does
    /// not keep sessions.
    pub fn connect<'a>(&'a self) -> BoxFuture<'a, Result<PgConnection, ConnectError>> {
        Box::pin(async move {
            let (mut connection, target) = reach(&self.plan, &self.shared).await?;
            let failed = |error| failure(&self.plan, error);
            if !self.shared.is_proven.load(Ordering::Relaxed) {
                self.prove(&mut connection, target).await?;
            }
            let backend = pooler::backend(&mut connection).await.map_err(failed)?;
            self.shared.add_backend(backend);
            if !self.shared.is_watched.swap(true, Ordering::Relaxed) {
                tokio::spawn(waits::watch(Arc::clone(&self.plan), Arc::downgrade(&self.shared)));
            }
            Ok(connection)
        })
    }

    /// Connects and begins a transaction in which nothing can be changed.
    ///
    /// # Errors
    /// As [`Database::connect`].
    pub fn connect_read_only<'a>(&'a self) -> BoxFuture<'a, Result<PgConnection, ConnectError>> {
        Box::pin(async move {
            let mut connection = self.connect().await?;
            let begun = self.begin(&mut connection, Purpose::Look, "").await;
            begun.map_err(|error| failure(&self.plan, error))?;
            Ok(connection)
        })
    }

    /// Begins a transaction that states all that it depends on. `first` is the SQL that has to come
    /// before any query; it may be empty.
    ///
    /// # Errors
    /// Any error of the server.
    pub fn begin<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        purpose: Purpose,
        first: &'a str,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(transaction::begin(connection, purpose, self.lock_wait, first))
    }

    /// Ends a transaction, whatever has become of it, and begins another in which nothing can be
    /// changed.
    ///
    /// # Errors
    /// Any error of the server.
    pub fn look_again<'a>(
        &'a self,
        connection: &'a mut PgConnection,
    ) -> BoxFuture<'a, Result<(), sqlx::Error>> {
        Box::pin(transaction::begin_again(connection, Purpose::Look, self.lock_wait))
    }

    /// Who holds a lock on a table that keeps readers out, in words. `table` is quoted as SQL.
    ///
    /// # Errors
    /// Any error of the server.
    pub fn lock_holders<'a>(
        &'a self,
        connection: &'a mut PgConnection,
        table: &'a str,
    ) -> BoxFuture<'a, Result<Vec<String>, DatabaseError>> {
        Box::pin(async move {
            let rows = sqlx::raw_sql(AssertSqlSafe(waits::holders_sql(table)));
            let rows = rows.fetch_all(connection).await?;
            let holders: Result<_, sqlx::Error> = rows.iter().map(|row| row.try_get(0)).collect();
            Ok(holders?)
        })
    }

    async fn prove(&self, first: &mut PgConnection, target: &Target) -> Result<(), ConnectError> {
        let failed = |error| failure(&self.plan, error);
        let pooled = || ConnectError::Pooled { server: self.to_string() };
        let mut second = match open(&self.plan, &self.shared, target).await {
            Ok(second) => second,
            // Then there is nothing to tell them apart by; the next connection tries again.
            Err(ConnectError::NoConnectionLeft { .. }) => return Ok(()),
            Err(error) => return Err(error),
        };
        let asked = pooler::reached(first, &mut second);
        let reached = match tokio::time::timeout(self.plan.connect_timeout, asked).await {
            Ok(Err(error)) if pooler::is_of_statement_pooler(&error) => return Err(pooled()),
            Ok(reached) => reached.map_err(failed)?,
            Err(_) => {
                let (server, after) = (self.to_string(), self.plan.connect_timeout);
                return Err(ConnectError::TimedOut { server, after });
            }
        };
        super::export::close(second).await;
        if reached == pooler::Reached::Several {
            return Err(pooled());
        }
        self.shared.is_proven.store(true, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, target) in self.targets.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            match &target.place {
                Place::Socket(folder) => write!(f, "{comma}{}", folder.display())?,
                Place::Tcp { host, address: Some(address) } if host.is_empty() => {
                    write!(f, "{comma}{address}")?;
                }
                Place::Tcp { host, .. } if host.contains(':') => write!(f, "{comma}[{host}]")?,
                Place::Tcp { host, .. } => write!(f, "{comma}{host}")?,
            }
            write!(f, ":{}", target.port)?;
        }
        write!(f, "/{} as {}", self.database, self.user)
    }
}

impl fmt::Display for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plan.fmt(f)
    }
}

impl fmt::Debug for Database {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Database({self})")
    }
}

#[cfg(test)]
mod tests {
    use reshare_files::fault::Refusable;

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
            "host=db password=a geheim=b",
            "mysql://op:geheim@db/iris?x=y",
            "host=db sslmode=geheim",
            "postgres://op:12?geheim=3",
        ];
        for url in bad {
            let error = resolve(url).expect_err(url);
            let shown = format!("{error} {error:?}");
            assert!(!shown.contains("geh") && !shown.contains("eim@"), "{shown}");
            assert!(matches!(error, ConnectError::BadUrl { .. }));
        }
    }

    /// As [`Database::resolve`], with nothing but these variables.
    fn resolve_in(url: Option<&str>, variables: &[(&str, &str)]) -> Result<Database, ConnectError> {
        let url = url.map(SecretString::from);
        let of = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            let home = (name == "HOME").then(|| "/nonexistent".into());
            found.map(|(_, value)| (*value).into()).or(home)
        };
        Database::resolve_in(url.as_ref(), &of)
    }

    /// The plan of a URL, which has a user.
    fn plan(url: &str) -> Arc<Plan> {
        resolve_in(Some(url), &[]).unwrap_or_else(|error| panic!("{url}: {error}")).plan
    }

    const HANDBOOK: &str = include_str!("../../../../docs/database.md");

    /// One row of the handbook's table: setting, variable, value, and whether it is honoured.
    fn rows_of_the_handbook() -> Vec<(String, String, String, bool)> {
        let table = HANDBOOK.split("| setting | variable | value |").nth(1).expect("a table");
        let code = |cell: &str| cell.trim().trim_matches('`').to_owned();
        let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
        let rows = rows.map(|line| {
            let cells: Vec<&str> = line.trim_matches('|').split('|').collect();
            let [name, variable, value, what] = cells[..] else { panic!("{line}") };
            let honoured = what.trim().starts_with("honoured");
            assert!(honoured || what.trim().starts_with("refused"), "{line}");
            (code(name), code(variable), code(value), honoured)
        });
        rows.collect()
    }

    #[test]
    fn every_row_of_the_handbook_holds_as_parameter_as_word_and_as_variable() {
        let rows = rows_of_the_handbook();
        assert!(rows.len() > 60, "{} rows", rows.len());
        for setting in libpq::SETTINGS {
            let is_there = |row: &&(String, String, String, bool)| {
                row.0 == setting.name && row.1 == setting.variable
            };
            assert!(rows.iter().any(|row| is_there(&row)), "{setting:?} is not in the handbook");
        }
        let home = tempfile::tempdir().expect("a home");
        let folder = home.path().join(".postgresql");
        std::fs::create_dir(&folder).expect("made");
        for file in ["postgresql.crt", "postgresql.key"] {
            std::os::unix::fs::symlink("/dev/null", folder.join(file)).expect("made");
        }
        std::fs::write(home.path().join(".pg_service.conf"), "[iris]\n").expect("written");
        let at_home = ("HOME", home.path().to_str().expect("text"));
        for (name, variable, value, honoured) in rows {
            let encoded = value.replace('%', "%25").replace(' ', "%20").replace('=', "%3D");
            let url = format!("postgres://op@127.0.0.1/iris?{name}={encoded}");
            let words = format!("user=op host=127.0.0.1 dbname=iris {name}='{value}'");
            let mut given = vec![];
            if !name.is_empty() {
                given.push((&name, resolve_in(Some(&url), &[at_home])));
                given.push((&name, resolve_in(Some(&words), &[at_home])));
            }
            if !variable.is_empty() {
                let usual = [("PGUSER", "op"), ("PGHOST", "127.0.0.1"), at_home];
                let usual = usual.into_iter().filter(|(usual, _)| *usual != variable);
                let all: Vec<_> = usual.chain([(variable.as_str(), value.as_str())]).collect();
                given.push((&variable, resolve_in(None, &all)));
            }
            for (what, resolved) in given {
                match resolved {
                    Ok(_) => assert!(honoured, "{what}={value} is taken"),
                    Err(error) => {
                        assert!(!honoured, "{what}={value}: {error}");
                        assert!(
                            error.is_refusal() && error.to_string().contains(what.as_str()),
                            "{error}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn a_mode_that_is_mistyped_or_has_more_at_its_end_is_refused_by_its_variable() {
        for mode in [
            "verify_full",
            "verify-full\r",
            "verify-full ",
            " verify-full",
            "require\n",
            "",
            "VERIFY-FULL",
        ] {
            let error = resolve_in(None, &[("PGUSER", "op"), ("PGSSLMODE", mode)]).expect_err(mode);
            assert!(error.to_string().contains("PGSSLMODE"), "{error}");
            let padded = mode.trim() != mode;
            assert_eq!(error.to_string().contains("a space or a line end"), padded, "{error}");
            let url = format!(
                "postgres://op@db/x?sslmode={}",
                mode.replace('\r', "%0D").replace('\n', "%0A")
            );
            assert!(resolve_in(Some(&url), &[]).expect_err(mode).to_string().contains("sslmode"));
        }
    }

    #[test]
    fn a_host_that_is_not_this_machine_is_verified_unless_less_is_asked_for() {
        use tls::TlsMode::{Chain, Full, Off, Optional, Required};
        let modes = [
            ("postgres://op@db.example/x", Full),
            ("postgres://op@10.0.0.1/x", Full),
            ("postgres://op@[2001:db8::1]/x", Full),
            ("postgres://op@localhost.example/x", Full),
            ("postgres://op@localhost/x?hostaddr=10.0.0.1", Full),
            ("postgres://op@localhost/x", Optional { chain: false }),
            ("postgres://op@127.0.0.1/x", Optional { chain: false }),
            ("postgres://op@[::1]:5433/x", Optional { chain: false }),
            ("postgres://op@db.example/x?hostaddr=127.0.0.1", Optional { chain: false }),
            ("postgres://op@localhost/x?sslrootcert=system", Full),
            ("postgres://op@/x?host=/run/pg&sslmode=verify-full", Off),
            ("postgres://op@db.example/x?sslmode=disable", Off),
            ("postgres://op@db.example/x?sslmode=require", Required),
            ("postgres://op@db.example/x?ssl=true", Required),
            ("postgres://op@db.example/x?sslmode=require&sslrootcert=/etc/passwd", Chain),
            (
                "postgres://op@db.example/x?sslmode=prefer&sslrootcert=/etc/passwd",
                Optional { chain: true },
            ),
            ("postgres://op@db.example/x?sslmode=verify-ca", Chain),
        ];
        for (url, mode) in modes {
            assert_eq!(plan(url).targets[0].tls, mode, "{url}");
        }
        let weak = "postgres://op@db/x?sslmode=require&sslrootcert=system";
        assert!(resolve_in(Some(weak), &[]).expect_err("weak").to_string().contains("sslmode"));
    }

    #[test]
    fn hosts_ports_and_names_are_read_as_libpq_reads_them() {
        let shown = |url: &str| resolve_in(Some(url), &[]).expect(url).to_string();
        assert_eq!(shown("postgres://op@[::1]:5433/x\n"), "[::1]:5433/x as op");
        assert_eq!(shown("postgres://op@a,b:5433,[::1]/x"), "a:5432,b:5433,[::1]:5432/x as op");
        assert_eq!(shown("postgres://op@a,b/x?port=5433"), "a:5433,b:5433/x as op");
        assert_eq!(shown("host=a,b port=1,2 user=op dbname='x y'"), "a:1,b:2/x y as op");
        assert_eq!(shown("postgres://root@/db?host=/sock"), "/sock:5432/db as root");
        assert_eq!(shown("postgres://op@db"), "db:5432/op as op");
        assert_eq!(shown("postgres:///x?user=a+b&host=db"), "db:5432/x as a+b");
        assert_eq!(shown("hostaddr=10.0.0.1 user=op"), "10.0.0.1:5432/op as op");
        for bad in [
            "postgres://op@[::1/x",
            "postgres://op@a,b/x?port=1,2,3",
            "postgres://op@::1/x",
            "postgres://op@db:0/x",
            "postgres://op@db/x?hostaddr=db",
            "user=op 'x",
            "dbname",
        ] {
            assert!(resolve_in(Some(bad), &[]).is_err(), "{bad}");
        }
        assert!(resolve_in(Some(" \n"), &[]).is_err(), "a flag that is empty");
    }

    #[test]
    fn variables_count_where_nothing_else_does() {
        let variables =
            [("DATABASE_URL", ""), ("PGHOST", "db"), ("PGUSER", "op"), ("PGPORT", "5433")];
        assert_eq!(resolve_in(None, &variables).expect("good").to_string(), "db:5433/op as op");
        let over = resolve_in(Some("postgres://other@/x"), &variables).expect("good");
        assert_eq!(over.to_string(), "db:5433/x as other");
        for (name, value) in [("PGPORT", "five"), ("PGCONNECT_TIMEOUT", "soon")] {
            let error = resolve_in(None, &[("PGUSER", "op"), (name, value)]).expect_err(value);
            assert!(error.to_string().contains(name), "{error}");
        }
    }

    #[test]
    fn a_service_gives_what_the_url_leaves_out() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("services");
        let text = "# ours\n[other]\nhost=wrong\n[iris]\nhost=db.example\nport=5433\nuser=op\n[last]\nsslcrl=x\n[nest]\nservice=iris\n";
        std::fs::write(&path, text).expect("written");
        let path = path.to_str().expect("text");
        let with =
            |service| [("PGSERVICE", service), ("PGSERVICEFILE", path), ("PGHOST", "not.this")];
        let database = resolve_in(None, &with("iris")).expect("good");
        assert_eq!(database.to_string(), "db.example:5433/op as op");
        let database = resolve_in(Some("postgres:///x?service=iris&port=1"), &with("other"));
        assert_eq!(database.expect("good").to_string(), "db.example:1/x as op");
        for service in ["missing", "last", "nest"] {
            let error = resolve_in(None, &with(service)).expect_err(service).to_string();
            assert!(error.contains("service") || error.contains("sslcrl"), "{error}");
        }
    }

    #[test]
    fn the_time_to_connect_is_a_parameter_too() {
        let database = resolve("postgres://op@db/iris?connect_timeout=3&sslmode=disable");
        assert_eq!(database.expect("a good URL").plan.connect_timeout, Duration::from_secs(3));
        let database = resolve("postgres://op@db/iris?connect_timeout=0").expect("a good URL");
        assert_eq!(database.plan.connect_timeout, Duration::MAX);
    }
}
