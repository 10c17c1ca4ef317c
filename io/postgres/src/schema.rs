//! Checks that a table fits a session.

use futures_util::future::BoxFuture;
use reshare_engine::layout::AgreeKind;
use reshare_files::fault::Refusable;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::error::DatabaseError;
use super::iris_mpc::RERAND_EPOCH;
use super::table::{AgreeType, IntegerWidth, Table, TableName, TableSpec, quote_identifier};

impl Table {
    /// Reads the catalog and checks that the table fits `spec`.
    ///
    /// The id column is BIGINT, INTEGER or SMALLINT, never NULL, and unique by itself; agree
    /// columns are SMALLINT, INTEGER, BIGINT or UUID as the layout says; share columns are
    /// BYTEA. A table with a column `rerand_epoch` that is not an agree column is refused: its
    /// shares change while `version_id` stays the same, so two senders could differ unnoticed.
    ///
    /// # Errors
    /// The first [`SchemaError`], which names table and column.
    pub fn inspect<'a>(
        connection: &'a mut PgConnection,
        spec: &'a TableSpec,
    ) -> BoxFuture<'a, Result<Self, SchemaError>> {
        Box::pin(async move {
            let columns = Columns::read(connection, spec.name()).await?;
            let id = columns.find(spec.id_column())?;
            let Some(AgreeType::Integer(id_width)) = agree_type(id.type_oid) else {
                return Err(columns.wrong_type(id, "bigint"));
            };
            let (table, column) = (spec.name().clone(), id.name.clone());
            match uniqueness(connection, columns.table_oid, id.number).await? {
                Uniqueness::Always if id.not_null => {}
                Uniqueness::Deferrable => {
                    return Err(SchemaError::DeferrableKey { table, column });
                }
                _ => return Err(SchemaError::NotAKey { table, column }),
            }
            let mut agree_types = vec![];
            for column in spec.layout().agree() {
                let found = columns.find(&column.name)?;
                let kind = agree_type(found.type_oid).filter(|found| found.kind() == column.kind);
                let expected = match column.kind {
                    AgreeKind::Integer => "smallint, integer or bigint",
                    AgreeKind::Uuid => "uuid",
                };
                agree_types.push(kind.ok_or_else(|| columns.wrong_type(found, expected))?);
            }
            for column in spec.layout().shares() {
                let found = columns.find(&column.name)?;
                if found.type_oid != BYTEA {
                    return Err(columns.wrong_type(found, "bytea"));
                }
            }
            let agrees = spec.layout().agree().iter().any(|column| column.name == RERAND_EPOCH);
            if !agrees && columns.find(RERAND_EPOCH).is_ok() {
                return Err(SchemaError::EpochNotAgreed { table: spec.name().clone() });
            }
            let table = Self::new(spec.clone(), id_width, agree_types);
            Ok(table.expect("each type was checked against its column's kind"))
        })
    }
}

/// Whether the table has the column [`RERAND_EPOCH`], so that a session has to agree on it.
///
/// # Errors
/// [`SchemaError::NoSuchTable`] and [`SchemaError::Database`].
pub fn has_rerand_epoch<'a>(
    connection: &'a mut PgConnection,
    name: &'a TableName,
) -> BoxFuture<'a, Result<bool, SchemaError>> {
    Box::pin(async move { Ok(Columns::read(connection, name).await?.find(RERAND_EPOCH).is_ok()) })
}

/// The share columns that the server tries to compress. Shares do not shrink, so this only costs
/// time.
///
/// Tables with small rows have none, since the server does not compress them.
///
/// # Errors
/// Any error of the server.
pub fn compressed_columns<'a>(
    connection: &'a mut PgConnection,
    spec: &'a TableSpec,
) -> BoxFuture<'a, Result<Vec<String>, DatabaseError>> {
    Box::pin(async move {
        if spec.layout().row_share_bytes() < TOAST_THRESHOLD {
            return Ok(vec![]);
        }
        let shares: Vec<&str> =
            spec.layout().shares().iter().map(|column| column.name.as_str()).collect();
        // EXTENDED or MAIN.
        let query = crate::statement::query_scalar(
            "SELECT a.attname::text FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
         JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = ANY($3) \
           AND NOT a.attisdropped AND a.attstorage IN ('x', 'm') ORDER BY a.attnum",
        );
        let query = query.bind(spec.name().schema()).bind(spec.name().table()).bind(shares);
        Ok(query.fetch_all(connection).await?)
    })
}

/// The SQL that makes the server store [`compressed_columns`] uncompressed.
#[must_use]
pub fn storage_sql(spec: &TableSpec, columns: &[String]) -> String {
    let set =
        |column: &String| format!("ALTER COLUMN {} SET STORAGE EXTERNAL", quote_identifier(column));
    let set: Vec<String> = columns.iter().map(set).collect();
    format!("ALTER TABLE {} {}", spec.name().sql(), set.join(", "))
}

/// Size in bytes from which the server compresses a row or moves columns out of it.
const TOAST_THRESHOLD: usize = 2000;
const BYTEA: i64 = 17;

/// The type of an agree column by its OID, which the catalog fixes for built-in types.
fn agree_type(oid: i64) -> Option<AgreeType> {
    match oid {
        21 => Some(AgreeType::Integer(IntegerWidth::Two)),
        23 => Some(AgreeType::Integer(IntegerWidth::Four)),
        20 => Some(AgreeType::Integer(IntegerWidth::Eight)),
        2950 => Some(AgreeType::Uuid),
        _ => None,
    }
}

struct Columns {
    table: TableName,
    table_oid: i64,
    columns: Vec<Column>,
}

struct Column {
    name: String,
    number: i16,
    type_oid: i64,
    type_name: String,
    not_null: bool,
}

impl Columns {
    async fn read(connection: &mut PgConnection, name: &TableName) -> Result<Self, SchemaError> {
        let found = crate::statement::query(
            "SELECT c.oid::bigint, c.relkind::text FROM pg_catalog.pg_class c \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2",
        );
        let found = found.bind(name.schema()).bind(name.table());
        let found = found.fetch_optional(&mut *connection).await.map_err(DatabaseError::from)?;
        let missing = || SchemaError::NoSuchTable { table: name.clone() };
        let found = found.ok_or_else(missing)?;
        let table_oid = found.try_get(0).map_err(DatabaseError::from)?;
        let kind: String = found.try_get(1).map_err(DatabaseError::from)?;
        if kind != "r" && kind != "p" {
            return Err(SchemaError::NotATable { table: name.clone() });
        }
        // A domain is sent in the format of its base type.
        let rows = crate::statement::query(
            "SELECT a.attname::text, a.attnum, \
                    COALESCE(NULLIF(t.typbasetype, 0), t.oid)::bigint, \
                    pg_catalog.format_type(a.atttypid, a.atttypmod), a.attnotnull \
             FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid \
             WHERE a.attrelid = $1::bigint::oid AND a.attnum > 0 AND NOT a.attisdropped",
        );
        let rows = rows.bind(table_oid).fetch_all(connection).await.map_err(DatabaseError::from)?;
        let columns: Result<_, sqlx::Error> = rows.iter().map(Column::of).collect();
        let columns = columns.map_err(DatabaseError::from)?;
        Ok(Self { table: name.clone(), table_oid, columns })
    }

    fn find(&self, name: &str) -> Result<&Column, SchemaError> {
        let missing = || {
            let (table, column) = (self.table.clone(), name.to_owned());
            SchemaError::NoSuchColumn { table, column }
        };
        self.columns.iter().find(|column| column.name == name).ok_or_else(missing)
    }

    fn wrong_type(&self, column: &Column, expected: &'static str) -> SchemaError {
        SchemaError::WrongType {
            table: self.table.clone(),
            column: column.name.clone(),
            found: column.type_name.clone(),
            expected,
        }
    }
}

impl Column {
    fn of(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            name: row.try_get(0)?,
            number: row.try_get(1)?,
            type_oid: row.try_get(2)?,
            type_name: row.try_get(3)?,
            not_null: row.try_get(4)?,
        })
    }
}

/// How a column alone is unique.
enum Uniqueness {
    /// By an index that covers every row and is checked at once.
    Always,
    /// By a constraint that may be checked later.
    Deferrable,
    No,
}

async fn uniqueness(
    connection: &mut PgConnection,
    table_oid: i64,
    column: i16,
) -> Result<Uniqueness, SchemaError> {
    let found = crate::statement::query_scalar(
        "SELECT bool_or(i.indimmediate) FROM pg_catalog.pg_index i \
         WHERE i.indrelid = $1::bigint::oid AND i.indisunique AND i.indisvalid \
           AND i.indpred IS NULL AND i.indnkeyatts = 1 AND i.indkey[0] = $2",
    );
    let found = found.bind(table_oid).bind(column).fetch_one(connection).await;
    let found: Option<bool> = found.map_err(DatabaseError::from)?;
    Ok(match found {
        Some(true) => Uniqueness::Always,
        Some(false) => Uniqueness::Deferrable,
        None => Uniqueness::No,
    })
}

/// The tables that inherit from a table which is not partitioned: a query of it has their rows too,
/// and its key does not hold for them.
pub(super) async fn children(
    connection: &mut PgConnection,
    table: &TableName,
) -> Result<Vec<String>, SchemaError> {
    let found = crate::statement::query_scalar(
        "SELECT i.inhrelid::pg_catalog.regclass::text FROM pg_catalog.pg_inherits i \
         JOIN pg_catalog.pg_class c ON c.oid = i.inhparent \
         WHERE i.inhparent = pg_catalog.to_regclass($1) AND c.relkind = 'r' ORDER BY 1",
    );
    let found = found.bind(table.sql()).fetch_all(connection).await;
    Ok(found.map_err(DatabaseError::from)?)
}

/// Refuses a table with a delivered column that the server computes by itself: no load could fill
/// it.
///
/// # Errors
/// [`SchemaError::Generated`] and [`SchemaError::Database`].
pub fn refuse_generated<'a>(
    connection: &'a mut PgConnection,
    spec: &'a TableSpec,
) -> BoxFuture<'a, Result<(), SchemaError>> {
    Box::pin(async move {
        let names: Vec<&str> = spec.column_names().collect();
        let found = crate::statement::query_scalar(
            "SELECT a.attname::text FROM pg_catalog.pg_attribute a \
             JOIN pg_catalog.pg_class c ON c.oid = a.attrelid \
             JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
             WHERE n.nspname = $1 AND c.relname = $2 AND a.attname = ANY($3) \
               AND a.attgenerated <> '' AND NOT a.attisdropped ORDER BY a.attnum LIMIT 1",
        );
        let found = found.bind(spec.name().schema()).bind(spec.name().table()).bind(names);
        let found = found.fetch_optional(connection).await.map_err(DatabaseError::from)?;
        let table = spec.name().clone();
        found.map_or(Ok(()), |column| Err(SchemaError::Generated { table, column }))
    })
}

/// Why a table cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// There is no table of that name, or the user cannot see it.
    #[error("table {table} does not exist")]
    NoSuchTable {
        /// The table.
        table: TableName,
    },
    /// It is a view, an index or the like.
    #[error("{table} is no table")]
    NotATable {
        /// The name.
        table: TableName,
    },
    /// A column is missing.
    #[error("table {table} has no column {column:?}")]
    NoSuchColumn {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// A column of a wrong type.
    #[error("table {table}, column {column:?}: the type is {found}, expected {expected}")]
    WrongType {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
        /// Its type.
        found: String,
        /// The accepted types.
        expected: &'static str,
    },
    /// The id does not identify a row.
    #[error("table {table}, column {column:?}: ids must be NOT NULL and have a unique index")]
    NotAKey {
        /// The table.
        table: TableName,
        /// The id column.
        column: String,
    },
    /// The id identifies a row only at the end of a transaction.
    #[error(
        "table {table}, column {column:?}: the key of the ids is DEFERRABLE, so that two rows may have \
         one id for a while: make it NOT DEFERRABLE, or add a unique index"
    )]
    DeferrableKey {
        /// The table.
        table: TableName,
        /// The id column.
        column: String,
    },
    /// A column that is delivered, and cannot be written.
    #[error(
        "table {table}, column {column:?}: it is delivered, but the server generates it: make it an \
         ordinary column, or a session without it"
    )]
    Generated {
        /// The table.
        table: TableName,
        /// The column.
        column: String,
    },
    /// Shares may change unnoticed.
    #[error("table {table} has a column {RERAND_EPOCH:?} that is not among the agree columns")]
    EpochNotAgreed {
        /// The table.
        table: TableName,
    },
    /// The catalog cannot be read.
    #[error("cannot read the catalog")]
    Database(
        #[from]
        #[source]
        DatabaseError,
    ),
}

impl Refusable for SchemaError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Database(error) => error.is_refusal(),
            _ => true,
        }
    }
}
