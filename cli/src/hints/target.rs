//! What to do about a target whose triggers or foreign keys would break a load.

use reshare_postgres::load_error::LoadError;
use reshare_postgres::references::{Deletion, Reference};
use reshare_postgres::table::TableName;
use reshare_postgres::triggers::Trigger;

/// What to do next, where a trigger or a foreign key of the target is in the way.
pub(crate) fn target_hint(error: &LoadError) -> Option<String> {
    Some(match error {
        LoadError::SemanticIdReplaced { table, trigger } => format!(
            "nothing has been written; make a session without the agree column semantic_id, which \
             differs from party to party, or where the senders agree on it {}",
            without_trigger(table, trigger)
        ),
        LoadError::EpochsRefused { table, trigger, .. } => format!(
            "none of these rows has been written; {}. The trigger also sets semantic_id and last_modified_at, \
             which stay NULL without it. The rows cannot be loaded as epoch 0: their shares are of \
             the epoch that is delivered with them",
            without_trigger(table, trigger)
        ),
        LoadError::Referenced { deletion, references, .. } => {
            let sql = |of: fn(&Reference) -> String| {
                references.iter().map(of).collect::<Vec<_>>().join("; ")
            };
            let instead = match deletion {
                Deletion::Replace => {
                    "where the table has no delivered row yet, leave --on-conflict replace out; else "
                }
                Deletion::Redo => "",
            };
            format!(
                "nothing has been written; {instead}{}, run the same command again, then {}",
                sql(Reference::drop_sql),
                sql(Reference::add_sql)
            )
        }
        _ => return None,
    })
}

fn without_trigger(table: &TableName, trigger: &Trigger) -> String {
    format!(
        "{}, run the same command again, then {}",
        trigger.disable_sql(table),
        trigger.enable_sql(table)
    )
}
