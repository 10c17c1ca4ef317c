//! The progress table: which ranges of a session are already in the target.
//!
//! It is in the schema of the target table and is written in the transaction that writes the rows:
//! a range is recorded exactly when its rows are there.

use reshare_engine::fingerprint::Fingerprint;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Row};
use time::OffsetDateTime;

use super::connect::Database;
use super::error::DatabaseError;
use super::table::{NameError, TableName};
use super::transaction::Purpose;

/// The name of the progress table, in the schema of the target.
pub const PROGRESS_TABLE: &str = "reshare_progress";

/// A range that is in the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedRange {
    /// The ids it spans; no other range of the session has any of them.
    pub ids: IdRange,
    /// How many rows were written.
    pub rows: u64,
    /// The caller's digest of their content.
    pub digest: [u8; 32],
    /// The digests of its source: see [`super::load_source::LoadSource`]. Empty if the caller gave
    /// none.
    pub source: Vec<u8>,
    /// The rows of the range that were not rebuilt.
    pub leftovers: Leftovers,
    /// When, by the server's clock.
    pub loaded_at: OffsetDateTime,
}

/// The progress table of one schema, for one session.
#[derive(Debug, Clone)]
pub(super) struct ProgressTable {
    table: String,
    schema: String,
    fingerprint: Fingerprint,
}

/// The result of recording a range.
pub(super) enum Recorded {
    /// The row is there, not committed yet.
    New,
    /// A committed transaction has recorded exactly this range.
    Already,
    /// The session has loaded another range over these ids.
    Otherwise(Box<LoadedRange>),
}

const COLUMNS: &str = "first_id, last_id, rows, digest, leftovers::text, \
    (extract(epoch FROM loaded_at) * 1000000)::bigint, source";

impl ProgressTable {
    pub(super) fn of(target: &TableName, fingerprint: Fingerprint) -> Result<Self, NameError> {
        let table = target.with_name(PROGRESS_TABLE)?.sql();
        Ok(Self { table, schema: target.schema().to_owned(), fingerprint })
    }

    /// Whether the table is there.
    pub(super) async fn exists(
        &self,
        connection: &mut PgConnection,
    ) -> Result<bool, DatabaseError> {
        let exists =
            crate::statement::query_scalar("SELECT pg_catalog.to_regclass($1) IS NOT NULL");
        Ok(exists.bind(&self.table).fetch_one(connection).await?)
    }

    /// Creates the table if it is missing. Never touches an existing one: its owner may be another
    /// user.
    pub(super) async fn create(
        &self,
        database: &Database,
        connection: &mut PgConnection,
    ) -> Result<(), DatabaseError> {
        database.begin(connection, Purpose::Write, "").await?;
        if self.exists(connection).await? {
            sqlx::raw_sql("ROLLBACK").execute(connection).await?;
            return Ok(());
        }
        // Two processes that both find it missing would collide in the catalog, so they take turns.
        let lock = super::turn::advisory_key(&["create", &self.schema]);
        let sql = format!(
            "SELECT pg_catalog.pg_advisory_xact_lock({lock}); \
             CREATE TABLE IF NOT EXISTS {} (\
                 fingerprint bytea NOT NULL, \
                 first_id bigint NOT NULL, \
                 last_id bigint NOT NULL CHECK (last_id >= first_id), \
                 rows bigint NOT NULL CHECK (rows >= 0), \
                 digest bytea NOT NULL, \
                 source bytea NOT NULL, \
                 leftovers jsonb NOT NULL, \
                 loaded_at timestamptz NOT NULL DEFAULT now(), \
                 PRIMARY KEY (fingerprint, first_id)); \
             COMMIT",
            self.table
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await?;
        Ok(())
    }

    /// What the session has loaded, in id order. In total not more rows than a table can have.
    pub(super) async fn loaded(
        &self,
        connection: &mut PgConnection,
    ) -> Result<Vec<LoadedRange>, DatabaseError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE fingerprint = $1 ORDER BY first_id",
            self.table
        );
        let query = crate::statement::query(AssertSqlSafe(sql)).bind(&self.fingerprint.0[..]);
        let rows = query.fetch_all(connection).await?;
        let ranges: Vec<_> = rows.iter().map(loaded_range).collect::<Result<_, _>>()?;
        let all = ranges.iter().try_fold(0_u64, |all, range| all.checked_add(range.rows));
        let fits = all.is_some_and(|all| i64::try_from(all).is_ok());
        if fits { Ok(ranges) } else { Err(bad("number of rows in all").into()) }
    }

    /// Records a range, within the caller's transaction.
    ///
    /// Waits for a transaction that is recording the same first id.
    pub(super) async fn record(
        &self,
        connection: &mut PgConnection,
        range: &LoadedRange,
    ) -> Result<Recorded, DatabaseError> {
        let leftovers = serde_json::to_string(&range.leftovers)
            .map_err(|error| sqlx::Error::Encode(Box::new(error)))?;
        let sql = format!(
            "INSERT INTO {} (fingerprint, first_id, last_id, rows, digest, leftovers, source) \
             VALUES ($1, $2, $3, $4, $5, $6::text::jsonb, $7) ON CONFLICT DO NOTHING",
            self.table
        );
        let query = crate::statement::query(AssertSqlSafe(sql))
            .bind(&self.fingerprint.0[..])
            .bind(range.ids.first())
            .bind(range.ids.last())
            .bind(range.rows.cast_signed())
            .bind(&range.digest[..])
            .bind(leftovers)
            .bind(&range.source);
        let inserted = query.execute(&mut *connection).await?.rows_affected() == 1;
        let Some(other) = self.overlapping(connection, range.ids, inserted).await? else {
            return Ok(Recorded::New);
        };
        let same = (other.ids, other.rows, other.digest) == (range.ids, range.rows, range.digest);
        if same && !inserted {
            return Ok(Recorded::Already);
        }
        Ok(Recorded::Otherwise(Box::new(other)))
    }

    /// Removes the record of a range, within the caller's transaction; `false` when there is none
    /// that is just as given.
    pub(super) async fn remove(
        &self,
        connection: &mut PgConnection,
        range: &LoadedRange,
    ) -> Result<bool, DatabaseError> {
        let sql = format!(
            "DELETE FROM {} WHERE fingerprint = $1 AND first_id = $2 AND last_id = $3 \
             AND rows = $4 AND digest = $5",
            self.table
        );
        let query = crate::statement::query(AssertSqlSafe(sql))
            .bind(&self.fingerprint.0[..])
            .bind(range.ids.first())
            .bind(range.ids.last())
            .bind(range.rows.cast_signed())
            .bind(&range.digest[..]);
        Ok(query.execute(connection).await?.rows_affected() == 1)
    }

    /// A recorded range over some of `ids`, other than the one just `inserted`.
    async fn overlapping(
        &self,
        connection: &mut PgConnection,
        ids: IdRange,
        inserted: bool,
    ) -> Result<Option<LoadedRange>, DatabaseError> {
        // Ranges do not overlap each other, so only the last one that begins before `ids` ends can.
        let sql = format!(
            "SELECT {COLUMNS} FROM {} WHERE fingerprint = $1 AND first_id <= $2 \
             AND NOT ($3 AND first_id = $4) ORDER BY first_id DESC LIMIT 1",
            self.table
        );
        let query = crate::statement::query(AssertSqlSafe(sql))
            .bind(&self.fingerprint.0[..])
            .bind(ids.last())
            .bind(inserted)
            .bind(ids.first());
        let row = query.fetch_optional(connection).await?;
        let found = row.as_ref().map(loaded_range).transpose()?;
        Ok(found.filter(|found| found.ids.overlaps(ids)))
    }
}

fn bad(what: &str) -> sqlx::Error {
    sqlx::Error::Decode(format!("{PROGRESS_TABLE}: bad {what}").into())
}

fn loaded_range(row: &PgRow) -> Result<LoadedRange, DatabaseError> {
    let ids = IdRange::new(row.try_get(0)?, row.try_get(1)?).ok_or_else(|| bad("range"))?;
    let rows: i64 = row.try_get(2)?;
    let digest: &[u8] = row.try_get(3)?;
    let leftovers: &str = row.try_get(4)?;
    let microseconds: i64 = row.try_get(5)?;
    let loaded_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1_000);
    Ok(LoadedRange {
        ids,
        rows: u64::try_from(rows).map_err(|_| bad("number of rows"))?,
        digest: digest.try_into().map_err(|_| bad("digest"))?,
        source: row.try_get(6)?,
        leftovers: serde_json::from_str(leftovers).map_err(|_| bad("leftovers"))?,
        loaded_at: loaded_at.map_err(|_| bad("time"))?,
    })
}
