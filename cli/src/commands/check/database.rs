//! The database of either role: server, table, rights, limits, rows.

use std::time::Duration;

use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::preflight::{
    ColumnDefect, LossySetting, MissingRight, Probe, RowEstimate, RowsKnown, Server, TableUse,
    read_first_row,
};
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::workers::Source;
use reshare_postgres::connect::{Database, Protection};
use reshare_postgres::export::ExportError;
use reshare_postgres::load::Loader;
use reshare_postgres::load_options::{LoadOptions, OnConflict};
use reshare_postgres::references::Deletion;
use reshare_postgres::sequence::SequenceBehind;
use reshare_postgres::table::quote_identifier;
use reshare_postgres::triggers::TriggerEffect;

use super::checklist::Checklist;
use super::trigger::check_trigger;
use crate::args::{DatabaseArgs, WorkArgs};
use crate::failure::Failure;
use crate::setup::context::Context;
use crate::setup::database::workers;
use crate::text::human_bytes;

/// The variables that name a database if `--db-url` is not given.
const PLACES: [&str; 7] =
    ["DATABASE_URL", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE"];

/// What to do if the server answers a query with an error.
const NO_ANSWER: &str = "see what the server says, here and in its log";

/// Checks a sender's table; returns about how many rows are to be moved.
pub(super) async fn check_source(
    list: &mut Checklist,
    context: &Context,
    party: PartyId,
    args: &DatabaseArgs,
    work: &WorkArgs,
) -> Option<u64> {
    let source = source(list, context, party, args)?;
    let mut look = Look::begin(list, &source).await?;
    // One holds the snapshot, and one asks what the others wait for.
    let needed_connections = args.connections.count() as u64 + 2;
    look.server(needed_connections, TableUse::Read).await;
    let is_there = look.table().await;
    let ids = look.list.take("ids", context.row_ids());
    if !is_there {
        ["rights", "first row", "rows"]
            .iter()
            .for_each(|what| look.list.skipped(what, "the table"));
        look.probe.close().await;
        return None;
    }
    look.rights(TableUse::Read).await;
    look.row_security().await;
    let rows = match &ids {
        None => {
            ["first row", "rows"].iter().for_each(|what| look.list.skipped(what, "the ids"));
            None
        }
        Some(ids) => {
            look.first_row(ids).await;
            look.lengths(ids).await;
            look.rows(&context.session, ids).await
        }
    };
    let Look { list, probe, .. } = look;
    probe.close().await;
    let rows = rows?;
    let workers = workers(args.connections.count(), work);
    if list
        .take("parts", rows.check_parts(&context.session, &workers).map_err(Failure::from))
        .is_some()
    {
        let parts = rows.rows.div_ceil(work.batch_size.get() as u64);
        list.ok("parts", format!("about {parts}, of {} rows at most", work.batch_size));
    }
    Some(rows.rows)
}

/// Checks the receiver's table.
pub(super) async fn check_target(
    list: &mut Checklist,
    context: &Context,
    party: PartyId,
    args: &DatabaseArgs,
    options: LoadOptions,
    redo: bool,
) {
    let Some(source) = source(list, context, party, args) else { return };
    let Some(mut look) = Look::begin(list, &source).await else { return };
    let replace = options.on_conflict != OnConflict::Error;
    let table_use = TableUse::Load { replace, redo };
    look.server(args.connections.count() as u64 + 2, table_use).await;
    if look.table().await {
        look.rights(table_use).await;
        look.record_of_verify().await;
        look.row_security().await;
        let fired = look.triggers(replace || redo).await;
        if replace || redo {
            look.foreign_keys(if replace { Deletion::Replace } else { Deletion::Redo }).await;
        }
        look.columns(fired).await;
        look.durability().await;
        look.storage().await;
        look.sequence().await;
        look.loaded(&context.session, options).await;
    } else {
        let rest = ["rights", "triggers", "columns", "loaded so far"];
        rest.iter().for_each(|what| look.list.skipped(what, "the table"));
    }
    let Look { list, probe, .. } = look;
    probe.close().await;
    size(list, &context.session);
}

/// The location of the table, if it is known.
fn source(
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
struct Look<'a> {
    list: &'a mut Checklist,
    probe: Probe,
    source: &'a Source,
    /// Settings of the server, once it was asked.
    lossy: Vec<LossySetting>,
}

impl<'a> Look<'a> {
    async fn begin(list: &'a mut Checklist, source: &'a Source) -> Option<Self> {
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

    async fn server(&mut self, connections: u64, table_use: TableUse) {
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
    async fn table(&mut self) -> bool {
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

    async fn rights(&mut self, table_use: TableUse) {
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

    /// No run that loads needs it, but the one after it does.
    async fn record_of_verify(&mut self) {
        const WHAT: &str = "record of verify";
        let missing = self.probe.missing_rights_to_record(self.source.table.name()).await;
        let Some(missing) = self.list.take_answer(WHAT, missing) else { return };
        let role = self.probe.role().await;
        let Some(role) = self.list.take_answer(WHAT, role) else { return };
        if missing.is_empty() {
            return self.list.ok(WHAT, format!("{role} may write it"));
        }
        let Grants { names, sql } = Grants::of(&missing, &role);
        let detail = format!("{role} lacks {names}: without it purge removes nothing");
        self.list.warning(WHAT, detail, sql);
    }

    async fn row_security(&mut self) {
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

    /// Reads a row as an export does: right, snapshot, types and lengths at once.
    async fn first_row(&mut self, ids: &RowIds) {
        const WHAT: &str = "first row";
        let read = read_first_row(self.source, ids.bounds()).await;
        let hint = "every row must be as the session says: compare with `session show`";
        match self.list.take_found(WHAT, read, hint) {
            None => {}
            Some(Some(id)) => {
                self.list.ok(WHAT, format!("id {id} has the session's columns and lengths"))
            }
            Some(None) => self.list.warning(
                WHAT,
                "there is no row with an id of the session",
                "check --db-url and --db-schema, and the session's ids",
            ),
        }
    }

    /// Looks at the lengths of all rows, which a server knows without reading them.
    async fn lengths(&mut self, ids: &RowIds) {
        const WHAT: &str = "lengths";
        let checked = self.probe.lengths(&self.source.table, ids.bounds(), LENGTHS).await;
        match checked {
            Ok(()) => self.list.ok(WHAT, "every row has those of the session"),
            Err(ExportError::Database { source, .. }) if source.code() == Some(TOOK_TOO_LONG) => {
                let detail = format!("not all rows could be looked at within {LENGTHS:?}");
                self.list.warning(
                    WHAT,
                    detail,
                    "a run names the rows that are not as they must be",
                );
            }
            Err(error) => {
                let hint = "a run stops at such a row: correct it, or leave it out \
                            (--leave-out-bad-rows)";
                self.list.failed(WHAT, &Failure::from(PipelineError::from(error)).hint(hint));
            }
        }
    }

    async fn rows(&mut self, session: &Session, ids: &RowIds) -> Option<RowEstimate> {
        const WHAT: &str = "rows";
        let estimate = self.probe.rows(&self.source.table, ids).await;
        let estimate = estimate.map_err(|source| {
            let table = self.source.table.name().clone();
            ExportError::Database { table, source }
        });
        let estimate = self.list.take_found(WHAT, estimate, NO_ANSWER)?;
        let shares = estimate.rows.saturating_mul(session.layout().row_share_bytes() as u64);
        let detail = match estimate.ids {
            None => "none".to_owned(),
            Some(found) => format!(
                "{}, ids {} to {}: {} of shares",
                counted_rows(&estimate),
                found.first(),
                found.last(),
                human_bytes(shares)
            ),
        };
        self.list.ok(WHAT, detail);
        Some(estimate)
    }

    /// Lists the triggers that a load fires; returns whether one sees rows before they are
    /// stored.
    async fn triggers(&mut self, replace: bool) -> bool {
        const WHAT: &str = "triggers";
        let triggers = self.probe.triggers(&self.source.table, replace).await;
        let Some(triggers) = self.list.take_answer(WHAT, triggers) else { return false };
        if triggers.is_empty() {
            self.list.ok(WHAT, "none fires");
        }
        for trigger in &triggers {
            check_trigger(self.list, trigger, self.source.table.name());
        }
        triggers.iter().any(|trigger| trigger.effect != TriggerEffect::MayRefuseRows)
    }

    /// Whether rows can be replaced without a change in another table.
    async fn foreign_keys(&mut self, deletion: Deletion) {
        const WHAT: &str = "foreign keys";
        let checked = self.probe.deletable(&self.source.table, deletion).await;
        if self.list.take_found(WHAT, checked, NO_ANSWER).is_some() {
            self.list.ok(WHAT, "none would keep a row from being replaced, or follow it");
        }
    }

    async fn columns(&mut self, triggers_see_rows: bool) {
        const WHAT: &str = "columns";
        let defects = self.probe.column_defects(&self.source.table).await;
        let Some(defects) = self.list.take_answer(WHAT, defects) else { return };
        if defects.is_empty() {
            self.list.ok(WHAT, "those that are not delivered have a default, or may be NULL");
        }
        for defect in defects {
            match defect {
                ColumnDefect::Unfilled { column } => {
                    let detail =
                        format!("{column:?} is not delivered, NOT NULL, and has no default");
                    if triggers_see_rows {
                        let hint = "a trigger may fill it; else give it a default";
                        self.list.warning(WHAT, detail, hint);
                    } else {
                        let hint =
                            format!("ALTER TABLE ... ALTER COLUMN {column:?} SET DEFAULT ...");
                        self.list.not_ok(WHAT, detail, hint);
                    }
                }
                ColumnDefect::Generated { column } => self.list.not_ok(
                    WHAT,
                    format!("{column:?} is delivered, but the server generates it"),
                    "make it an ordinary column, or a session without it",
                ),
            }
        }
    }

    /// Reports a sequence only if it would give out ids that are there.
    async fn sequence(&mut self) {
        const WHAT: &str = "sequence";
        let behind = self.probe.sequences(&self.source.table).await;
        for SequenceBehind { sequence, highest_id, setval } in
            self.list.take_answer(WHAT, behind).unwrap_or_default()
        {
            let detail = format!("{sequence} stands below id {highest_id}, which is in the table");
            let hint = format!("before the application inserts rows: {setval};");
            self.list.warning(WHAT, detail, hint);
        }
    }

    /// Reports a storage only if it costs time.
    async fn storage(&mut self) {
        const WHAT: &str = "storage";
        let advice = self.probe.storage_advice(&self.source.table).await;
        if let Some(sql) = self.list.take_answer(WHAT, advice).flatten() {
            let detail = "the server tries to compress shares, which takes time and saves nothing";
            self.list.warning(WHAT, detail, sql);
        }
    }

    /// Whether what is committed outlives a crash of the server and of its machine.
    async fn durability(&mut self) {
        const WHAT: &str = "durability";
        for LossySetting { name, lifted } in &self.lossy {
            let (detail, hint) = match *name {
                "fsync" => (
                    "fsync is off: a crash of the machine loses what was committed, or all",
                    "fsync = on in postgresql.conf: senders forget what was loaded",
                ),
                "full_page_writes" => (
                    "full_page_writes is off: a crash of the machine may damage pages",
                    "full_page_writes = on in postgresql.conf, unless the disk writes pages whole",
                ),
                _ if *lifted => (
                    "synchronous_commit is off; this program turns it on in its own transactions",
                    "nothing is needed; ALTER ROLE ... SET synchronous_commit = on says it for the \
                     role",
                ),
                _ => (
                    "synchronous_commit is off: a crash of the server loses the last commits",
                    "ALTER ROLE ... SET synchronous_commit = on",
                ),
            };
            self.list.warning(WHAT, detail, hint);
        }
        let unlogged = self.probe.is_unlogged(self.source.table.name()).await;
        match self.list.take_answer(WHAT, unlogged) {
            Some(true) => self.list.warning(
                WHAT,
                "the table is UNLOGGED: a crash of the server empties it",
                "ALTER TABLE ... SET LOGGED before the run",
            ),
            Some(false) if self.lossy.is_empty() => {
                self.list.ok(WHAT, "what is committed outlives a crash of the server");
            }
            _ => {}
        }
    }

    /// Begins a load as `rebuild` does, without making or writing anything.
    async fn loaded(&mut self, session: &Session, options: LoadOptions) {
        const WHAT: &str = "loaded so far";
        let Source { database, table, .. } = self.source;
        let loader = Loader::examine(database, table, session.fingerprint(), options).await;
        let Some(mut loader) = self.list.take_found(WHAT, loader, NO_ANSWER) else { return };
        let rows: u64 = loader.loaded().iter().map(|range| range.rows).sum();
        let said = match rows {
            0 => "nothing of this session".to_owned(),
            rows => format!("{rows} rows of this session: a run continues there"),
        };
        self.list.ok(WHAT, said);
        let existing = loader.existing_ids(session.ids().range(), 1).await;
        loader.close().await;
        let Some(existing) = self.list.take_found("other rows", existing, NO_ANSWER) else {
            return;
        };
        match (existing.first(), options.on_conflict) {
            (None, _) => {
                self.list.ok("other rows", "the table has no other row of the session's ids")
            }
            (Some(id), OnConflict::Replace { .. }) => {
                self.list
                    .ok("other rows", format!("from id {id} on; those delivered are replaced"));
            }
            (Some(id), OnConflict::Error) => self.list.warning(
                "other rows",
                format!("the table has rows of the session's ids already, the first is {id}"),
                "where one of them is delivered the load is refused before it begins: \
                 --on-conflict replace replaces such rows",
            ),
        }
    }
}

/// How long a check looks at the lengths of rows.
const LENGTHS: Duration = Duration::from_secs(20);

/// SQLSTATE of a statement that took too long.
const TOOK_TOO_LONG: &str = "57014";

fn counted_rows(estimate: &RowEstimate) -> String {
    let rows = estimate.rows;
    match estimate.known {
        RowsKnown::Estimated => format!("about {rows} by the planner's estimate"),
        RowsKnown::Counted => format!("{rows} by count, as the table was never analysed"),
        RowsKnown::AtLeast => format!(
            "unknown, but more than {}: ANALYZE the table, which was never done",
            rows.saturating_sub(1)
        ),
    }
}

/// The rights that are missing, and the SQL that grants them.
struct Grants {
    names: String,
    sql: String,
}

impl Grants {
    fn of(missing: &[MissingRight], role: &str) -> Self {
        let role = quote_identifier(role);
        let names: Vec<&str> = missing.iter().map(|right| right.grant.as_str()).collect();
        let sql: Vec<String> =
            names.iter().map(|name| format!("GRANT {name} TO {role};")).collect();
        Self { names: names.join(", "), sql: sql.join(" ") }
    }
}

/// What protects the connection from others on the network.
fn protection(list: &mut Checklist, database: &Database) {
    const WHAT: &str = "TLS";
    let hint = "sslmode=verify-full, with sslrootcert=FILE for an authority of your own";
    match database.protection() {
        None => {}
        Some(Protection::Local) => {
            list.ok(WHAT, "not needed: the connection stays on this machine")
        }
        Some(Protection::Full) => list.ok(WHAT, "the server's certificate and name are verified"),
        Some(Protection::Chain) => {
            list.warning(
                WHAT,
                "who signed the server's certificate is verified, not its name",
                hint,
            );
        }
        Some(Protection::Unverified) => {
            let detail = "on, but with anybody: the server's certificate is not verified";
            list.not_ok(WHAT, detail, hint);
        }
        Some(Protection::None) => {
            list.not_ok(WHAT, "shares would pass the network in the clear", hint)
        }
    }
}

fn standby(list: &mut Checklist, server: &Server) {
    const WHAT: &str = "standby";
    match server.standby {
        None => list.ok(WHAT, "no, this is a primary"),
        Some(standby) if standby.cancels_long_reads() => {
            let patience = standby.patience.unwrap_or_default();
            list.not_ok(
                WHAT,
                format!("a standby that cancels reads in the way of replay after {patience:?}"),
                "set hot_standby_feedback = on, or max_standby_streaming_delay and \
                 max_standby_archive_delay = -1 for the time of the run, or read the primary",
            );
        }
        Some(_) => list.ok(WHAT, "a standby that lets long reads end"),
    }
}

fn writable(list: &mut Checklist, server: &Server) {
    const WHAT: &str = "writable";
    if server.standby.is_some() {
        return list.not_ok(WHAT, "this is a standby", "name the primary in --db-url");
    }
    if server.read_only {
        let detail = "default_transaction_read_only is on for this role, database or server";
        let hint = "ALTER ROLE ... SET default_transaction_read_only = off";
        return list.not_ok(WHAT, detail, hint);
    }
    list.ok(WHAT, "a primary that takes writes");
}

fn time_limits(list: &mut Checklist, server: &Server) {
    const WHAT: &str = "time limits";
    if server.time_limits.is_empty() {
        return list.ok(WHAT, "none");
    }
    for limit in &server.time_limits {
        let (name, after) = (&limit.name, limit.limit);
        if limit.lifted {
            list.warning(
                WHAT,
                format!("{name} is {after:?} here; this program lifts it in its own transactions"),
                format!("nothing is needed; ALTER ROLE ... SET {name} = 0 says it for the role"),
            );
        } else {
            let hint = format!("ALTER ROLE ... SET {name} = 0");
            list.not_ok(WHAT, format!("{name} is {after:?} and cannot be lifted"), hint);
        }
    }
}

fn free_connections(list: &mut Checklist, server: &Server, needed: u64) {
    const WHAT: &str = "connections";
    let (free, allowed) = (server.connections.free, server.connections.allowed);
    let detail = format!("{free} of {allowed} are free, {needed} are needed");
    if free < needed {
        return list.not_ok(WHAT, detail, "give a smaller -j, or raise max_connections");
    }
    list.ok(WHAT, detail);
}

/// What the load needs in the server's tablespace, which a client cannot see.
fn size(list: &mut Checklist, session: &Session) {
    let row = session.layout().row_share_bytes() as u64;
    list.ok(
        "database's disk",
        format!(
            "a client cannot see it: each row needs {} there, and room for its WAL",
            human_bytes(row)
        ),
    );
}
