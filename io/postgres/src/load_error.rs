//! Why rows do not go into a table.

use std::time::Duration;

use reshare_engine::rows::AgreeValue;
use reshare_files::fault::Refusable;
use reshare_files::ids::{IdRange, list_ranges};
use reshare_files::timestamp::Timestamp;
use time::OffsetDateTime;

use super::connect::ConnectError;
use super::copy::EncodeError;
use super::error::DatabaseError;
use super::references::{Deletion, Reference};
use super::schema::SchemaError;
use super::table::{NameError, TableName};
use super::triggers::Trigger;

/// Why a load stops. Nothing of the range at hand is then in the table.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not the table the session is about.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A name that cannot be.
    #[error(transparent)]
    Name(#[from] NameError),
    /// A row does not fit the table.
    #[error(transparent)]
    Encode(#[from] EncodeError),
    /// Another process is at it.
    #[error("another process loads this session into table {table}, still after {waited:?}")]
    Busy {
        /// The table.
        table: TableName,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The connection that keeps other processes out is gone.
    #[error("table {table}: the connection that keeps other loads of this session out has ended")]
    TurnLost {
        /// The table.
        table: TableName,
    },
    /// The delivered rows are not ascending ids of the range.
    #[error("table {table}: id {id} is out of order or outside of the range {range}")]
    MisplacedRow {
        /// The table.
        table: TableName,
        /// The range at hand.
        range: IdRange,
        /// The first such id.
        id: i64,
    },
    /// Rows are there already, and not from this session.
    #[error("table {table} has {} of the delivered rows already: {}", count(.ids), list(.ids))]
    Conflict {
        /// The table.
        table: TableName,
        /// Their ids, ten and one more at the most.
        ids: Vec<i64>,
    },
    /// A unique constraint is violated: by a row that came meanwhile, or in another column.
    #[error("table {table} has a row already that conflicts, by constraint {constraint:?}")]
    UniqueViolation {
        /// The table.
        table: TableName,
        /// The constraint.
        constraint: String,
    },
    /// The rows there are newer.
    #[error(
        "table {table} has newer versions than delivered of {} rows: {}",
        count(.ids),
        list(.ids)
    )]
    OlderDelivered {
        /// The table.
        table: TableName,
        /// Their ids, ten and one more at the most.
        ids: Vec<i64>,
    },
    /// A trigger would put another value in place of a delivered one, in every row.
    #[error(
        "table {table}: the trigger {:?} puts a random semantic_id in place of the delivered one",
        .trigger.name
    )]
    SemanticIdReplaced {
        /// The table.
        table: TableName,
        /// The trigger.
        trigger: Box<Trigger>,
    },
    /// A trigger would refuse delivered rows.
    #[error(
        "table {table}: the trigger {:?} refuses rows whose rerand_epoch is not 0, and {count} of \
         the delivered rows have another: {}",
        .trigger.name,
        list_epochs(.rows)
    )]
    EpochsRefused {
        /// The table.
        table: TableName,
        /// The trigger.
        trigger: Box<Trigger>,
        /// How many rows.
        count: u64,
        /// Ids and epochs of the first of them, ten and one more at the most.
        rows: Vec<(i64, i64)>,
    },
    /// Rows of other tables would be lost or changed with those that are replaced.
    #[error("table {table}: {deletion}, and the foreign key {}", list_references(.references))]
    Referenced {
        /// The table.
        table: TableName,
        /// Why rows are to be deleted.
        deletion: Deletion,
        /// The foreign keys, at least one.
        references: Vec<Reference>,
    },
    /// An agree column does not hold what was delivered.
    #[error(
        "table {table}, column {column:?}, id {id}: {} is stored, {} was delivered: does a trigger change it?",
        show(.stored),
        show(.delivered)
    )]
    AgreeColumnChanged {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// The row.
        id: i64,
        /// What was written.
        delivered: AgreeValue,
        /// What is there.
        stored: AgreeValue,
    },
    /// A row was written and is not there.
    #[error(
        "table {table}, id {id}: the row was written and is not there: does a trigger drop it?"
    )]
    RowNotStored {
        /// The table.
        table: TableName,
        /// The row.
        id: i64,
    },
    /// The server counts other rows than were sent.
    #[error("table {table}, ids {range}: the server took {got} rows, {expected} were sent")]
    RowCount {
        /// The table.
        table: TableName,
        /// The range at hand.
        range: IdRange,
        /// Rows sent.
        expected: u64,
        /// Rows taken.
        got: u64,
    },
    /// The session has loaded something else over these ids.
    #[error(
        "table {table}: this session has loaded ids {recorded} with other content or bounds than {range} now"
    )]
    LoadedOtherwise {
        /// The table.
        table: TableName,
        /// The range at hand.
        range: IdRange,
        /// The range that was loaded.
        recorded: IdRange,
    },
    /// The session has loaded ranges from something else, and a session is about one delivery.
    #[error(
        "table {table}: since this session loaded ids {} at {}, {changed}",
        list_ranges(.ranges),
        second(.loaded_at)
    )]
    OtherSource {
        /// The table.
        table: TableName,
        /// All such ids; ranges without a gap between them are joined.
        ranges: Vec<IdRange>,
        /// When the first of them was loaded.
        loaded_at: OffsetDateTime,
        /// What is another now, of the first of them.
        changed: String,
        /// Whether they were loaded from packages, and not from a share file.
        is_of_packages: bool,
    },
    /// Ids are to be loaded again that the session has not loaded.
    #[error("table {table}: this session has loaded no range with ids of {range}")]
    NothingToRedo {
        /// The table.
        table: TableName,
        /// The ids.
        range: IdRange,
    },
    /// The server deletes other rows than were loaded.
    #[error(
        "table {table}, ids {range}: the server deleted {got} rows, this session has loaded \
         {expected}: does a trigger keep rows?"
    )]
    RowsNotRemoved {
        /// The table.
        table: TableName,
        /// The range at hand.
        range: IdRange,
        /// Rows loaded.
        expected: u64,
        /// Rows deleted.
        got: u64,
    },
    /// Rows were deleted after they were loaded.
    #[error(
        "table {table}: this session has loaded {recorded} rows into ids {range}, but {found} are there"
    )]
    LoadedRowsGone {
        /// The table.
        table: TableName,
        /// The ids.
        range: IdRange,
        /// Rows by the progress table.
        recorded: u64,
        /// Rows there.
        found: u64,
    },
    /// The server failed.
    #[error("writing table {table} failed")]
    Database {
        /// The table.
        table: TableName,
        /// What the server says.
        #[source]
        source: DatabaseError,
    },
}

/// SQLSTATE of a lock that was not to be had in time.
pub(super) const LOCK_NOT_AVAILABLE: &str = "55P03";

/// The most ids an error lists.
pub const LISTED_IDS: usize = 10;

impl LoadError {
    /// Whether the server has undone the transaction in favour of another one: a failed
    /// serialization or a deadlock. The same transaction may succeed now.
    #[must_use]
    pub fn is_undone_for_others(&self) -> bool {
        matches!(self, Self::Database { source, .. } if source.is_undone_for_others())
    }
}

impl Refusable for LoadError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_refusal(),
            Self::Busy { .. } | Self::TurnLost { .. } => false,
            Self::Schema(error) => error.is_refusal(),
            Self::Database { source, .. } => source.is_refusal(),
            _ => true,
        }
    }
}

impl LoadError {
    /// Names the table and, where the server says so, the constraint.
    #[must_use]
    pub fn database(table: &TableName, error: sqlx::Error) -> Self {
        let (table, source) = (table.clone(), DatabaseError::from(error));
        if source.code() == Some(UNIQUE_VIOLATION) {
            let constraint = source.constraint().unwrap_or_default().to_owned();
            return Self::UniqueViolation { table, constraint };
        }
        Self::Database { table, source }
    }
}

/// SQLSTATE of a second row where there may be one.
const UNIQUE_VIOLATION: &str = "23505";

fn count(ids: &[i64]) -> String {
    match ids.len() {
        more if more > LISTED_IDS => format!("more than {LISTED_IDS}"),
        few => few.to_string(),
    }
}

fn list(ids: &[i64]) -> String {
    let shown: Vec<_> = ids.iter().take(LISTED_IDS).map(i64::to_string).collect();
    shown.join(", ")
}

/// A time to the second, in UTC.
fn second(time: &OffsetDateTime) -> String {
    Timestamp::from(*time).to_string()
}

fn list_epochs(rows: &[(i64, i64)]) -> String {
    let shown = rows.iter().take(LISTED_IDS).map(|(id, epoch)| format!("id {id} (epoch {epoch})"));
    let mut shown: Vec<_> = shown.collect();
    shown.extend((rows.len() > LISTED_IDS).then(|| "...".to_owned()));
    shown.join(", ")
}

fn list_references(references: &[Reference]) -> String {
    let shown: Vec<_> = references.iter().map(Reference::to_string).collect();
    shown.join("; and the foreign key ")
}

fn show(value: &AgreeValue) -> String {
    match value {
        AgreeValue::Null => "NULL".to_owned(),
        AgreeValue::Integer(value) => value.to_string(),
        AgreeValue::Uuid(bytes) => {
            let hex = hex::encode(bytes);
            format!(
                "{}-{}-{}-{}-{}",
                &hex[..8],
                &hex[8..12],
                &hex[12..16],
                &hex[16..20],
                &hex[20..]
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_listed_up_to_ten() {
        let ids: Vec<i64> = (1..=11).collect();
        assert_eq!(
            (count(&ids).as_str(), list(&ids).as_str()),
            ("more than 10", "1, 2, 3, 4, 5, 6, 7, 8, 9, 10")
        );
        assert_eq!((count(&ids[..2]).as_str(), list(&ids[..2]).as_str()), ("2", "1, 2"));
    }

    #[test]
    fn values_are_shown_as_sql_shows_them() {
        let uuid: Vec<u8> = (0..16).collect();
        let uuid = AgreeValue::Uuid(uuid.try_into().expect("16 bytes"));
        assert_eq!(show(&uuid), "00010203-0405-0607-0809-0a0b0c0d0e0f");
        assert_eq!(show(&AgreeValue::Null), "NULL");
    }
}
