//! A database per test, and rows to put into it.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
pub(crate) use reshare_files::causes::with_causes as chain;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use reshare_postgres::connect::Database;
use reshare_postgres::load::Loader;
use reshare_postgres::load_options::LoadOptions;
use reshare_postgres::table::{TableName, TableSpec};
use reshare_postgres::write::Written;
use secrecy::SecretString;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};

pub(crate) static CLUSTER: LazyLock<ThrowAwayPostgres> =
    LazyLock::new(|| ThrowAwayPostgres::start().unwrap_or_else(|error| panic!("{error}")));
static DATABASES: AtomicU32 = AtomicU32::new(0);

pub(crate) const SESSION: Fingerprint = Fingerprint([7; 32]);

/// A database of one test.
pub(crate) struct Place {
    pub(crate) name: String,
    pub(crate) database: Database,
    pub(crate) sql: PgConnection,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let url = CLUSTER.create_database(&name).await.expect("a database");
        let sql = PgConnection::connect(&url).await.expect("a connection");
        let database = Database::resolve(Some(&SecretString::from(url))).expect("a good URL");
        Self { name, database, sql }
    }

    /// A database with the small table `SMPC_dev_0.rows`.
    pub(crate) async fn with_table() -> Self {
        let mut place = Self::new().await;
        place.run(SMALL_TABLE).await;
        place
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.sql).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        let found = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut self.sql).await;
        found.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    /// Loads rows in one range, as session `SESSION`.
    pub(crate) async fn load(&self, rows: &RowBatch) {
        let loader = self.loader(LoadOptions::default()).await;
        let written = loader.writer().write(span(rows), &rows.rows(), [1; 32], &none()).await;
        assert_eq!(written.expect("loads"), Written::Now);
        loader.close().await;
    }

    pub(crate) async fn loader(&self, options: LoadOptions) -> Loader {
        Loader::open(&self.database, &small_spec(), SESSION, options).await.expect("opens")
    }
}

/// One agree column of each type.
pub(crate) const SMALL_TABLE: &str = "\
    CREATE SCHEMA \"SMPC_dev_0\"; \
    CREATE TABLE \"SMPC_dev_0\".rows (id bigint PRIMARY KEY, note text DEFAULT 'default', \
        mask bytea, version_id smallint, epoch integer, big bigint, semantic uuid, code bytea)";

pub(crate) fn small_layout() -> Arc<RowLayout> {
    let agree = |name: &str, kind| AgreeColumn { name: name.to_owned(), kind };
    let share = |name: &str, len| ShareColumn { name: name.to_owned(), len };
    let agree = vec![
        agree("version_id", AgreeKind::Integer),
        agree("epoch", AgreeKind::Integer),
        agree("big", AgreeKind::Integer),
        agree("semantic", AgreeKind::Uuid),
    ];
    Arc::new(RowLayout::new(agree, vec![share("code", 8), share("mask", 4)]).expect("valid"))
}

pub(crate) fn small_name() -> TableName {
    TableName::new("SMPC_dev_0", "rows").expect("usable")
}

pub(crate) fn small_spec() -> TableSpec {
    TableSpec::new(small_name(), "id", small_layout()).expect("usable")
}

/// Rows with these ids, whose content follows from the id.
pub(crate) fn small_rows(ids: &[i64]) -> RowBatch {
    let mut batch = RowBatch::with_capacity(small_layout(), ids.len());
    for &id in ids {
        push_row(&mut batch, id, usual_agree(id), 0);
    }
    batch
}

pub(crate) fn usual_agree(id: i64) -> [AgreeValue; 4] {
    [
        AgreeValue::Integer(id.rem_euclid(7)),
        if id % 3 == 0 { AgreeValue::Null } else { AgreeValue::Integer(-(id % 1000)) },
        AgreeValue::Integer(id.wrapping_mul(0x1234_5678_9abc)),
        if id % 5 == 0 { AgreeValue::Null } else { AgreeValue::Uuid(pattern(id, 3)) },
    ]
}

pub(crate) fn push_row(batch: &mut RowBatch, id: i64, agree: [AgreeValue; 4], variant: u8) {
    let (code, mask): ([u8; 16], [u8; 8]) = (pattern(id, variant), pattern(id, variant + 1));
    batch.push_bytes(id, &agree, &[&code, &mask]).expect("fits");
}

fn pattern<const N: usize>(id: i64, variant: u8) -> [u8; N] {
    std::array::from_fn(|at| {
        let turned = id.cast_unsigned().rotate_left(at as u32 * 5).wrapping_mul(0x9e37_79b9);
        (turned >> 16) as u8 ^ variant.wrapping_mul(91)
    })
}

pub(crate) fn range(first: i64, last: i64) -> IdRange {
    IdRange::new(first, last).expect("in order")
}

pub(crate) fn span(rows: &RowBatch) -> IdRange {
    let ids = rows.rows().ids;
    range(ids[0], ids[ids.len() - 1])
}

pub(crate) fn none() -> Leftovers {
    Leftovers::default()
}

pub(crate) fn count(count: usize) -> NonZeroUsize {
    NonZeroUsize::new(count).expect("not zero")
}

/// Compares everything that two batches hold.
pub(crate) fn assert_same(left: &RowBatch, right: &RowBatch) {
    let (left, right) = (left.rows(), right.rows());
    assert_eq!(left.ids, right.ids);
    assert_eq!(left.agree, right.agree);
    assert!(left.shares == right.shares, "the shares differ");
}
