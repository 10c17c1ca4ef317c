//! Connections through a real PgBouncer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use reshare_files::fault::Refusable;
use reshare_fixtures::pgbouncer::{PoolMode, ThrowAwayPooler};
use reshare_postgres::connect::{ConnectError, Database};
use reshare_postgres::export::{ExportError, Snapshot};
use reshare_postgres::load::Loader;
use reshare_postgres::load_error::LoadError;
use reshare_postgres::load_options::LoadOptions;
use reshare_postgres::write::Written;
use secrecy::SecretString;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection, Row};

use crate::support::{CLUSTER, Place, SESSION, none, small_rows, small_spec, span};

fn pooler(mode: PoolMode, settings: &str) -> ThrowAwayPooler {
    let started = ThrowAwayPooler::start(&CLUSTER, mode, &["postgres"], settings);
    started.unwrap_or_else(|error| panic!("{error}"))
}

fn through(pooler: &ThrowAwayPooler, place: &Place) -> Database {
    let url = SecretString::from(pooler.url(&place.name, "postgres"));
    Database::resolve(Some(&url)).expect("a good URL")
}

/// Locks that somebody holds by a number.
const LOCKS: &str = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = \
    (SELECT oid FROM pg_database WHERE datname = current_database())";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_does_not_keep_sessions_is_refused_however_it_picks_its_connections() {
    let mut place = Place::with_table().await;
    let pools = [
        (PoolMode::Transaction, ""),
        (PoolMode::Transaction, "server_round_robin = 1\nmin_pool_size = 4"),
        (PoolMode::Transaction, "default_pool_size = 1"),
        (PoolMode::Statement, ""),
    ];
    for (mode, settings) in pools {
        let pooler = pooler(mode, settings);
        for busy in [false, true] {
            let stop = Arc::new(AtomicBool::new(false));
            let others = if busy { 3 } else { 0 };
            let url = pooler.url(&place.name, "postgres");
            let others: Vec<_> =
                (0..others).map(|_| tokio::spawn(work(url.clone(), Arc::clone(&stop)))).collect();
            for _ in 0..3 {
                let database = through(&pooler, &place);
                let error = database.connect().await.expect_err("refused");
                assert!(
                    matches!(error, ConnectError::Pooled { .. }),
                    "{mode:?} {settings}: {error:?}"
                );
                assert!(error.is_refusal() && error.to_string().contains("pooler"), "{error}");
                let (spec, options) = (small_spec(), LoadOptions::default());
                let load = Loader::open(&database, &spec, SESSION, options).await;
                assert!(matches!(load, Err(LoadError::Connect(ConnectError::Pooled { .. }))));
                let export = Snapshot::open(&database, &spec).await;
                assert!(matches!(export, Err(ExportError::Connect(ConnectError::Pooled { .. }))));
            }
            stop.store(true, Ordering::Relaxed);
            for other in others {
                other.await.expect("no panic");
            }
        }
        assert_eq!(place.number(LOCKS).await, 0, "{mode:?}");
    }
}

/// Another client, which sends nothing at its start that a pooler has to know.
async fn client(url: &str) -> PgConnection {
    let options: PgConnectOptions = url.parse().expect("a good URL");
    PgConnection::connect_with(&options.extra_float_digits(None)).await.expect("connects")
}

/// Keeps the pool busy, as an application does.
async fn work(url: String, stop: Arc<AtomicBool>) {
    let mut connection = client(&url).await;
    while !stop.load(Ordering::Relaxed) {
        sqlx::raw_sql("SELECT pg_sleep(0.002)").execute(&mut connection).await.expect("answers");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pooler_that_keeps_sessions_works_and_finds_nothing_of_ours_afterwards() {
    let mut place = Place::with_table().await;
    // Nothing is reset between clients, so all that is left behind shows.
    let pooler = pooler(PoolMode::Session, "server_reset_query =\nserver_reset_query_always = 0");
    let rows = small_rows(&[1, 2, 3, 4, 5]);
    for _ in 0..2 {
        let database = through(&pooler, &place);
        let loader = Loader::open(&database, &small_spec(), SESSION, LoadOptions::default()).await;
        let loader = loader.expect("opens");
        let mut writer = loader.writer();
        let written = writer.write(span(&rows), &rows.rows(), [1; 32], &none()).await;
        assert!(matches!(written, Ok(Written::Now | Written::AlreadyLoaded)), "{written:?}");
        writer.close().await;
        let snapshot = Snapshot::open(&database, &small_spec()).await.expect("opens");
        snapshot.close().await;
        loader.close().await;
    }
    assert_eq!(place.number(LOCKS).await, 0);
    for _ in 0..5 {
        let mut client = client(&pooler.url(&place.name, "postgres")).await;
        let left = "SELECT concat_ws(' ', current_setting('row_security'), \
            current_setting('statement_timeout'), current_setting('default_transaction_read_only'), \
            current_setting('client_min_messages'), \
            (SELECT count(*) FROM pg_prepared_statements WHERE name LIKE 'sqlx%'))";
        let left: String =
            sqlx::raw_sql(left).fetch_one(&mut client).await.expect("answers").get(0);
        assert_eq!(left, "on 0 off notice 0");
        let write =
            "INSERT INTO \"SMPC_dev_0\".rows (id) VALUES (100 + (random() * 1000000)::bigint)";
        sqlx::raw_sql(write).execute(&mut client).await.expect("not read-only");
    }
}
