//! The receiver's table: what a load does to it, and what may be in its way.

use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::preflight::{ColumnDefect, LossySetting, TableUse};
use reshare_pipeline::workers::Source;
use reshare_postgres::load::Loader;
use reshare_postgres::load_options::{LoadOptions, OnConflict};
use reshare_postgres::references::Deletion;
use reshare_postgres::sequence::SequenceBehind;
use reshare_postgres::triggers::TriggerEffect;

use super::checklist::Checklist;
use super::database::{Grants, Look, NO_ANSWER, source};
use super::trigger::check_trigger;
use crate::args::DatabaseArgs;
use crate::setup::context::Context;
use crate::text::human_bytes;

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

impl Look<'_> {
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
