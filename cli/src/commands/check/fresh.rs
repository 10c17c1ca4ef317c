//! Whether the receiver's table can be loaded as a fresh one.

use reshare_pipeline::preflight::{Probe, Server};
use reshare_postgres::fresh::NotFresh;
use reshare_postgres::table::TableName;

use super::checklist::Checklist;
use crate::hints::fresh_hint;

/// Tells everything that would stop the load, as the load itself finds it, but for the rights:
/// these are told with all the others.
pub(super) async fn check(
    list: &mut Checklist,
    probe: &mut Probe,
    table: &TableName,
    truncate: bool,
) {
    const WHAT: &str = "fresh table";
    let Some(defects) = list.take_answer(WHAT, probe.fresh_defects(table).await) else { return };
    let has_rows = defects.contains(&NotFresh::NotEmpty);
    let is_told = |defect: &NotFresh| match defect {
        NotFresh::NoRight => true,
        NotFresh::NotEmpty => truncate,
        _ => false,
    };
    let mut defects = defects.into_iter().filter(|defect| !is_told(defect)).peekable();
    if defects.peek().is_none() {
        let said = match has_rows {
            false => "it is empty: loaded in one transaction, by one connection",
            true => "it has rows: all of them, whoever wrote them, are removed as the load begins",
        };
        list.ok(WHAT, said);
    }
    for defect in defects {
        let hint = fresh_hint(&defect).unwrap_or_default();
        list.not_ok(WHAT, defect.to_string(), hint);
    }
}

/// Whether the server logs every row: no reason not to load, and what a fresh table is taken for.
pub(super) fn log(list: &mut Checklist, server: &Server) {
    let said = match server.wal_level.as_str() {
        "minimal" => "wal_level is minimal: the rows of a fresh table are not logged".to_owned(),
        level => format!(
            "wal_level is {level}: every row is logged, too, and only VACUUM is spared. Where nothing \
             replicates from this server or archives its log, wal_level = minimal with \
             max_wal_senders = 0 and a restart changes that"
        ),
    };
    list.ok("log", said);
}
