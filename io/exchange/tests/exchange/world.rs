//! Three parties, their certificates and packages, and a receiver that listens.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::{AgreeValuesMut, RowBatch};
use reshare_exchange::progress::Progress;
use reshare_exchange::{
    ClientError, ClientOptions, DeliveryTarget, Endpoint, EndpointParts, HealthEndpoint, Inbox,
    InboxError, KeyExchange, Limits, Listing, Monitor, Shutdown, TlsFiles, TlsIdentity,
    UploadOptions, UploadReport, upload,
};
use reshare_files::ids::IdRange;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::keys::{AgreementKey, Identity, SealKind, SharedKey};
use reshare_format::package::{
    ManifestContent, Package, PackageExpectations, PackageWriter, PartEntry, Timestamp,
};
use reshare_format::session::{NewSession, Receiver, Sender, Session, SessionIds, SessionTrust};
use time::OffsetDateTime;
use tokio::task::JoinHandle;

use crate::certificates::{Authority, Files};

pub(crate) const RECEIVER: &str = "receiver.mpc.example";
const PARTS: i64 = 6;
const ROWS: i64 = 40;

/// The key that both senders have in a file.
pub(crate) fn shared_key() -> SharedKey {
    SharedKey::new([0x5a; 32])
}

/// What exists before anything is delivered.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) authority: Authority,
    pub(crate) session: Session,
    pub(crate) secrets: Secrets,
    senders: [Files; 2],
    pub(crate) receiver: Files,
}

/// The senders' agreement keys and the receiver's identity.
pub(crate) struct Secrets {
    pub(crate) agreement: [AgreementKey; 2],
    pub(crate) identity: Identity,
}

pub(crate) fn party(index: u8) -> PartyId {
    PartyId::new(index).unwrap()
}

pub(crate) fn sender_name(index: u8) -> String {
    format!("spiffe://mpc.example/party/{index}")
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::make(&directory.path().join("ca"));
        let issue = |index| {
            authority.issue(&format!("sender-{index}"), &format!("URI:{}", sender_name(index)))
        };
        let senders = [issue(0), issue(1)];
        let receiver = authority.issue("receiver", &format!("DNS:{RECEIVER}"));
        let agreement = [(); 2].map(|()| AgreementKey::generate().unwrap());
        let secrets = Secrets { agreement, identity: Identity::generate(SealKind::Hybrid) };
        let session = session(&authority, RECEIVER, &sender_name(0), &secrets);
        Self { directory, authority, session, secrets, senders, receiver }
    }

    /// Another session of the same parties, for example an earlier one.
    pub(crate) fn other_session(&self) -> Session {
        self.session_named(RECEIVER, &sender_name(0))
    }

    /// A session that knows the receiver and sender 0 by other names.
    pub(crate) fn session_named(&self, receiver: &str, sender_0: &str) -> Session {
        session(&self.authority, receiver, sender_0, &self.secrets)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn sender_files(&self, index: u8) -> &Files {
        &self.senders[usize::from(index)]
    }

    pub(crate) fn tls(&self, files: &Files) -> TlsIdentity {
        self.tls_in(&self.session, files)
    }

    pub(crate) fn tls_in(&self, session: &Session, files: &Files) -> TlsIdentity {
        let files = TlsFiles {
            certificate: files.certificate.clone(),
            certificate_key: files.key.clone(),
            ca_file: self.authority.pem(),
        };
        TlsIdentity::load(&files, session).unwrap()
    }

    pub(crate) fn trust(&self, session: &Session) -> SessionTrust {
        SessionTrust::load(session, &self.authority.pem()).unwrap()
    }

    pub(crate) fn package(&self, index: u8) -> Package {
        self.package_of(&self.session, index, &format!("package-{index}"))
    }

    /// Makes a package of a session, or opens it if it exists.
    pub(crate) fn package_of(&self, session: &Session, index: u8, name: &str) -> Package {
        let path = self.path(name);
        let trust = self.trust(session);
        let expected = PackageExpectations::of(session, party(index), Some(&trust)).unwrap();
        if !path.exists() {
            let files = self.sender_files(index);
            let certificate = PartyCertificate::load(&files.certificate, &files.key).unwrap();
            make_package(session, &expected, certificate, &path);
        }
        Package::open(path, expected).unwrap()
    }

    pub(crate) async fn receiver(&self) -> Running {
        self.receiver_with(Limits { keep_free_bytes: 0, ..Limits::default() }).await
    }

    pub(crate) async fn receiver_with(&self, limits: Limits) -> Running {
        self.receiver_at(([127, 0, 0, 1], 0).into(), limits).await
    }

    /// A receiver that takes the hybrid key exchange alone.
    pub(crate) async fn hybrid_receiver(&self, limits: Limits) -> Running {
        self.receiver_taking(([127, 0, 0, 1], 0).into(), limits, KeyExchange::Hybrid).await
    }

    pub(crate) async fn receiver_at(&self, address: SocketAddr, limits: Limits) -> Running {
        self.receiver_taking(address, limits, KeyExchange::HybridOrClassic).await
    }

    async fn receiver_taking(
        &self,
        address: SocketAddr,
        limits: Limits,
        key_exchange: KeyExchange,
    ) -> Running {
        let directory = self.path("inbox");
        let progress = Arc::<Progress>::default();
        let monitor = Monitor::new(Arc::clone(&progress));
        let health = HealthEndpoint::bind(([127, 0, 0, 1], 0).into(), monitor.clone(), limits);
        let health = health.await.unwrap();
        let inbox = Arc::new(self.open_inbox(limits).unwrap());
        let parts = EndpointParts {
            session: &self.session,
            identity: &self.tls(&self.receiver),
            inbox: Arc::clone(&inbox),
            monitor: monitor.clone(),
            limits,
            key_exchange,
        };
        let endpoint = Endpoint::bind(address, parts).await.unwrap();
        let (address, health_address) = (endpoint.address().unwrap(), health.address().unwrap());
        let shutdown = Shutdown::default();
        let serving = (endpoint.serve(shutdown.clone()), health.serve(shutdown.clone()));
        let task = tokio::spawn(async move {
            tokio::join!(serving.0, serving.1);
        });
        Running {
            address,
            health: health_address,
            inbox,
            monitor,
            progress,
            directory,
            shutdown,
            task,
        }
    }

    pub(crate) fn open_inbox(&self, limits: Limits) -> Result<Inbox, InboxError> {
        let progress = Progress::default();
        let trust = self.trust(&self.session);
        Inbox::open(&self.path("inbox"), &self.session, &trust, limits, &progress)
    }

    pub(crate) fn target(&self, index: u8, address: SocketAddr) -> DeliveryTarget {
        let options = ClientOptions {
            give_up_after: Duration::from_secs(120),
            first_pause: Duration::from_millis(10),
            timeout: Duration::from_secs(10),
            ..ClientOptions::default()
        };
        self.target_with(index, address, options)
    }

    pub(crate) fn target_with(
        &self,
        index: u8,
        address: SocketAddr,
        options: ClientOptions,
    ) -> DeliveryTarget {
        let identity = self.tls(self.sender_files(index));
        let url = format!("https://{address}");
        DeliveryTarget::new(&self.session, party(index), &url, &identity, options).unwrap()
    }

    pub(crate) async fn upload(
        &self,
        index: u8,
        address: SocketAddr,
    ) -> Result<UploadReport, ClientError> {
        upload_to(&self.package(index), &self.target(index, address)).await
    }
}

pub(crate) async fn upload_to(
    package: &Package,
    target: &DeliveryTarget,
) -> Result<UploadReport, ClientError> {
    upload_at_once(3, package, target).await
}

pub(crate) async fn upload_at_once(
    parts_at_once: usize,
    package: &Package,
    target: &DeliveryTarget,
) -> Result<UploadReport, ClientError> {
    let options = UploadOptions::fixed(NonZeroUsize::new(parts_at_once).unwrap());
    let check = |listing: &Listing| listing.check_within(package.manifest().parts());
    upload(package, target, options, &Arc::new(Progress::default()), check).await
}

/// Uploads as a sender whose ledger has recorded whatever the receiver has.
pub(crate) async fn upload_again(
    package: &Package,
    target: &DeliveryTarget,
) -> Result<UploadReport, ClientError> {
    let options = UploadOptions::fixed(NonZeroUsize::MIN);
    upload(package, target, options, &Arc::new(Progress::default()), |_: &Listing| Ok(())).await
}

/// A receiver that listens.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) health: SocketAddr,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) monitor: Arc<Monitor>,
    pub(crate) progress: Arc<Progress>,
    directory: PathBuf,
    shutdown: Shutdown,
    task: JoinHandle<()>,
}

impl Running {
    /// Ends gracefully.
    pub(crate) async fn stop(self) {
        self.shutdown.ask();
        self.task.await.unwrap();
    }

    pub(crate) fn package(&self, index: u8) -> PathBuf {
        Inbox::package_path(&self.directory, party(index))
    }

    /// Every file in the inbox, by its path.
    pub(crate) fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        for index in [0, 1] {
            for entry in fs::read_dir(self.package(index)).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                found.push(format!("{index}/{name}"));
            }
        }
        found.sort();
        found
    }
}

/// Whether two directories hold the same files with the same bytes.
pub(crate) fn assert_same_directory(left: &Path, right: &Path) {
    let list = |path: &Path| {
        let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
        let mut files: Vec<_> =
            entries.map(|entry| (entry.file_name(), fs::read(entry.path()).unwrap())).collect();
        files.sort();
        files
    };
    assert!(list(left) == list(right), "{} is not {}", left.display(), right.display());
}

fn session(authority: &Authority, receiver: &str, sender_0: &str, secrets: &Secrets) -> Session {
    let agree = AgreeColumn { name: "version_id".to_owned(), kind: AgreeKind::Integer };
    let share = ShareColumn { name: "code".to_owned(), len: 1200 };
    let sender = |index, name: &str| Sender {
        party: party(index),
        certificate_name: Some(name.parse().unwrap()),
        agreement_key: *secrets.agreement[usize::from(index)].public_key(),
        encapsulation_key: None,
    };
    let now = OffsetDateTime::now_utc().replace_nanosecond(0).unwrap();
    Session::create(NewSession {
        session_id: "session-1".parse().unwrap(),
        environment: "test".parse().unwrap(),
        not_before: now - Duration::from_secs(60),
        not_after: now + Duration::from_secs(3600),
        ids: SessionIds::from_start_end(1, Some(100_000)).unwrap(),
        table: "irises".to_owned(),
        id_column: "id".to_owned(),
        layout: Arc::new(RowLayout::new(vec![agree], vec![share]).unwrap()),
        max_part_bytes: 1 << 20,
        senders: [sender(0, sender_0), sender(1, &sender_name(1))],
        receiver: Receiver {
            party: party(2),
            certificate_name: Some(receiver.parse().unwrap()),
            recipient: secrets.identity.to_public(),
        },
        shared_key_id: Some(shared_key().id()),
        ca_sha256: Some(authority.sha256()),
        server_url: None,
    })
    .unwrap()
}

fn make_package(
    session: &Session,
    expected: &PackageExpectations,
    certificate: PartyCertificate,
    path: &Path,
) {
    let recipient = session.receiver().recipient.clone();
    let writer = PackageWriter::create(path, expected.clone(), recipient).unwrap();
    let writer = writer.signed_by(certificate);
    let entry = |index: i64| {
        let (first, last) = (1 + index * ROWS, (index + 1) * ROWS);
        let ids = IdRange::new(first, last).unwrap();
        let batch = noise(session.layout(), first..=last);
        let part = writer.seal(index.unsigned_abs(), ids, &batch.rows()).unwrap();
        PartEntry::new(&part, ids, ROWS.unsigned_abs(), blake3::hash(b"tags"), Timestamp::now())
    };
    let parts = (0..PARTS).map(entry).collect();
    let content = ManifestContent {
        session_id: session.id().to_string(),
        fingerprint: session.fingerprint(),
        sender: expected.sender,
        receiver: expected.receiver,
        key_check: [7; 16],
        parts,
        signed_at: Timestamp::now(),
    };
    writer.close(&content).unwrap();
}

fn noise(layout: &Arc<RowLayout>, ids: std::ops::RangeInclusive<i64>) -> RowBatch {
    let ids: Vec<i64> = ids.collect();
    let mut batch = RowBatch::with_capacity(Arc::clone(layout), ids.len());
    let rows = batch.reset(ids.len(), true).unwrap();
    rows.ids.copy_from_slice(&ids);
    let mut noise = blake3::Hasher::new().update(&ids[0].to_le_bytes()).finalize_xof();
    for column in rows.agree {
        column.nulls.fill(0);
        if let AgreeValuesMut::Integer(values) = column.values {
            values.fill(1);
        }
    }
    noise.fill(rows.row_checks.as_flattened_mut());
    for column in rows.shares {
        noise.fill(bytemuck::cast_slice_mut(column));
    }
    batch
}
