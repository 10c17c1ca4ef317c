//! The database of either role: where it is, and what both look at in it.

use std::time::Duration;

use reshare_engine::party::PartyId;
use reshare_pipeline::preflight::{LossySetting, MissingRight, Probe, TableUse};
use reshare_pipeline::workers::Source;
use reshare_postgres::export::ExportError;
use reshare_postgres::table::quote_identifier;

use super::checklist::Checklist;
use super::server::{free_connections, protection, standby, time_limits, writable};
use crate::args::DatabaseArgs;
use crate::setup::context::Context;

/// The variables that name a database if `--db-url` is not given.
const PLACES: [&str; 7] =
    ["DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"];

/// What to do if the server answers a query with an error.
pub(super) const NO_ANSWER: &str = "see what the server says, here and in its log";

/// The location of the table, if it is known.
pub(super) fn source(
    list: &mut Checklist,
    context: &Context,
    party: PartyId,
    args: &DatabaseArgs,
) -> Option<Source> {
    let is_given =
        args.db_url.is_some() || PLACES.iter().any(|name| std::env::var_os(name).is_some());
    if !is_given {
        // One that cannot be honoured ends every command, whatever it is about.
        match context.source(party, args) {
            Err(failure) if has_settings() => list.failed("database", &failure),
            _ => list.not_checked("database", "--db-url URL, or set DATABASE_URL"),
        }
        return None;
    }
    let Source { database, table, on_bad_row } =
        list.take("database", context.source(party, args))?;
    Some(Source { database: database.with_lock_wait(LOCK_WAIT), table, on_bad_row })
}

/// Whether a variable may be one of libpq.
fn has_settings() -> bool {
    std::env::vars_os().any(|(name, _)| name.to_string_lossy().starts_with("PG"))
}

/// How long a check waits for a lock.
const LOCK_WAIT: Duration = Duration::from_secs(3);

/// One look at a table and its server.
pub(super) struct Look<'a> {
    pub(super) list: &'a mut Checklist,
    pub(super) probe: Probe,
    pub(super) source: &'a Source,
    /// Settings of the server, once it was asked.
    pub(super) lossy: Vec<LossySetting>,
}

impl<'a> Look<'a> {
    pub(super) async fn begin(list: &'a mut Checklist, source: &'a Source) -> Option<Self> {
        let opened = Probe::open(&source.database).await.map_err(ExportError::from);
        let hint = "check --db-url, DATABASE_URL or the PG* variables, and whether the server runs";
        match list.take_found("database", opened, hint) {
            Some(probe) => Some(Self { list, probe, source, lossy: vec![] }),
            None => {
                let rest = ["table", "rights", "rows"];
                rest.iter().for_each(|what| list.skipped(what, "the database"));
                None
            }
        }
    }

    pub(super) async fn server(&mut self, connections: u64, table_use: TableUse) {
        let server = self.probe.server().await;
        let Some(server) = self.list.take_answer("database", server) else { return };
        let place = &self.source.database;
        self.list.ok("database", format!("PostgreSQL {} at {place}", server.version));
        protection(self.list, place);
        if table_use == TableUse::Read {
            standby(self.list, &server);
        } else {
            writable(self.list, &server);
        }
        time_limits(self.list, &server);
        free_connections(self.list, &server, connections);
        self.lossy = server.lossy;
    }

    /// Whether the table is the one that the session describes.
    pub(super) async fn table(&mut self) -> bool {
        let inspected = self.probe.table(&self.source.table).await.map_err(ExportError::from);
        let hint = "the table must be as the session says: see `session show`";
        let Some(table) = self.list.take_found("table", inspected, hint) else { return false };
        let layout = table.spec().layout();
        let (agree, shares) = (layout.agree().len(), layout.shares().len());
        let name = table.spec().name();
        self.list.ok("table", format!("{name}: id, {agree} agree columns, {shares} share columns"));
        self.lock().await
    }

    /// Whether nobody holds a lock that every statement would wait for.
    async fn lock(&mut self) -> bool {
        const WHAT: &str = "lock";
        let holders = self.probe.lock_holders(self.source.table.name()).await;
        let Some(holders) = self.list.take_answer(WHAT, holders) else { return true };
        if holders.is_empty() {
            return true;
        }
        let detail = format!("readers are kept out by {}", holders.join("; "));
        self.list.not_ok(WHAT, detail, "a run waits for --lock-wait, and then ends: end it first");
        false
    }

    pub(super) async fn rights(&mut self, table_use: TableUse) {
        const WHAT: &str = "rights";
        let missing = self.probe.missing_rights(&self.source.table, table_use).await;
        let Some(missing) = self.list.take_answer(WHAT, missing) else { return };
        let role = self.probe.role().await;
        let Some(role) = self.list.take_answer(WHAT, role) else { return };
        if missing.is_empty() {
            return self.list.ok(WHAT, format!("{role} may do all that a run does"));
        }
        let Grants { names, sql } = Grants::of(&missing, &role);
        self.list.not_ok(WHAT, format!("{role} lacks {names}"), sql);
    }

    pub(super) async fn row_security(&mut self) {
        const WHAT: &str = "row security";
        let hides = self.probe.hides_rows(self.source.table.name()).await;
        let Some(hides) = self.list.take_answer(WHAT, hides) else { return };
        if hides {
            let detail = "policies of the table hold for this role, and may hide rows";
            let hint = "connect as the table's owner, or ALTER ROLE ... BYPASSRLS";
            return self.list.not_ok(WHAT, detail, hint);
        }
        self.list.ok(WHAT, "no policy hides rows from this role");
    }
}

/// The rights that are missing, and the SQL that grants them.
pub(super) struct Grants {
    pub(super) names: String,
    pub(super) sql: String,
}

impl Grants {
    pub(super) fn of(missing: &[MissingRight], role: &str) -> Self {
        let role = quote_identifier(role);
        let names: Vec<&str> = missing.iter().map(|right| right.grant.as_str()).collect();
        let sql: Vec<String> =
            names.iter().map(|name| format!("GRANT {name} TO {role};")).collect();
        Self { names: names.join(", "), sql: sql.join(" ") }
    }
}
