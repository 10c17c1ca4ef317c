//! Two senders and a receiver, with their keys, tables and directories.

use aws_lc_rs::agreement::{self, ECDH_P256, PrivateKey, UnparsedPublicKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::{AgreeValue, Rows};
use reshare_exchange::progress::Progress;
pub(crate) use reshare_files::causes::with_causes as chain;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use reshare_fixtures::synthetic::SyntheticRecords;
use reshare_format::keys::{AgreementKey, Identity, SealKind, SharedKey};
use reshare_format::session::{IdList, NewSession, Receiver, Sender, Session, SessionIds};
use reshare_format::share_file::Kind;
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::rebuild::{RebuildReport, rebuild};
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::sealer::PackReport;
use reshare_pipeline::send::send;
use reshare_pipeline::sender::{Agreed, LedgeredSender, SenderKeys, SenderKeysError};
use reshare_pipeline::verify::{verify_file, verify_tables};
use reshare_pipeline::workers::{OnBadRow, Source, Target, Workers};
use reshare_postgres::connect::Database;
use reshare_postgres::load_options::LoadOptions;
use reshare_postgres::table::{TableName, TableSpec};
use secrecy::SecretString;
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Connection};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock};
use tempfile::TempDir;
use time::macros::datetime;

static CLUSTER: LazyLock<ThrowAwayPostgres> =
    LazyLock::new(|| ThrowAwayPostgres::start().unwrap_or_else(|error| panic!("{error}")));
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The schema of the receiver's table, and of the table with the rows it should have.
pub(crate) const TARGET: &str = "target";
pub(crate) const REFERENCE: &str = "reference";
/// The schemas of the senders' tables, the lower party's first.
pub(crate) const SENDERS: [&str; 2] = ["lower", "higher"];

/// The key that both senders have in a file.
const SHARED_KEY: [u8; 32] = [0x5a; 32];

pub(crate) fn shared_key() -> SharedKey {
    SharedKey::new(SHARED_KEY)
}

/// The keys of a session of these tests, for the sender with this key.
pub(crate) fn agree(session: &Session, key: &AgreementKey) -> Result<SenderKeys, SenderKeysError> {
    let shared_key = shared_key();
    let agreed = Agreed { encapsulated: None, shared_key: Some(&shared_key) };
    SenderKeys::agree(session, key, agreed)
}

/// A database of one test.
pub(crate) struct Place {
    pub(crate) url: String,
    pub(crate) sql: PgConnection,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let name = format!("test_{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        let url = CLUSTER.create_database(&name).await.expect("a database");
        let sql = PgConnection::connect(&url).await.expect("a connection");
        Self { url, sql }
    }

    /// A second connection to the same database.
    pub(crate) async fn connect(&self) -> PgConnection {
        PgConnection::connect(&self.url).await.expect("a connection")
    }

    pub(crate) fn database(&self) -> Database {
        database(&self.url)
    }

    pub(crate) async fn run(&mut self, sql: &str) {
        run(&mut self.sql, sql).await;
    }

    pub(crate) async fn number(&mut self, sql: &str) -> i64 {
        number(&mut self.sql, sql).await
    }

    /// Makes a small table in a schema of its own; `agree` has one type a column.
    pub(crate) async fn table(&mut self, schema: &str, layout: &RowLayout, agree: &[&str]) {
        let mut columns = vec!["id bigint PRIMARY KEY".to_owned()];
        let types = layout.agree().iter().zip(agree);
        columns.extend(types.map(|(column, sort)| format!("{} {sort}", column.name)));
        columns.extend(layout.shares().iter().map(|column| format!("{} bytea", column.name)));
        columns.push("last_modified_at bigint".to_owned());
        let columns = columns.join(", ");
        self.run(&format!(
            "DROP SCHEMA IF EXISTS {schema} CASCADE; CREATE SCHEMA {schema}; \
             CREATE TABLE {schema}.rows ({columns})"
        ))
        .await;
    }

    /// The four small tables, integers as BIGINT.
    pub(crate) async fn tables(&mut self, layout: &RowLayout) {
        let types = usual_types(layout);
        for schema in [SENDERS[0], SENDERS[1], TARGET, REFERENCE] {
            self.table(schema, layout, &types).await;
        }
    }

    /// Inserts rows into a small table.
    pub(crate) async fn insert(&mut self, schema: &str, rows: &Rows<'_>) {
        if rows.ids.is_empty() {
            return;
        }
        let names = rows.layout.agree().iter().map(|column| &column.name);
        let names = names.chain(rows.layout.shares().iter().map(|column| &column.name));
        let names: Vec<_> = names.cloned().collect();
        let values: Vec<_> = (0..rows.len()).map(|row| values_sql(rows, row)).collect();
        let (names, values) = (names.join(", "), values.join(", "));
        self.run(&format!("INSERT INTO {schema}.rows (id, {names}) VALUES {values}")).await;
    }

    pub(crate) fn source(&self, schema: &str, layout: &Arc<RowLayout>) -> Source {
        source(self.database(), schema, "rows", layout)
    }

    /// Compares the target with the reference and returns how many rows are equal.
    pub(crate) async fn equal_rows(&self, layout: &Arc<RowLayout>) -> u64 {
        let sides = [REFERENCE, TARGET].map(|schema| self.source(schema, layout));
        equal_rows(&sides[0], &sides[1], IdRange::ALL).await
    }

    pub(crate) async fn rows_in(&mut self, schema: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {schema}.rows")).await
    }

    /// Nothing is in the target, and nothing is recorded as being there.
    pub(crate) async fn assert_target_untouched(&mut self) {
        assert_eq!(self.rows_in(TARGET).await, 0);
        let recorded = format!("SELECT to_regclass('{TARGET}.reshare_progress') IS NOT NULL");
        let exists = sqlx::query_scalar(AssertSqlSafe(recorded)).fetch_one(&mut self.sql).await;
        if exists.expect("a catalog") {
            let sql = format!("SELECT count(*) FROM {TARGET}.reshare_progress");
            assert_eq!(self.number(&sql).await, 0);
        }
    }
}

pub(crate) async fn run(connection: &mut PgConnection, sql: &str) {
    let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(connection).await;
    done.unwrap_or_else(|error| panic!("{sql:.200}: {error}"));
}

pub(crate) async fn number(connection: &mut PgConnection, sql: &str) -> i64 {
    let found = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await;
    found.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

pub(crate) fn database(url: &str) -> Database {
    Database::resolve(Some(&SecretString::from(url))).expect("a good URL")
}

pub(crate) fn source(
    database: Database,
    schema: &str,
    table: &str,
    layout: &Arc<RowLayout>,
) -> Source {
    let name = TableName::new(schema, table).expect("usable");
    let table = TableSpec::new(name, "id", Arc::clone(layout)).expect("usable");
    Source { database, table, on_bad_row: OnBadRow::Refuse }
}

/// Asserts that two tables are equal and returns how many rows they have.
pub(crate) async fn equal_rows(left: &Source, right: &Source, within: IdRange) -> u64 {
    let (ids, progress) = (RowIds::Range(within), Progress::default());
    let found = verify_tables(left, right, &ids, workers(2, 64), &progress).await;
    let found = found.expect("compared");
    assert!(found.is_equal(), "{found:?}");
    found.rows_equal
}

fn usual_types(layout: &RowLayout) -> Vec<&'static str> {
    let sort = |column: &AgreeColumn| match column.kind {
        AgreeKind::Integer => "bigint",
        AgreeKind::Uuid => "uuid",
    };
    layout.agree().iter().map(sort).collect()
}

fn values_sql(rows: &Rows<'_>, row: usize) -> String {
    // The lowest id cannot be written as a negated literal.
    let mut values = vec![format!("'{}'::bigint", rows.ids[row])];
    values.extend(rows.agree_values(row).map(|value| match value {
        AgreeValue::Null => "NULL".to_owned(),
        AgreeValue::Integer(value) => format!("'{value}'"),
        AgreeValue::Uuid(bytes) => format!("'{}'", hex::encode(bytes)),
    }));
    values.extend(rows.share_row(row).map(|shares| format!("'\\x{}'", hex::encode(le(shares)))));
    format!("({})", values.join(", "))
}

pub(crate) fn le(shares: &[u16]) -> Vec<u8> {
    shares.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A version, and 12 u16 of shares in two columns.
pub(crate) fn small_layout() -> Arc<RowLayout> {
    layout(&[("version_id", AgreeKind::Integer)])
}

pub(crate) fn layout(agree: &[(&str, AgreeKind)]) -> Arc<RowLayout> {
    let agree = agree.iter().map(|&(name, kind)| AgreeColumn { name: name.to_owned(), kind });
    let share = |name: &str, len| ShareColumn { name: name.to_owned(), len };
    let shares = vec![share("code", 8), share("mask", 4)];
    Arc::new(RowLayout::new(agree.collect(), shares).expect("valid"))
}

/// Which parties send and receive, with all keys.
pub(crate) struct Cast {
    pub(crate) senders: [PartyId; 2],
    pub(crate) receiver: PartyId,
    pub(crate) keys: [AgreementKey; 2],
    pub(crate) identity: Identity,
    pub(crate) scratch: TempDir,
    state: TempDir,
    key_files: TempDir,
}

impl Cast {
    /// Takes the senders, the lower party first, and the receiver.
    pub(crate) fn new(senders: [u8; 2], receiver: u8) -> Self {
        let key_files = tempfile::tempdir().expect("a directory");
        let key = |name| AgreementKey::generate_file(&key_files.path().join(name));
        Self {
            senders: senders.map(party),
            receiver: party(receiver),
            keys: ["0", "1"].map(|name| key(name).expect("made")),
            identity: Identity::generate(SealKind::Hybrid),
            scratch: tempfile::tempdir().expect("a directory"),
            state: tempfile::tempdir().expect("a directory"),
            key_files,
        }
    }

    /// A new session about these ids.
    pub(crate) fn session(&self, layout: &Arc<RowLayout>, ids: SessionIds) -> Session {
        let sender = |index: usize| Sender {
            party: self.senders[index],
            certificate_name: None,
            agreement_key: *self.keys[index].public_key(),
            encapsulation_key: None,
        };
        let recipient = self.identity.to_public();
        let facts = NewSession {
            session_id: "test".parse().expect("an id"),
            environment: "dev".parse().expect("an environment"),
            not_before: datetime!(2026-01-01 00:00 UTC),
            not_after: datetime!(2036-01-01 00:00 UTC),
            ids,
            table: "rows".to_owned(),
            id_column: "id".to_owned(),
            layout: Arc::clone(layout),
            max_part_bytes: Session::DEFAULT_MAX_PART_BYTES,
            senders: [sender(0), sender(1)],
            receiver: Receiver { party: self.receiver, certificate_name: None, recipient },
            shared_key_id: Some(shared_key().id()),
            ca_sha256: None,
            server_url: None,
        };
        Session::create(facts).expect("valid")
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    /// Shared secret, blinding key and content tag key, derived from the format page alone: the key
    /// check proves that they are the right ones.
    pub(crate) fn secrets(&self, session: &Session, key_check: &[u8; 16]) -> [[u8; 32]; 3] {
        let pem = std::fs::read_to_string(self.key_files.path().join("0")).expect("a key");
        let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
        let der = BASE64_STANDARD.decode(body).expect("PEM");
        let private = PrivateKey::from_private_key_der(&ECDH_P256, &der).expect("a key");
        let peer = UnparsedPublicKey::new(&ECDH_P256, self.keys[1].public_key().as_der());
        let secret =
            agreement::agree(&private, peer, (), |secret| Ok(secret.try_into().expect("32 bytes")));
        let secret: [u8; 32] = secret.expect("agreed");
        let mut all = vec![];
        let mut field = |name: &str, value: &[u8]| {
            for bytes in [name.as_bytes(), value] {
                all.extend((bytes.len() as u64).to_le_bytes());
                all.extend(bytes);
            }
        };
        field("ecdh", &secret);
        for sender in session.senders() {
            field("agreement_key", sender.agreement_key.as_der());
        }
        field("shared_key", &SHARED_KEY);
        let label = |purpose| session.fingerprint().label(purpose);
        let expand = |prk: &Prk, purpose| {
            let mut key = [0; 32];
            let info = label(purpose);
            let info = [&info[..]];
            let okm = prk.expand(&info, HKDF_SHA256.hmac_algorithm()).expect("short");
            okm.fill(&mut key).expect("32 bytes");
            key
        };
        let agreed = {
            // HKDF's first step is one HMAC.
            let salt = hmac::Key::new(hmac::HMAC_SHA256, &label("agreement"));
            hmac::sign(&salt, &all)
        };
        let prk = Salt::new(HKDF_SHA256, session.id().as_str().as_bytes()).extract(agreed.as_ref());
        let blinding = expand(&prk, "blinding-key");
        assert_eq!(expand(&prk, "key-check")[..16], key_check[..]);
        let tags = expand(&Prk::new_less_safe(HKDF_SHA256, &blinding), "content-tag-key");
        [secret, blinding, tags]
    }

    /// A sender with its ledger, which is made where the session has none yet.
    pub(crate) fn sender(&self, session: &Session, side: usize) -> LedgeredSender {
        let keys = agree(session, &self.keys[side]).expect("a sender");
        let (state, fingerprint) = (self.state.path(), session.fingerprint());
        Ledger::create(state, &fingerprint, keys.sender()).expect("made or there");
        let ledger = Ledger::open(state, &fingerprint, keys.sender()).expect("sound");
        LedgeredSender::new(session, keys, ledger).expect("its own")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// Shares of the same records for the senders and the receiver, in this order.
    pub(crate) fn shares(&self, layout: &Arc<RowLayout>, ids: &[i64]) -> [RowBatch; 3] {
        let parties = [self.senders[0], self.senders[1], self.receiver];
        let records = SyntheticRecords::new(11, Arc::clone(layout));
        records.shares(ids, &parties).try_into().unwrap_or_else(|_| panic!("three parties"))
    }

    pub(crate) fn packages(
        &self,
        session: &Session,
        directories: [&Path; 2],
    ) -> Result<Arc<Packages>, PipelineError> {
        let directories = directories.map(Path::to_owned);
        Packages::open(session, directories, self.identity.clone()).map(Arc::new)
    }
}

/// A cast with the four small tables, which hold shares of the same records.
pub(crate) struct World {
    pub(crate) cast: Cast,
    pub(crate) place: Place,
    pub(crate) layout: Arc<RowLayout>,
    pub(crate) session: Session,
    pub(crate) ids: RowIds,
    /// Where the session is about a list.
    pub(crate) list: Option<IdList>,
}

impl World {
    /// Parties 0 and 2 have rows of `ids`, of which party 1 has none; the session is about all.
    pub(crate) async fn new(ids: &[i64]) -> Self {
        let mut world = Self::empty().await;
        let shares = world.cast.shares(&world.layout, ids);
        for (schema, rows) in [SENDERS[0], SENDERS[1], REFERENCE].into_iter().zip(&shares) {
            world.place.insert(schema, &rows.rows()).await;
        }
        world
    }

    /// The tables without a row.
    pub(crate) async fn empty() -> Self {
        let (cast, layout) = (Cast::new([0, 2], 1), small_layout());
        let mut place = Place::new().await;
        place.tables(&layout).await;
        let session = cast.session(&layout, SessionIds::Range(IdRange::ALL));
        let ids = RowIds::Range(IdRange::ALL);
        Self { cast, place, layout, session, ids, list: None }
    }

    pub(crate) fn source(&self, schema: &str) -> Source {
        self.place.source(schema, &self.layout)
    }

    pub(crate) fn target(&self, options: LoadOptions) -> Target {
        Target { source: self.source(TARGET), options }
    }

    /// Sends from one side into a directory of that name.
    pub(crate) async fn try_send(
        &self,
        side: usize,
        name: &str,
        rows_per_part: usize,
    ) -> Result<PackReport, PipelineError> {
        let sender = self.cast.sender(&self.session, side);
        let (source, path) = (self.source(SENDERS[side]), self.cast.path(name));
        let (workers, progress) = (workers(2, rows_per_part), Arc::default());
        send(&self.session, &self.ids, sender, &source, &path, workers, progress).await
    }

    /// Sends from both sides, with parts of other sizes.
    pub(crate) async fn send_both(&self, rows_per_part: [usize; 2]) -> Arc<Packages> {
        for (side, rows) in rows_per_part.into_iter().enumerate() {
            self.try_send(side, SENDERS[side], rows).await.expect("sent");
        }
        self.packages().expect("both are good")
    }

    pub(crate) fn packages(&self) -> Result<Arc<Packages>, PipelineError> {
        self.packages_of(SENDERS)
    }

    /// Opens two packages, with the session's list where there is one.
    pub(crate) fn packages_of(&self, names: [&str; 2]) -> Result<Arc<Packages>, PipelineError> {
        let directories = names.map(|name| self.cast.path(name));
        let packages = Packages::open(&self.session, directories, self.cast.identity.clone())?;
        Ok(Arc::new(match &self.list {
            Some(list) => packages.with_list(list),
            None => packages,
        }))
    }

    /// Makes the session one about a list, which it returns.
    pub(crate) fn list(&mut self, ids: &[i64]) -> IdList {
        let path = self.cast.path("ids");
        let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
        std::fs::write(&path, lines).expect("written");
        let list = IdList::load(&path).expect("a list");
        self.session = self.cast.session(&self.layout, list.session_ids());
        self.ids = RowIds::of(&self.session, Some(&list)).expect("there is a list");
        self.list = Some(list.clone());
        list
    }

    pub(crate) async fn rebuild_with(
        &self,
        packages: &Arc<Packages>,
        options: LoadOptions,
        workers: Workers,
    ) -> Result<RebuildReport, PipelineError> {
        let (packages, target) = (Arc::clone(packages), self.target(options));
        rebuild(&self.session, packages, &target, workers, Arc::default()).await
    }

    pub(crate) async fn try_rebuild(
        &self,
        packages: &Arc<Packages>,
    ) -> Result<RebuildReport, PipelineError> {
        self.rebuild_with(packages, LoadOptions::default(), workers(2, 7)).await
    }

    pub(crate) async fn rebuild(&self, packages: &Arc<Packages>) -> RebuildReport {
        self.try_rebuild(packages).await.expect("rebuilt")
    }

    /// A file of plain shares holds what a table does.
    pub(crate) async fn assert_plain_file_equals(&self, file: &Path, table: &Source, rows: u64) {
        let (jobs, progress) = (workers(1, 6), Progress::default());
        let found = verify_file(&self.session, file, Kind::Plain, table, jobs, &progress).await;
        let found = found.expect("compared");
        assert!(found.is_equal(), "{found:?}");
        assert_eq!(found.rows_equal, rows);
    }

    /// How many rows the target has: it must be equal to the reference.
    pub(crate) async fn equal_rows(&self) -> u64 {
        self.place.equal_rows(&self.layout).await
    }
}

pub(crate) fn workers(jobs: usize, rows_per_part: usize) -> Workers {
    let rows_per_part = NonZeroUsize::new(rows_per_part).expect("not zero");
    Workers { connections: jobs, threads: jobs, rows_per_part }
}

pub(crate) fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

pub(crate) fn range(first: i64, last: i64) -> IdRange {
    IdRange::new(first, last).expect("in order")
}

/// The rows at some positions, as a batch of their own.
pub(crate) fn pick(batch: &RowBatch, wanted: impl Fn(i64) -> bool) -> RowBatch {
    let rows = batch.rows();
    let mut picked = RowBatch::with_capacity(Arc::clone(batch.layout()), rows.len());
    for row in (0..rows.len()).filter(|row| wanted(rows.ids[*row])) {
        let agree: Vec<AgreeValue> = rows.agree_values(row).collect();
        push(&mut picked, rows.ids[row], &agree, &rows, row);
    }
    picked
}

/// Appends a row with other agree values.
pub(crate) fn push(
    batch: &mut RowBatch,
    id: i64,
    agree: &[AgreeValue],
    from: &Rows<'_>,
    row: usize,
) {
    let shares: Vec<Vec<u8>> = from.share_row(row).map(le).collect();
    let shares: Vec<&[u8]> = shares.iter().map(Vec::as_slice).collect();
    batch.push_bytes(id, agree, &shares).expect("fits");
}

/// Asserts that an error is a refusal which says `text`.
pub(crate) fn assert_refusal(error: &PipelineError, text: &str) {
    let shown = chain(error);
    assert!(error.is_refusal(), "is no refusal: {shown}");
    assert!(shown.contains(text), "{shown:?} does not say {text:?}");
}

/// The names in a directory, sorted.
pub(crate) fn file_names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).expect("a directory");
    let name = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.expect("an entry").file_name().into_string().expect("a plain name")
    };
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    names
}
