//! A table by name, and a table as the catalog describes it.

use std::fmt;
use std::sync::Arc;

use reshare_engine::layout::{AgreeKind, RowLayout};
use reshare_files::ids::IdRange;

/// A table's schema and name, both as in the catalog: unquoted, with their case.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct TableName {
    schema: Arc<str>,
    table: Arc<str>,
}

impl TableName {
    /// Checks and takes a schema and a name.
    ///
    /// # Errors
    /// [`NameError`] for a name that PostgreSQL cannot have: it would silently truncate a long name
    /// and use another table.
    pub fn new(schema: &str, table: &str) -> Result<Self, NameError> {
        check_name(schema)?;
        check_name(table)?;
        Ok(Self { schema: schema.into(), table: table.into() })
    }

    /// The schema.
    #[must_use]
    pub fn schema(&self) -> &str {
        &self.schema
    }

    /// The table's name within the schema.
    #[must_use]
    pub fn table(&self) -> &str {
        &self.table
    }

    /// The name of another table in the same schema.
    ///
    /// # Errors
    /// As [`TableName::new`].
    pub fn with_name(&self, table: &str) -> Result<Self, NameError> {
        Self::new(&self.schema, table)
    }

    /// The name as SQL: both parts quoted.
    #[must_use]
    pub fn sql(&self) -> String {
        format!("{}.{}", quote_identifier(&self.schema), quote_identifier(&self.table))
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.schema, self.table)
    }
}

impl fmt::Debug for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The table of a session, and which of its columns are moved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableSpec {
    name: TableName,
    id_column: String,
    layout: Arc<RowLayout>,
}

impl TableSpec {
    /// Takes a table's name, its id column and the columns of a row.
    ///
    /// # Errors
    /// [`NameError`] when the id column's name is not valid or is also in the layout.
    pub fn new(
        name: TableName,
        id_column: &str,
        layout: Arc<RowLayout>,
    ) -> Result<Self, NameError> {
        check_name(id_column)?;
        let mut names = column_names(&layout);
        if names.any(|name| name == id_column) {
            return Err(NameError { name: id_column.to_owned(), reason: "is named twice" });
        }
        drop(names);
        Ok(Self { name, id_column: id_column.to_owned(), layout })
    }

    /// The table.
    #[must_use]
    pub fn name(&self) -> &TableName {
        &self.name
    }

    /// The column that holds the row's id.
    #[must_use]
    pub fn id_column(&self) -> &str {
        &self.id_column
    }

    /// The agree columns and share columns.
    #[must_use]
    pub fn layout(&self) -> &Arc<RowLayout> {
        &self.layout
    }

    /// The id column as SQL.
    #[must_use]
    pub fn id_sql(&self) -> String {
        quote_identifier(&self.id_column)
    }

    /// The names of the columns that are moved: id, agree columns, share columns.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.id_column.as_str()).chain(column_names(&self.layout))
    }

    /// The columns as SQL in the order of a COPY: id, agree columns, share columns.
    #[must_use]
    pub fn columns_sql(&self) -> String {
        let mut sql = self.id_sql();
        for name in column_names(&self.layout) {
            sql.push_str(", ");
            sql.push_str(&quote_identifier(name));
        }
        sql
    }

    /// The condition that an id is in `range`, as SQL.
    ///
    /// The bounds are quoted literals: `-9223372036854775808` without quotes is a negated NUMERIC,
    /// for which no index is used.
    #[must_use]
    pub fn within_sql(&self, range: IdRange) -> String {
        let id = self.id_sql();
        format!("{id} >= '{}'::bigint AND {id} <= '{}'::bigint", range.first(), range.last())
    }
}

/// Bytes of an integer column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IntegerWidth {
    /// SMALLINT.
    Two,
    /// INTEGER.
    Four,
    /// BIGINT.
    Eight,
}

impl IntegerWidth {
    /// The width in bytes.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Two => 2,
            Self::Four => 4,
            Self::Eight => 8,
        }
    }

    /// Whether a value fits.
    #[must_use]
    pub const fn holds(self, value: i64) -> bool {
        match self {
            Self::Two => value >= i16::MIN as i64 && value <= i16::MAX as i64,
            Self::Four => value >= i32::MIN as i64 && value <= i32::MAX as i64,
            Self::Eight => true,
        }
    }
}

/// The type an agree column has in this table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgreeType {
    /// SMALLINT, INTEGER or BIGINT.
    Integer(IntegerWidth),
    /// UUID.
    Uuid,
}

impl AgreeType {
    /// The kind in the session's terms.
    #[must_use]
    pub const fn kind(self) -> AgreeKind {
        match self {
            Self::Integer(_) => AgreeKind::Integer,
            Self::Uuid => AgreeKind::Uuid,
        }
    }

    /// Bytes of a value that is not NULL.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Integer(width) => width.bytes(),
            Self::Uuid => 16,
        }
    }
}

/// A table that fits its [`TableSpec`], with the real types of its columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Table {
    spec: TableSpec,
    id_width: IntegerWidth,
    agree_types: Vec<AgreeType>,
}

impl Table {
    /// Takes the real types; `None` when their number or kinds are not those of the layout.
    #[must_use]
    pub fn new(
        spec: TableSpec,
        id_width: IntegerWidth,
        agree_types: Vec<AgreeType>,
    ) -> Option<Self> {
        let expected = spec.layout.agree().iter().map(|column| column.kind);
        let fits = expected.eq(agree_types.iter().map(|found| found.kind()));
        fits.then_some(Self { spec, id_width, agree_types })
    }

    /// The names.
    #[must_use]
    pub fn spec(&self) -> &TableSpec {
        &self.spec
    }

    /// The width of the id column.
    #[must_use]
    pub fn id_width(&self) -> IntegerWidth {
        self.id_width
    }

    /// The types of the agree columns, in session order.
    #[must_use]
    pub fn agree_types(&self) -> &[AgreeType] {
        &self.agree_types
    }
}

/// Quotes one identifier for SQL.
#[must_use]
pub fn quote_identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn column_names(layout: &RowLayout) -> impl Iterator<Item = &str> {
    let agree = layout.agree().iter().map(|column| column.name.as_str());
    agree.chain(layout.shares().iter().map(|column| column.name.as_str()))
}

fn check_name(name: &str) -> Result<(), NameError> {
    let reason = if name.is_empty() {
        "is empty"
    } else if name.len() > RowLayout::MAX_NAME_BYTES {
        "is longer than 63 bytes"
    } else if name.contains('\0') {
        "holds a NUL"
    } else {
        return Ok(());
    };
    Err(NameError { name: name.to_owned(), reason })
}

/// A name no table or column can have here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the name {name:?} {reason}")]
pub struct NameError {
    /// The name.
    pub name: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_any_content_are_quoted() {
        let name = TableName::new("SMPC_dev_0", "a\"; DROP TABLE b; --").expect("usable");
        assert_eq!(name.sql(), "\"SMPC_dev_0\".\"a\"\"; DROP TABLE b; --\"");
        for bad in ["", "a\0b", &"x".repeat(64)] {
            assert!(TableName::new("public", bad).is_err(), "{bad:?}");
            assert!(TableName::new(bad, "irises").is_err(), "{bad:?}");
        }
    }

    #[test]
    fn an_id_column_cannot_be_a_share_column_too() {
        let name = TableName::new("public", "irises").expect("usable");
        let layout = Arc::new(RowLayout::iris());
        assert!(TableSpec::new(name.clone(), "left_code", Arc::clone(&layout)).is_err());
        let spec = TableSpec::new(name, "id", layout).expect("usable");
        assert!(spec.columns_sql().starts_with("\"id\", \"version_id\", \"left_code\","));
        assert!(spec.within_sql(IdRange::ALL).contains("'-9223372036854775808'::bigint"));
    }

    #[test]
    fn a_width_holds_its_own_extremes_and_no_more() {
        assert!(IntegerWidth::Two.holds(-32_768) && !IntegerWidth::Two.holds(32_768));
        assert!(IntegerWidth::Four.holds(2_147_483_647) && !IntegerWidth::Four.holds(1 << 31));
        assert!(IntegerWidth::Eight.holds(i64::MIN));
    }
}
