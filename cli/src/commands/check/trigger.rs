//! A trigger of the receiver's table, and its effect on a load.

use reshare_postgres::table::TableName;
use reshare_postgres::triggers::{Trigger, TriggerEffect};

use super::checklist::Checklist;

pub(super) fn check_trigger(list: &mut Checklist, trigger: &Trigger, table: &TableName) {
    const WHAT: &str = "triggers";
    let said = format!("{:?} ({})", trigger.name, trigger.function);
    let for_the_load = format!(
        "{} for the time of the load, and then {}",
        trigger.disable_sql(table),
        trigger.enable_sql(table)
    );
    let read = format!("read its function, or {for_the_load}");
    match trigger.effect {
        TriggerEffect::Harmless => {
            list.ok(WHAT, format!("{said} changes nothing that is delivered"));
        }
        TriggerEffect::ReplacesSemanticId => list.not_ok(
            WHAT,
            format!("{said} puts a random semantic_id in place of the delivered one"),
            format!(
                "make a session without the agree column semantic_id: it differs from party to \
                 party; or {for_the_load}"
            ),
        ),
        TriggerEffect::RefusesEpochs => list.warning(
            WHAT,
            format!("{said} refuses rows whose rerand_epoch is not 0"),
            format!(
                "where senders have such rows a load is refused before it writes anything: \
                 {for_the_load}"
            ),
        ),
        TriggerEffect::MayRefuseRows => {
            list.warning(WHAT, format!("{said} runs with every load, and may refuse it"), read)
        }
        _ => list.warning(
            WHAT,
            format!("{said} sees each row before it is stored, and may change, drop or refuse it"),
            read,
        ),
    }
}
