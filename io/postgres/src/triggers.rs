//! Triggers that a load fires, and what they may do to its rows.

use futures_util::future::BoxFuture;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::error::DatabaseError;
use super::iris_mpc::KnownTrigger;
use super::table::{TableName, TableSpec, quote_identifier};

/// A trigger that fires when a row is inserted, or deleted to be replaced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trigger {
    /// Its name.
    pub name: String,
    /// Its function.
    pub function: String,
    /// What it may do.
    pub effect: TriggerEffect,
    /// How it is enabled.
    pub enabled: Enabled,
}

/// What a trigger may do to the rows of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TriggerEffect {
    /// Nothing that matters: it is known by its name, and the column that it sets is not delivered.
    Harmless,
    /// It refuses a row whose `rerand_epoch` is not 0: the trigger of iris-mpc's newer table.
    RefusesEpochs,
    /// It replaces the delivered `semantic_id` by a random one: the trigger of iris-mpc's newer
    /// table.
    ReplacesSemanticId,
    /// It sees each row before it is stored, and may change, drop or refuse it.
    MayChangeRows,
    /// It runs after rows are stored, or once per statement, and may refuse them.
    MayRefuseRows,
}

/// When an enabled trigger fires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enabled {
    /// Unless the connection applies changes of another server.
    Usually,
    /// Always.
    Always,
    /// Only if the connection applies changes of another server.
    AtReplicas,
}

impl Trigger {
    /// The SQL that disables it.
    #[must_use]
    pub fn disable_sql(&self, table: &TableName) -> String {
        self.alter_sql(table, "DISABLE")
    }

    /// The SQL that enables it again in its present mode.
    #[must_use]
    pub fn enable_sql(&self, table: &TableName) -> String {
        self.alter_sql(
            table,
            match self.enabled {
                Enabled::Usually => "ENABLE",
                Enabled::Always => "ENABLE ALWAYS",
                Enabled::AtReplicas => "ENABLE REPLICA",
            },
        )
    }

    fn alter_sql(&self, table: &TableName, how: &str) -> String {
        format!("ALTER TABLE {} {how} TRIGGER {}", table.sql(), quote_identifier(&self.name))
    }
}

/// Bits of `pg_trigger.tgtype`.
const ROW: i16 = 1;
const BEFORE: i16 = 2;
const INSERT: i16 = 4;
const DELETE: i16 = 8;

/// Lists the triggers that a load fires on this connection, by name.
///
/// # Errors
/// Any error of the server.
pub fn fired_triggers<'a>(
    connection: &'a mut PgConnection,
    spec: &'a TableSpec,
    replace: bool,
) -> BoxFuture<'a, Result<Vec<Trigger>, DatabaseError>> {
    Box::pin(async move {
        // Triggers of foreign keys and other constraints are internal.
        let query = crate::statement::query(
            "SELECT t.tgname::text, p.proname::text, t.tgtype, t.tgenabled::text \
         FROM pg_catalog.pg_trigger t \
         JOIN pg_catalog.pg_proc p ON p.oid = t.tgfoid \
         JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND NOT t.tgisinternal \
           AND t.tgenabled::text = ANY(\
               CASE pg_catalog.current_setting('session_replication_role') \
               WHEN 'replica' THEN '{A,R}'::text[] ELSE '{A,O}'::text[] END) \
           AND t.tgtype & $3 <> 0 ORDER BY t.tgname",
        );
        let events = if replace { INSERT | DELETE } else { INSERT };
        let query = query.bind(spec.name().schema()).bind(spec.name().table()).bind(events);
        let rows = query.fetch_all(connection).await?;
        let triggers: Result<_, sqlx::Error> = rows.iter().map(|row| trigger(row, spec)).collect();
        Ok(triggers?)
    })
}

fn trigger(row: &PgRow, spec: &TableSpec) -> Result<Trigger, sqlx::Error> {
    let (name, function): (String, String) = (row.try_get(0)?, row.try_get(1)?);
    let effect = effect_of(&function, row.try_get(2)?, spec);
    let enabled = match row.try_get(3)? {
        "A" => Enabled::Always,
        "R" => Enabled::AtReplicas,
        _ => Enabled::Usually,
    };
    Ok(Trigger { name, function, effect, enabled })
}

/// Classifies a trigger by its function's name, if that is one of iris-mpc's, or else by when it
/// fires.
fn effect_of(function: &str, kind: i16, spec: &TableSpec) -> TriggerEffect {
    let delivers = |column: &str| spec.column_names().any(|name| name == column);
    let sees_rows = kind & (ROW | BEFORE) == ROW | BEFORE;
    match KnownTrigger::of(function, sees_rows && kind & INSERT != 0, delivers) {
        Some(KnownTrigger::SetsLastModified) => TriggerEffect::Harmless,
        Some(KnownTrigger::RefusesEpochs) => TriggerEffect::RefusesEpochs,
        Some(KnownTrigger::ReplacesSemanticId) => TriggerEffect::ReplacesSemanticId,
        None if sees_rows => TriggerEffect::MayChangeRows,
        None => TriggerEffect::MayRefuseRows,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};

    use super::*;
    use crate::iris_mpc::{RERAND_EPOCH, SEMANTIC_ID};

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
        let before_row = INSERT | ROW | BEFORE;
        let old = spec(&[("version_id", AgreeKind::Integer)]);
        assert_eq!(effect_of("update_last_modified_at", before_row, &old), TriggerEffect::Harmless);
        let epochs =
            spec(&[("version_id", AgreeKind::Integer), (RERAND_EPOCH, AgreeKind::Integer)]);
        let newer = |kind, spec| effect_of("update_iris_metadata", kind, spec);
        assert_eq!(newer(before_row, &epochs), TriggerEffect::RefusesEpochs);
        assert_eq!(newer(DELETE | ROW | BEFORE, &epochs), TriggerEffect::MayChangeRows);
        let semantic = spec(&[(SEMANTIC_ID, AgreeKind::Uuid), (RERAND_EPOCH, AgreeKind::Integer)]);
        assert_eq!(newer(before_row, &semantic), TriggerEffect::ReplacesSemanticId);
        assert_eq!(newer(INSERT | ROW, &semantic), TriggerEffect::MayRefuseRows);
    }

    #[test]
    fn an_unknown_trigger_is_judged_by_when_it_fires() {
        let spec = spec(&[("last_modified_at", AgreeKind::Integer)]);
        let judged = |function, kind| effect_of(function, kind, &spec);
        assert_eq!(judged("stamp", INSERT | ROW | BEFORE), TriggerEffect::MayChangeRows);
        assert_eq!(judged("audit", INSERT | ROW), TriggerEffect::MayRefuseRows);
        assert_eq!(judged("audit", INSERT | BEFORE), TriggerEffect::MayRefuseRows);
        let sets_a_delivered_column = judged("update_last_modified_at", INSERT | ROW | BEFORE);
        assert_eq!(sets_a_delivered_column, TriggerEffect::MayChangeRows);
    }

    #[test]
    fn a_trigger_is_enabled_in_the_form_that_it_had() {
        let table = TableName::new("SMPC_dev_2", "irises").expect("a name");
        let effect = TriggerEffect::RefusesEpochs;
        let sql = |enabled| {
            let (name, function) = ("guard \"it\"".to_owned(), "guard".to_owned());
            Trigger { name, function, effect, enabled }.enable_sql(&table)
        };
        let of = "\"SMPC_dev_2\".\"irises\"";
        let always = format!("ALTER TABLE {of} ENABLE ALWAYS TRIGGER \"guard \"\"it\"\"\"");
        assert_eq!(sql(Enabled::Always), always);
        assert_eq!(sql(Enabled::Usually), always.replace("ALWAYS ", ""));
        assert_eq!(sql(Enabled::AtReplicas), always.replace("ALWAYS", "REPLICA"));
    }
}
