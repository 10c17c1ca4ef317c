//! What a table holds for given ids: presence and agree values, but no shares.

use std::sync::Arc;

use reshare_engine::layout::AgreeKind;
use reshare_engine::rows::AgreeValue;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};

use super::table::{Table, quote_identifier};

/// Ids of one query.
pub(super) const IDS_PER_QUERY: usize = 10_000;

/// The columns of a row that the sides have to agree on.
pub(super) struct StoredRow {
    pub(super) id: i64,
    pub(super) agree: Vec<AgreeValue>,
}

/// Returns which of `ids` have a row, ascending within each query.
pub(super) async fn present_ids(
    connection: &mut PgConnection,
    table: &Table,
    ids: &[i64],
) -> Result<Vec<i64>, sqlx::Error> {
    let spec = table.spec();
    let (id, name) = (spec.id_sql(), spec.name().sql());
    let sql = format!("SELECT {id}::bigint FROM {name} WHERE {id} = ANY($1) ORDER BY {id}");
    let sql: Arc<str> = sql.into();
    let mut present = vec![];
    for chunk in ids.chunks(IDS_PER_QUERY) {
        let query = crate::statement::query_scalar(AssertSqlSafe(Arc::clone(&sql))).bind(chunk);
        let found: Vec<i64> = query.fetch_all(&mut *connection).await?;
        present.extend(found);
    }
    Ok(present)
}

/// The rows of at most [`IDS_PER_QUERY`] ids, ascending; locked against others if asked for.
pub(super) async fn stored_rows(
    connection: &mut PgConnection,
    table: &Table,
    ids: &[i64],
    for_update: bool,
) -> Result<Vec<StoredRow>, sqlx::Error> {
    let spec = table.spec();
    let (id, name) = (spec.id_sql(), spec.name().sql());
    let mut columns = format!("{id}::bigint");
    for column in spec.layout().agree() {
        let quoted = quote_identifier(&column.name);
        columns.push_str(&match column.kind {
            AgreeKind::Integer => format!(", {quoted}::bigint"),
            AgreeKind::Uuid => format!(", pg_catalog.uuid_send({quoted})"),
        });
    }
    let lock = if for_update { "FOR UPDATE" } else { "" };
    let sql = format!("SELECT {columns} FROM {name} WHERE {id} = ANY($1) ORDER BY {id} {lock}");
    let rows = crate::statement::query(AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| stored_row(table, row)).collect()
}

fn stored_row(table: &Table, row: &PgRow) -> Result<StoredRow, sqlx::Error> {
    let mut agree = vec![];
    for (index, column) in table.spec().layout().agree().iter().enumerate() {
        let value = match column.kind {
            AgreeKind::Integer => {
                row.try_get::<Option<i64>, _>(index + 1)?.map(AgreeValue::Integer)
            }
            AgreeKind::Uuid => match row.try_get::<Option<&[u8]>, _>(index + 1)? {
                None => None,
                Some(bytes) => {
                    let bytes =
                        bytes.try_into().map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
                    Some(AgreeValue::Uuid(bytes))
                }
            },
        };
        agree.push(value.unwrap_or(AgreeValue::Null));
    }
    Ok(StoredRow { id: row.try_get(0)?, agree })
}
