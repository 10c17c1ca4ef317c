//! What a server reports about itself: version, limits, standby, connections.

use std::collections::HashMap;
use std::time::Duration;

use reshare_postgres::error::DatabaseError;
use sqlx::Row;

use super::Probe;

/// A server, as the connecting role sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its version, as the server reports it.
    pub version: String,
    /// Whether the role, the database or the server makes transactions read-only by default.
    pub read_only: bool,
    /// How it treats long reads, if it is a standby.
    pub standby: Option<Standby>,
    /// The time limits that are set for this role, including those that are lifted.
    pub time_limits: Vec<TimeLimit>,
    /// The settings with which a commit may be lost that was acknowledged.
    pub lossy: Vec<LossySetting>,
    /// The connections that are left.
    pub connections: Connections,
}

/// A setting that is off, with which a crash may lose or damage what was committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossySetting {
    /// Its name.
    pub name: &'static str,
    /// Whether this program's connections turn it on.
    pub lifted: bool,
}

/// A server that replays the changes of another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standby {
    /// Whether it reports to the primary which rows are still being read.
    pub feedback: bool,
    /// How long replay waits for a conflicting read; `None` means forever.
    pub patience: Option<Duration>,
}

impl Standby {
    /// Whether a read of many hours may be cancelled, so that replay can go on.
    #[must_use]
    pub fn cancels_long_reads(&self) -> bool {
        !self.feedback && self.patience.is_some()
    }
}

/// A time limit of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeLimit {
    /// The setting.
    pub name: String,
    /// Its value in a new connection.
    pub limit: Duration,
    /// Whether this program's connections lift it.
    pub lifted: bool,
}

/// The connections of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many this role may still open.
    pub free: u64,
    /// How many the server, the database and the role allow.
    pub allowed: u64,
}

const TIME_LIMITS: [&str; 5] = [
    "statement_timeout",
    "lock_timeout",
    "transaction_timeout",
    "idle_in_transaction_session_timeout",
    "idle_session_timeout",
];

/// Without `fsync` a crash of the machine loses commits or damages the database, without
/// `full_page_writes` it may damage pages, and without `synchronous_commit` a crash of the server
/// loses the last commits.
const DURABLE: [&str; 3] = ["fsync", "full_page_writes", "synchronous_commit"];

impl Probe {
    /// Asks the server about itself.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn server(&mut self) -> Result<Server, DatabaseError> {
        let settings = self.settings().await?;
        let facts = "SELECT pg_catalog.pg_is_in_recovery(), \
                            pg_catalog.current_setting('server_version')";
        let row = reshare_postgres::statement::query(facts).fetch_one(self.ask().await?).await?;
        let standby = row.try_get::<bool, _>(0)?.then(|| standby(&settings));
        let time_limits = TIME_LIMITS.iter().filter_map(|name| settings.time_limit(name));
        Ok(Server {
            version: row.try_get(1)?,
            read_only: settings.text("default_transaction_read_only") == "on",
            standby,
            time_limits: time_limits.collect(),
            lossy: DURABLE.iter().filter_map(|name| settings.lossy(name)).collect(),
            connections: self.connections(&settings).await?,
        })
    }

    async fn settings(&mut self) -> Result<Settings, DatabaseError> {
        let rows = reshare_postgres::statement::query(
            "SELECT name, setting, reset_val FROM pg_catalog.pg_settings",
        );
        let rows = rows.fetch_all(self.ask().await?).await?;
        let setting = |row: &sqlx::postgres::PgRow| {
            let reset: Option<String> = row.try_get(2)?;
            Ok((row.try_get(0)?, (row.try_get(1)?, reset.unwrap_or_default())))
        };
        let settings: Result<_, sqlx::Error> = rows.iter().map(setting).collect();
        Ok(Settings(settings?))
    }

    async fn connections(&mut self, settings: &Settings) -> Result<Connections, DatabaseError> {
        // Rows of other users are there even if the role may not see what they do.
        let sql = "SELECT r.rolsuper, r.rolconnlimit, d.datconnlimit, \
                          count(a.usesysid), \
                          count(a.usesysid) FILTER (WHERE a.usesysid = r.oid), \
                          count(a.usesysid) FILTER (WHERE a.datid = d.oid) \
                   FROM pg_catalog.pg_roles r \
                   CROSS JOIN pg_catalog.pg_database d \
                   LEFT JOIN pg_catalog.pg_stat_activity a \
                     ON a.datid IS NOT NULL AND a.pid <> pg_catalog.pg_backend_pid() \
                   WHERE r.rolname = current_user AND d.datname = pg_catalog.current_database() \
                   GROUP BY r.oid, r.rolsuper, r.rolconnlimit, d.oid, d.datconnlimit";
        let row = reshare_postgres::statement::query(sql).fetch_one(self.ask().await?).await?;
        let count = |index| row.try_get::<i64, _>(index).map(i64::unsigned_abs);
        let (all, of_role, of_database) = (count(3)?, count(4)?, count(5)?);
        let is_superuser: bool = row.try_get(0)?;
        let mut allowed = settings.number("max_connections");
        if !is_superuser {
            let reserved = settings.number("superuser_reserved_connections")
                + settings.number("reserved_connections");
            allowed = allowed.saturating_sub(reserved);
        }
        let mut connections = Connections { free: allowed.saturating_sub(all), allowed };
        // Neither holds for a superuser; -1 is no limit.
        for (limit, used) in [(row.try_get::<i32, _>(1)?, of_role), (row.try_get(2)?, of_database)]
        {
            if let Ok(limit) = u64::try_from(limit)
                && !is_superuser
            {
                connections.free = connections.free.min(limit.saturating_sub(used));
                connections.allowed = connections.allowed.min(limit);
            }
        }
        Ok(connections)
    }
}

/// Settings by name: their present value, and the value in a new connection.
struct Settings(HashMap<String, (String, String)>);

impl Settings {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |(_, reset)| reset)
    }

    fn number(&self, name: &str) -> u64 {
        self.text(name).parse().unwrap_or(0)
    }

    /// A setting that is off, or would be without this program.
    fn lossy(&self, name: &'static str) -> Option<LossySetting> {
        let (now, at_first) = self.0.get(name)?;
        let is_off = |value: &String| value == "off";
        let lifted = !is_off(now);
        (is_off(now) || is_off(at_first)).then_some(LossySetting { name, lifted })
    }

    /// A limit that is set. The server counts in milliseconds.
    fn time_limit(&self, name: &str) -> Option<TimeLimit> {
        let (now, _) = self.0.get(name)?;
        let at_first = self.number(name);
        // A wait for a lock has a limit of its own here, and an idle connection is opened again.
        let lifted = now == "0" || ["lock_timeout", "idle_session_timeout"].contains(&name);
        let now = if name == "lock_timeout" { 0 } else { now.parse().unwrap_or(0) };
        let limit = Duration::from_millis(at_first.max(now));
        let limit = TimeLimit { name: name.to_owned(), limit, lifted };
        (!limit.limit.is_zero()).then_some(limit)
    }
}

fn standby(settings: &Settings) -> Standby {
    let patience = |name| match settings.text(name).parse::<i64>() {
        Ok(milliseconds) => u64::try_from(milliseconds).ok().map(Duration::from_millis),
        Err(_) => None,
    };
    let delays = ["max_standby_streaming_delay", "max_standby_archive_delay"].map(patience);
    let patience = delays.into_iter().flatten().min();
    Standby { feedback: settings.text("hot_standby_feedback") == "on", patience }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str, &str)]) -> Settings {
        let pair = |(name, now, reset): &(&str, &str, &str)| {
            ((*name).to_owned(), ((*now).to_owned(), (*reset).to_owned()))
        };
        Settings(pairs.iter().map(pair).collect())
    }

    #[test]
    fn settings_that_lose_commits_are_named_and_whether_they_are_lifted() {
        let settings = settings(&[
            ("fsync", "off", "off"),
            ("full_page_writes", "on", "on"),
            ("synchronous_commit", "on", "off"),
        ]);
        let lossy = |name| settings.lossy(name).map(|setting| setting.lifted);
        assert_eq!(DURABLE.map(lossy), [Some(false), None, Some(true)]);
    }

    #[test]
    fn a_standby_cancels_long_reads_unless_it_waits_or_tells() {
        let of = |feedback, streaming, archive| {
            standby(&settings(&[
                ("hot_standby_feedback", feedback, feedback),
                ("max_standby_streaming_delay", streaming, streaming),
                ("max_standby_archive_delay", archive, archive),
            ]))
        };
        let usual = of("off", "30000", "30000");
        assert_eq!(usual.patience, Some(Duration::from_secs(30)));
        assert!(usual.cancels_long_reads());
        assert!(!of("on", "30000", "30000").cancels_long_reads());
        assert!(!of("off", "-1", "-1").cancels_long_reads());
        assert!(of("off", "-1", "0").cancels_long_reads());
    }

    #[test]
    fn a_time_limit_is_reported_with_whether_it_is_lifted() {
        let all = settings(&[
            ("statement_timeout", "0", "30000"),
            ("lock_timeout", "5000", "5000"),
            ("idle_in_transaction_session_timeout", "7000", "7000"),
            ("idle_session_timeout", "0", "0"),
        ]);
        let limit = all.time_limit("statement_timeout").expect("set");
        assert_eq!((limit.limit, limit.lifted), (Duration::from_secs(30), true));
        // A transaction sets its own, whatever the role's is.
        assert!(all.time_limit("lock_timeout").expect("set").lifted);
        assert!(!all.time_limit("idle_in_transaction_session_timeout").expect("set").lifted);
        assert_eq!(all.time_limit("idle_session_timeout"), None);
        assert_eq!(all.time_limit("transaction_timeout"), None, "of a later version");
    }
}
