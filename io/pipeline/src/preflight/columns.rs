//! Columns that a load would not fill, or must not fill.

use reshare_postgres::error::DatabaseError;
use reshare_postgres::table::TableSpec;

use super::Probe;
use super::rights::{literal, oid_of};

/// Why no row can be inserted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ColumnDefect {
    /// It is not delivered, must not be NULL, and only a trigger could fill it.
    Unfilled {
        /// The column.
        column: String,
    },
    /// It is delivered, and the server computes it itself.
    Generated {
        /// The column.
        column: String,
    },
}

impl Probe {
    /// Finds columns that prevent inserts, in a table that exists.
    ///
    /// # Errors
    /// Any error of the server.
    pub async fn column_defects(
        &mut self,
        spec: &TableSpec,
    ) -> Result<Vec<ColumnDefect>, DatabaseError> {
        let delivered: Vec<String> = spec.column_names().map(literal).collect();
        let (table, delivered) = (oid_of(spec.name()), delivered.join(", "));
        let of_table = format!(
            "SELECT a.attname::text FROM pg_catalog.pg_attribute a \
             WHERE a.attrelid = {table} AND a.attnum > 0 AND NOT a.attisdropped"
        );
        let unfilled = format!(
            "{of_table} AND a.attnotnull AND NOT a.atthasdef AND a.attidentity = '' \
               AND a.attname::text <> ALL (ARRAY[{delivered}]::text[]) ORDER BY a.attnum"
        );
        let generated = format!(
            "{of_table} AND a.attgenerated <> '' \
               AND a.attname::text = ANY (ARRAY[{delivered}]::text[]) ORDER BY a.attnum"
        );
        let unfilled = self.texts(unfilled).await?.into_iter();
        let mut defects: Vec<ColumnDefect> =
            unfilled.map(|column| ColumnDefect::Unfilled { column }).collect();
        let generated = self.texts(generated).await?.into_iter();
        defects.extend(generated.map(|column| ColumnDefect::Generated { column }));
        Ok(defects)
    }
}
