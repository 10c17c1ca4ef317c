//! Triggers that a load fires, and what they may do to its rows.

use sqlx::{AssertSqlSafe, Row};

use super::Probe;
use super::rights::oid_of;
use crate::postgres::error::DatabaseError;
use crate::postgres::table::{RERAND_EPOCH, TableSpec};

/// A trigger that fires when a row is added, or removed to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Its function.
    pub function: String,
    /// What it may do.
    pub effect: TriggerEffect,
}

/// What a trigger may do to the rows of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TriggerEffect {
    /// Nothing that matters: known by its name, and the column it sets is not delivered.
    Harmless,
    /// That of iris-mpc's newer table, which refuses a row whose `rerand_epoch` is not 0.
    RefusesEpochs,
    /// That of iris-mpc's newer table, which puts a random `semantic_id` in place of the
    /// delivered one: every row is refused when it is read back.
    ReplacesSemanticId,
    /// It sees each row before it is stored: it may change, drop or refuse it.
    MayChangeRows,
    /// It runs after rows are stored, or once for all: it may refuse them.
    MayRefuseRows,
}

/// Bits of `pg_trigger.tgtype`.
const ROW: i16 = 1;
const BEFORE: i16 = 2;

impl Probe {
    /// Lists the triggers that a load fires, by name.
    ///
    /// # Errors
    /// What the server says.
    pub async fn triggers(
        &mut self,
        spec: &TableSpec,
        replace: bool,
    ) -> Result<Vec<Trigger>, DatabaseError> {
        // INSERT is 4, DELETE is 8. Those of foreign keys and the like are internal.
        let events = if replace { 4 | 8 } else { 4 };
        let sql = format!(
            "SELECT t.tgname::text, p.proname::text, t.tgtype FROM pg_catalog.pg_trigger t \
             JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
             WHERE t.tgrelid = {} AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A') \
               AND t.tgtype & {events} <> 0 ORDER BY t.tgname",
            oid_of(spec.name())
        );
        let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(&mut self.connection).await?;
        let trigger = |row: &sqlx::postgres::PgRow| {
            let (name, function): (String, String) = (row.try_get(0)?, row.try_get(1)?);
            let effect = effect_of(&function, row.try_get(2)?, spec);
            Ok(Trigger { name, function, effect })
        };
        let triggers: Result<_, sqlx::Error> = rows.iter().map(trigger).collect();
        Ok(triggers?)
    }
}

/// Judges a trigger by its function's name, where that is one of iris-mpc's tables, and else by
/// when it fires.
fn effect_of(function: &str, kind: i16, spec: &TableSpec) -> TriggerEffect {
    let delivers = |column: &str| spec.column_names().any(|name| name == column);
    match function {
        "update_last_modified_at" if !delivers("last_modified_at") => TriggerEffect::Harmless,
        "update_iris_metadata" if delivers("semantic_id") => TriggerEffect::ReplacesSemanticId,
        "update_iris_metadata" if delivers(RERAND_EPOCH) => TriggerEffect::RefusesEpochs,
        _ if kind & (ROW | BEFORE) == ROW | BEFORE => TriggerEffect::MayChangeRows,
        _ => TriggerEffect::MayRefuseRows,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};

    use super::*;
    use crate::postgres::table::TableName;

    fn spec(agree: &[(&str, AgreeKind)]) -> TableSpec {
        let agree =
            agree.iter().map(|(name, kind)| AgreeColumn { name: (*name).into(), kind: *kind });
        let share = ShareColumn { name: "left_code".into(), len: 4 };
        let layout = RowLayout::new(agree.collect(), vec![share]).expect("a layout");
        let name = TableName::new("public", "irises").expect("a name");
        TableSpec::new(name, "id", Arc::new(layout)).expect("usable")
    }

    #[test]
    fn the_triggers_of_both_tables_of_iris_mpc_are_known() {
        let before_row = 4 | ROW | BEFORE;
        let old = spec(&[("version_id", AgreeKind::Integer)]);
        assert_eq!(effect_of("update_last_modified_at", before_row, &old), TriggerEffect::Harmless);
        let epochs =
            spec(&[("version_id", AgreeKind::Integer), (RERAND_EPOCH, AgreeKind::Integer)]);
        let newer = |spec| effect_of("update_iris_metadata", before_row, spec);
        assert_eq!(newer(&epochs), TriggerEffect::RefusesEpochs);
        let semantic =
            spec(&[("semantic_id", AgreeKind::Uuid), (RERAND_EPOCH, AgreeKind::Integer)]);
        assert_eq!(newer(&semantic), TriggerEffect::ReplacesSemanticId);
    }

    #[test]
    fn an_unknown_trigger_is_judged_by_when_it_fires() {
        let spec = spec(&[("last_modified_at", AgreeKind::Integer)]);
        let judged = |function, kind| effect_of(function, kind, &spec);
        assert_eq!(judged("stamp", 4 | ROW | BEFORE), TriggerEffect::MayChangeRows);
        assert_eq!(judged("audit", 4 | ROW), TriggerEffect::MayRefuseRows);
        assert_eq!(judged("audit", 4 | BEFORE), TriggerEffect::MayRefuseRows);
        let sets_a_delivered_column = judged("update_last_modified_at", 4 | ROW | BEFORE);
        assert_eq!(sets_a_delivered_column, TriggerEffect::MayChangeRows);
    }
}
