//! What reshare knows about iris-mpc's tables: two columns, and the triggers that set or check
//! them.

/// The column with the epoch in which a share was re-randomised.
///
/// In a table with this column, shares change while `version_id` stays the same, so the senders
/// must agree on it.
pub const RERAND_EPOCH: &str = "rerand_epoch";

/// The column to which the newer table's trigger gives a random value.
pub const SEMANTIC_ID: &str = "semantic_id";

/// The trigger function of the newer table. It reads [`CONTROL_TABLE`] with the rights of the role
/// that inserts.
pub const METADATA_FUNCTION: &str = "update_iris_metadata";

/// The table of the epochs, in the same schema.
pub const CONTROL_TABLE: &str = "rerand_control";

/// The trigger function of both tables that sets the time of the last change.
const LAST_MODIFIED_FUNCTION: &str = "update_last_modified_at";

/// What a trigger of iris-mpc does to a row that is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KnownTrigger {
    /// It sets `last_modified_at`, which is not delivered.
    SetsLastModified,
    /// It refuses a row whose `rerand_epoch` is not 0.
    RefusesEpochs,
    /// It puts a random `semantic_id` in place of the delivered one.
    ReplacesSemanticId,
}

impl KnownTrigger {
    /// Returns what a function does, by its name and the delivered columns; `None` for any other
    /// function, and for one that does not see new rows before they are stored.
    pub(super) fn of(
        function: &str,
        sees_new_rows: bool,
        delivers: impl Fn(&str) -> bool,
    ) -> Option<Self> {
        match function {
            LAST_MODIFIED_FUNCTION if !delivers("last_modified_at") => Some(Self::SetsLastModified),
            METADATA_FUNCTION if sees_new_rows && delivers(SEMANTIC_ID) => {
                Some(Self::ReplacesSemanticId)
            }
            METADATA_FUNCTION if sees_new_rows && delivers(RERAND_EPOCH) => {
                Some(Self::RefusesEpochs)
            }
            _ => None,
        }
    }
}
