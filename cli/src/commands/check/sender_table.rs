//! A sender's table: its rows, and the parts that they make.

use std::time::Duration;

use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::preflight::{RowEstimate, RowsKnown, TableUse, read_first_row};
use reshare_pipeline::rows_wanted::RowIds;
use reshare_postgres::export::ExportError;

use super::checklist::Checklist;
use super::database::{Look, NO_ANSWER, source};
use crate::args::{DatabaseArgs, WorkArgs};
use crate::failure::Failure;
use crate::setup::context::Context;
use crate::setup::database::workers;
use crate::text::human_bytes;

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

impl Look<'_> {
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
