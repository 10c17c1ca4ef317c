//! Senders with tables, keys and ledgers, for deliveries straight from a database.

use std::fmt::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use reshare_engine::rows::AgreeValue;
use reshare_exchange::progress::Progress;
use reshare_exchange::{DeliveryTarget, UploadOptions};
use reshare_files::ids::IdRange;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use reshare_fixtures::synthetic::SyntheticRecords;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::session::{Approval, Approvals};
use reshare_pipeline::deliver::{Delivery, DeliveryReport, deliver};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::rebuild::{RebuildReport, rebuild};
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::sealer::PackReport;
use reshare_pipeline::send::send;
use reshare_pipeline::sender::{Agreed, LedgeredSender, SenderCredentials, SenderKeys};
use reshare_pipeline::verify::verify_tables;
use reshare_pipeline::workers::{self, OnBadRow, Source, Workers};
use reshare_postgres::connect::Database;
use reshare_postgres::load_options::LoadOptions;
use reshare_postgres::table::{TableName, TableSpec};
use secrecy::SecretString;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use time::OffsetDateTime;

use crate::certificates::Files;
use crate::world::{Running, World, party, shared_key};

static CLUSTER: LazyLock<ThrowAwayPostgres> =
    LazyLock::new(|| ThrowAwayPostgres::start().unwrap_or_else(|error| panic!("{error}")));
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The schemas of the three parties' tables; the receiver's is the reference.
pub(crate) const PARTIES: [&str; 3] = ["zero", "one", "two"];

/// The world of the deliveries, with tables.
pub(crate) struct Senders {
    pub(crate) world: World,
    pub(crate) sql: PgConnection,
    database: Database,
}

impl Senders {
    /// Gives every party its shares of the same rows, and empties the target.
    pub(crate) async fn new(ids: &[i64]) -> Self {
        let name = format!("one_pass_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let url = CLUSTER.create_database(&name).await.unwrap();
        let database = Database::resolve(Some(&SecretString::from(url.as_str()))).unwrap();
        let sql = PgConnection::connect(&url).await.unwrap();
        let mut senders = Self { world: World::new(), sql, database };
        let records = SyntheticRecords::new(5, Arc::clone(senders.world.session.layout()));
        let shares = records.shares(ids, &[0, 1, 2].map(party));
        for schema in PARTIES.into_iter().chain(["target"]) {
            senders
                .run(&format!(
                    "CREATE SCHEMA {schema}; CREATE TABLE {schema}.irises \
                     (id bigint PRIMARY KEY, version_id smallint, code bytea)"
                ))
                .await;
        }
        for (schema, batch) in PARTIES.into_iter().zip(&shares) {
            let rows = batch.rows();
            let mut values = String::new();
            for (row, id) in rows.ids.iter().enumerate() {
                let Some(AgreeValue::Integer(version)) = rows.agree_values(row).next() else {
                    panic!("a version is an integer");
                };
                let shares = rows.share_row(row).next().unwrap();
                let bytes: Vec<u8> = shares.iter().flat_map(|share| share.to_le_bytes()).collect();
                write!(values, "({id}, {version}, '\\x{}'),", hex::encode(bytes)).unwrap();
            }
            let values = values.trim_end_matches(',');
            senders.run(&format!("INSERT INTO {schema}.irises VALUES {values}")).await;
        }
        senders
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.sql).await.unwrap();
    }

    /// Makes a row's shares unusable at a sender, or usable again.
    pub(crate) async fn toggle(&mut self, index: u8, id: i64) {
        let schema = PARTIES[usize::from(index)];
        let sql = format!(
            "UPDATE {schema}.irises SET code = CASE WHEN length(code) = 2400 THEN code || '\\x00' \
             ELSE substr(code, 1, 2400) END WHERE id = {id}"
        );
        self.run(&sql).await;
    }

    pub(crate) fn source(&self, schema: &str) -> Source {
        let name = TableName::new(schema, "irises").unwrap();
        let layout = Arc::clone(self.world.session.layout());
        let table = TableSpec::new(name, "id", layout).unwrap();
        Source { database: self.database.clone(), table, on_bad_row: OnBadRow::Refuse }
    }

    pub(crate) fn state(&self, index: u8) -> PathBuf {
        self.world.path(&format!("state-{index}"))
    }

    /// A sender with its certificate, everybody's approval and its ledger.
    pub(crate) fn sender(&self, index: u8) -> LedgeredSender {
        let World { session, secrets, receiver, .. } = &self.world;
        let trust = self.world.trust(session);
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
        let load = |files: &Files| PartyCertificate::load(&files.certificate, &files.key).unwrap();
        let all = [self.world.sender_files(0), self.world.sender_files(1), receiver];
        let approvals =
            all.map(|files| Approval::sign(session, &trust, &load(files), now, None).unwrap());
        let approvals = Approvals::verify(session, &trust, party(index), &approvals, now).unwrap();
        let certificate = load(self.world.sender_files(index));
        let credentials = SenderCredentials { trust, certificate, approvals };
        let shared_key = shared_key();
        let agreed = Agreed { encapsulated: None, shared_key: Some(&shared_key) };
        let key = &secrets.agreement[usize::from(index)];
        let keys = SenderKeys::agree(session, key, agreed).unwrap();
        let keys = keys.with_credentials(session, credentials, now).unwrap();
        let (state, fingerprint) = (self.state(index), session.fingerprint());
        Ledger::create(&state, &fingerprint, party(index)).unwrap();
        let ledger = Ledger::open(&state, &fingerprint, party(index)).unwrap();
        LedgeredSender::new(session, keys, ledger).unwrap()
    }

    pub(crate) async fn deliver_to(
        &self,
        index: u8,
        target: DeliveryTarget,
        [rows_per_part, parts_at_once]: [usize; 2],
        progress: &Arc<Progress>,
    ) -> Result<DeliveryReport, PipelineError> {
        let options = UploadOptions::fixed(NonZeroUsize::new(parts_at_once).unwrap());
        let delivery = Delivery { target, options };
        let (session, ids) = (&self.world.session, self.ids());
        let source = self.source(PARTIES[usize::from(index)]);
        let (sender, workers) = (self.sender(index), workers_of(rows_per_part));
        deliver(session, &ids, sender, &source, delivery, workers, Arc::clone(progress)).await
    }

    /// Delivers from a sender's table in one pass.
    pub(crate) async fn deliver(
        &self,
        index: u8,
        address: SocketAddr,
        rows_per_part: usize,
    ) -> Result<DeliveryReport, PipelineError> {
        let target = self.world.target(index, address);
        self.deliver_to(index, target, [rows_per_part, 3], &Arc::default()).await
    }

    /// Makes a package in a directory, with the same ledger.
    pub(crate) async fn pack(&self, index: u8, directory: &str) -> PackReport {
        let (session, ids) = (&self.world.session, self.ids());
        let source = self.source(PARTIES[usize::from(index)]);
        let (sender, to) = (self.sender(index), self.world.path(directory));
        send(session, &ids, sender, &source, &to, workers_of(5), Arc::default()).await.unwrap()
    }

    /// Rebuilds from what both senders delivered.
    pub(crate) async fn rebuild(&self, receiver: &Running) -> RebuildReport {
        let session = &self.world.session;
        let (trust, identity) = (self.world.trust(session), self.world.secrets.identity.clone());
        let directories = [receiver.package(0), receiver.package(1)];
        let packages = Packages::open_signed(session, Some(&trust), directories, identity).unwrap();
        let target =
            workers::Target { source: self.source("target"), options: LoadOptions::default() };
        rebuild(session, Arc::new(packages), &target, workers_of(9), Arc::default()).await.unwrap()
    }

    /// Asserts that the target is the reference, and returns how many rows they have.
    pub(crate) async fn equal_rows(&self) -> u64 {
        let [left, right] = [PARTIES[2], "target"].map(|schema| self.source(schema));
        let progress = Progress::default();
        let found =
            verify_tables(&left, &right, &RowIds::Range(IdRange::ALL), workers_of(64), &progress)
                .await;
        let found = found.unwrap();
        assert!(found.is_equal(), "{found:?}");
        found.rows_equal
    }

    fn ids(&self) -> RowIds {
        RowIds::of(&self.world.session, None).unwrap()
    }
}

/// One connection and one thread: parts are cut and sealed in order.
pub(crate) fn workers_of(rows_per_part: usize) -> Workers {
    let rows_per_part = NonZeroUsize::new(rows_per_part).unwrap();
    Workers { connections: 1, threads: 1, rows_per_part }
}

/// Longer than any test takes, but short for a test that hangs.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(60);
