//! Why an export stops.

use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;

use crate::connect::ConnectError;
use crate::copy::DecodeError;
use crate::error::DatabaseError;
use crate::schema::SchemaError;
use crate::table::TableName;

/// Bad rows that are listed.
pub(super) const LISTED_BAD_ROWS: usize = 10;

/// Why an export stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// No connection.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Not the table the session is about.
    #[error(transparent)]
    Schema(#[from] SchemaError),
    /// A row that is not of the session's layout.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The server failed.
    #[error("reading table {table} failed")]
    Database {
        /// The table.
        table: TableName,
        /// What the server says.
        #[source]
        source: DatabaseError,
    },
    /// The transaction that holds the snapshot has ended before all was read. Another snapshot may
    /// last longer.
    #[error("table {table}: {}", match on_standby {
        true => "the standby has ended the snapshot, to go on with its replay",
        false => "the connection that held the snapshot has ended",
    })]
    SnapshotLost {
        /// The table.
        table: TableName,
        /// Whether the server is a standby.
        on_standby: bool,
        /// What the server says.
        #[source]
        source: Box<DatabaseError>,
    },
    /// Rows that are not as the session says.
    #[error(
        "table {table}, ids {ids}: {} not have the session's lengths: {}",
        rows_do(.count),
        list_bad(.rows)
    )]
    BadRows {
        /// The table.
        table: TableName,
        /// The part, or what was looked at.
        ids: IdRange,
        /// How many rows.
        count: u64,
        /// Id, column and bytes found of the first of them; `None` is NULL.
        rows: Vec<(i64, String, Option<i64>)>,
    },
    /// The server cannot read what it has stored.
    #[error("table {table}, ids {ids}: the server finds its data damaged{}", list_damaged(.rows))]
    Damaged {
        /// The table.
        table: TableName,
        /// The ids: one of these rows, or more.
        ids: IdRange,
        /// The first of the rows, if they can be told from the others.
        rows: Vec<i64>,
        /// What the server says.
        #[source]
        source: Box<DatabaseError>,
    },
    /// One id has several rows.
    #[error(
        "table {table}: id {id} has several rows; tables that inherit from it have rows too: {children}"
    )]
    RepeatedId {
        /// The table.
        table: TableName,
        /// The first such id.
        id: i64,
        /// Their names.
        children: Box<str>,
    },
    /// More or fewer rows than planned, though in the same snapshot.
    #[error("table {table}, ids {ids}: {got} rows came, expected {expected}")]
    RowCount {
        /// The table.
        table: TableName,
        /// The part.
        ids: IdRange,
        /// Rows by the plan.
        expected: u64,
        /// Rows received.
        got: u64,
    },
}

impl Refusable for ExportError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Connect(error) => error.is_refusal(),
            Self::Schema(error) => error.is_refusal(),
            Self::Decode(error) => !matches!(error, DecodeError::Truncated { .. }),
            Self::Database { source, .. } => source.is_refusal(),
            Self::SnapshotLost { .. } => false,
            Self::RowCount { .. }
            | Self::BadRows { .. }
            | Self::Damaged { .. }
            | Self::RepeatedId { .. } => true,
        }
    }
}

impl ExportError {
    pub(super) fn database(table: &TableName, error: sqlx::Error) -> Self {
        Self::Database { table: table.clone(), source: DatabaseError::from(error) }
    }

    /// A failure of a transaction that has a snapshot.
    pub(super) fn in_snapshot(table: &TableName, on_standby: bool, error: sqlx::Error) -> Self {
        Self::of_snapshot(table, on_standby, DatabaseError::from(error))
    }

    /// A standby cancels a statement, or ends a session that is idle; which of the two, and whether
    /// its reason arrives before the connection breaks, is chance.
    pub(super) fn of_snapshot(table: &TableName, on_standby: bool, source: DatabaseError) -> Self {
        let table = table.clone();
        if on_standby && (source.is_undone_for_others() || source.is_connection_lost()) {
            return Self::SnapshotLost { table, on_standby, source: Box::new(source) };
        }
        Self::Database { table, source }
    }

    /// Whether a standby has ended the snapshot, so that another one may do.
    #[must_use]
    pub fn is_lost_on_standby(&self) -> bool {
        matches!(self, Self::SnapshotLost { on_standby: true, .. })
    }
}

fn list_damaged(rows: &[i64]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = rows.iter().map(|id| format!("id {id}")).collect();
    let more = if rows.len() == LISTED_BAD_ROWS { ", ..." } else { "" };
    format!(": {}{more}", shown.join(", "))
}

fn rows_do(count: &u64) -> String {
    if *count == 1 { "1 row does".to_owned() } else { format!("{count} rows do") }
}

fn list_bad(rows: &[(i64, String, Option<i64>)]) -> String {
    let shown = rows.iter().map(|(id, column, bytes)| match bytes {
        Some(bytes) => format!("id {id} ({column:?} has {bytes} bytes)"),
        None => format!("id {id} ({column:?} is NULL)"),
    });
    let mut shown: Vec<String> = shown.collect();
    shown.extend((rows.len() == LISTED_BAD_ROWS).then(|| "...".to_owned()));
    shown.join(", ")
}
