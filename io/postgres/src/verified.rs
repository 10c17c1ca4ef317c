//! What a session has loaded, and whether it was compared with what was delivered.
//!
//! Rows of the progress table are written together with the rows that they count. A comparison of
//! all of them adds a row to a second table, with a digest of the progress at that time. So rows
//! that are loaded later do not count as verified.

use futures_util::future::BoxFuture;
use reshare_engine::fingerprint::Fingerprint;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row};
use time::OffsetDateTime;

use super::connect::Database;
use super::export::{close, end};
use super::load_error::LoadError;
use super::progress_table::{LoadedRange, ProgressTable};
use super::table::TableName;
use super::transaction::Purpose;
use super::tries::Tries;

/// The name of the table of verified loads, in the schema of the target.
pub const VERIFIED_TABLE: &str = "reshare_verified";

/// What a session has loaded into a table.
#[derive(Debug, Clone, Default)]
pub struct LoadState {
    /// The ranges, in id order.
    pub loaded: Vec<LoadedRange>,
    /// The comparison that found exactly these equal, if there was one.
    pub verified: Option<VerifiedLoad>,
}

/// A comparison of all loaded rows with what was delivered, which found them equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedLoad {
    /// Rows that were compared.
    pub rows: u64,
    /// With what: `share file`, `packages`.
    pub against: String,
    /// When, by the server's clock.
    pub verified_at: OffsetDateTime,
}

/// The state of a load before a comparison, recorded after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoadMark {
    digest: [u8; 32],
    rows: u64,
}

impl LoadMark {
    /// The rows that were loaded.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }
}

impl LoadState {
    /// Rows in all ranges.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.loaded.iter().fold(0, |all, range| all.saturating_add(range.rows))
    }

    /// What a comparison that begins now covers; `None` when nothing is loaded.
    #[must_use]
    pub fn mark(&self) -> Option<LoadMark> {
        let digest = load_digest(&self.loaded);
        (!self.loaded.is_empty()).then(|| LoadMark { digest, rows: self.rows() })
    }
}

/// Reads what a session has loaded, without a lock. During a load this is what is committed.
///
/// # Errors
/// A [`LoadError`]: no connection, or a table that cannot be read.
pub fn load_state<'a>(
    database: &'a Database,
    target: &'a TableName,
    fingerprint: Fingerprint,
) -> BoxFuture<'a, Result<LoadState, LoadError>> {
    Box::pin(async move {
        let mut connection = database.connect_read_only().await?;
        let state = read(&mut connection, target, fingerprint).await;
        end(connection).await;
        state
    })
}

/// Records that a comparison found everything that was loaded at `mark` equal.
///
/// # Errors
/// A [`LoadError`], for example when the role may not create the table.
pub fn record_verified<'a>(
    database: &'a Database,
    target: &'a TableName,
    fingerprint: Fingerprint,
    mark: LoadMark,
    against: &'a str,
) -> BoxFuture<'a, Result<(), LoadError>> {
    Box::pin(async move {
        let mut tries = Tries::default();
        loop {
            match try_to_record(database, target, fingerprint, mark, against).await {
                Ok(()) => return Ok(()),
                Err(error) => tries.after("the record of a comparison", error).await?,
            }
        }
    })
}

async fn try_to_record(
    database: &Database,
    target: &TableName,
    fingerprint: Fingerprint,
    mark: LoadMark,
    against: &str,
) -> Result<(), LoadError> {
    let failed = |error| LoadError::database(target, error);
    let table = target.with_name(VERIFIED_TABLE)?.sql();
    let mut connection = database.connect().await?;
    database.begin(&mut connection, Purpose::Write, "").await.map_err(failed)?;
    if !exists(&mut connection, &table).await.map_err(failed)? {
        let lock = super::turn::advisory_key(&["create", target.schema()]);
        let sql = format!(
            "SELECT pg_catalog.pg_advisory_xact_lock({lock}); \
             CREATE TABLE IF NOT EXISTS {table} (\
                 fingerprint bytea PRIMARY KEY, \
                 load_digest bytea NOT NULL, \
                 rows bigint NOT NULL CHECK (rows >= 0), \
                 against text NOT NULL, \
                 verified_at timestamptz NOT NULL)"
        );
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.map_err(failed)?;
    }
    let sql = format!(
        "INSERT INTO {table} AS old VALUES ($1, $2, $3, $4, now()) \
         ON CONFLICT (fingerprint) DO UPDATE SET load_digest = excluded.load_digest, \
         rows = excluded.rows, against = excluded.against, verified_at = excluded.verified_at"
    );
    let query = crate::statement::query(AssertSqlSafe(sql))
        .bind(&fingerprint.0[..])
        .bind(&mark.digest[..])
        .bind(mark.rows.cast_signed())
        .bind(against);
    query.execute(&mut connection).await.map_err(failed)?;
    sqlx::raw_sql("COMMIT").execute(&mut connection).await.map_err(failed)?;
    close(connection).await;
    Ok(())
}

async fn read(
    connection: &mut PgConnection,
    target: &TableName,
    fingerprint: Fingerprint,
) -> Result<LoadState, LoadError> {
    let progress = ProgressTable::of(target, fingerprint)?;
    let table = target.with_name(VERIFIED_TABLE)?.sql();
    let failed = |source| LoadError::Database { table: target.clone(), source };
    if !progress.exists(connection).await.map_err(failed)? {
        return Ok(LoadState::default());
    }
    // Read the record first: it may cover less than what is loaded a moment later, but never more.
    let record = record(connection, &table, fingerprint).await;
    let record = record.map_err(|error| LoadError::database(target, error))?;
    let loaded = progress.loaded(connection).await.map_err(failed)?;
    let digest = load_digest(&loaded);
    let verified = record.filter(|(of, _)| *of == digest).map(|(_, verified)| verified);
    Ok(LoadState { loaded, verified })
}

async fn exists(connection: &mut PgConnection, table: &str) -> Result<bool, sqlx::Error> {
    let exists = crate::statement::query_scalar("SELECT pg_catalog.to_regclass($1) IS NOT NULL");
    exists.bind(table).fetch_one(connection).await
}

async fn record(
    connection: &mut PgConnection,
    table: &str,
    fingerprint: Fingerprint,
) -> Result<Option<(Vec<u8>, VerifiedLoad)>, sqlx::Error> {
    if !exists(connection, table).await? {
        return Ok(None);
    }
    let sql = format!(
        "SELECT load_digest, rows, against, (extract(epoch FROM verified_at) * 1000000)::bigint \
         FROM {table} WHERE fingerprint = $1"
    );
    let query = crate::statement::query(AssertSqlSafe(sql)).bind(&fingerprint.0[..]);
    let Some(row) = query.fetch_optional(connection).await? else { return Ok(None) };
    let bad = |what: &str| sqlx::Error::Decode(format!("{VERIFIED_TABLE}: bad {what}").into());
    let (rows, microseconds): (i64, i64) = (row.try_get(1)?, row.try_get(3)?);
    let verified_at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(microseconds) * 1_000);
    let verified = VerifiedLoad {
        rows: u64::try_from(rows).map_err(|_| bad("number of rows"))?,
        against: row.try_get(2)?,
        verified_at: verified_at.map_err(|_| bad("time"))?,
    };
    Ok(Some((row.try_get(0)?, verified)))
}

/// Formula: BLAKE3 over, per range in id order: first id, last id (i64 LE), rows (u64 LE), the
/// range's digest.
fn load_digest(loaded: &[LoadedRange]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for range in loaded {
        hasher.update(&range.ids.first().to_le_bytes());
        hasher.update(&range.ids.last().to_le_bytes());
        hasher.update(&range.rows.to_le_bytes());
        hasher.update(&range.digest);
    }
    *hasher.finalize().as_bytes()
}
