//! TLS to a real server with real certificates, and a server that falls silent.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reshare_files::fault::Refusable;
use reshare_fixtures::postgres::{Shutdown, ThrowAwayPostgres};
use reshare_postgres::connect::{ConnectError, Database, Protection};
use reshare_postgres::transaction::Purpose;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// Makes an authority, a certificate of it for db.example, one that signed itself for db.example,
/// and one of version 1.
const CERTIFICATES: &str = "set -e; cd \"$1\"; \
    new='-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2'; \
    openssl req -x509 $new -keyout ca.key -out ca.crt -subj /CN=authority; \
    openssl req -x509 $new -keyout other.key -out other.crt -subj /CN=other; \
    openssl req $new -keyout signed.key -out signed.csr -subj /CN=db.example; \
    echo subjectAltName=DNS:db.example > names; \
    openssl x509 -req -days 2 -in signed.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile names -out signed.crt; \
    openssl req -x509 $new -keyout own.key -out own.crt -subj /CN=db.example -addext subjectAltName=DNS:db.example; \
    cp signed.key first.key; openssl x509 -req -days 2 -in signed.csr -signkey first.key -out first.crt";

struct Server {
    cluster: ThrowAwayPostgres,
    certificates: tempfile::TempDir,
    port: u16,
}

impl Server {
    async fn start() -> Self {
        let certificates = tempfile::tempdir().expect("a directory");
        let mut shell = Command::new("sh");
        let made = shell.args(["-c", CERTIFICATES, "sh"]).arg(certificates.path()).output();
        let made = made.expect("sh runs");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let cluster = ThrowAwayPostgres::start().unwrap_or_else(|error| panic!("{error}"));
        let port = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = port.local_addr().expect("an address").port();
        let mut connection =
            PgConnection::connect(&cluster.url("postgres")).await.expect("connects");
        for setting in [format!("port = {port}"), "listen_addresses = '127.0.0.1'".into()] {
            let sql = format!("ALTER SYSTEM SET {setting}");
            sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await.expect("set");
        }
        connection.close().await.expect("closes");
        Self { cluster, certificates, port }
    }

    /// Starts the server again with a certificate, or without TLS.
    fn show(&self, certificate: Option<&str>) {
        let data = self.cluster.socket_directory().join("data");
        let owner = self.cluster.owner().expect("a user");
        for kind in ["crt", "key"] {
            let Some(name) = certificate else { continue };
            let (from, to) =
                (self.file(&format!("{name}.{kind}")), data.join(format!("server.{kind}")));
            std::fs::copy(from, &to).expect("copied");
            std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o600)).expect("set");
            if let Some((uid, gid)) = owner {
                chown(&to, Some(uid), Some(gid)).expect("given");
            }
        }
        let mut settings = std::fs::OpenOptions::new();
        let mut settings = settings.append(true).open(data.join("postgresql.conf")).expect("there");
        let ssl = if certificate.is_some() { "on" } else { "off" };
        writeln!(settings, "ssl = {ssl}").expect("written");
        self.cluster.restart(Shutdown::Fast).expect("starts");
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.certificates.path().join(name)
    }

    fn database(&self, host: &str, more: &str) -> Database {
        let more = more.replace("DIR", &self.certificates.path().display().to_string());
        let (port, url) = (self.port, "hostaddr=127.0.0.1&connect_timeout=10");
        let url = format!("postgres://postgres@{host}:{port}/postgres?{url}&{more}");
        Database::resolve(Some(&SecretString::from(url))).expect("a good URL")
    }

    /// What protects a connection, or what is said of TLS.
    async fn reach(&self, host: &str, more: &str) -> Result<Protection, String> {
        let database = self.database(host, more);
        match database.connect().await {
            Ok(connection) => {
                connection.close().await.expect("closes");
                Ok(database.protection().expect("connected"))
            }
            Err(error @ ConnectError::Tls { .. }) => {
                assert!(error.is_refusal());
                Err(error.to_string())
            }
            Err(error) => panic!("{host} {more}: {error:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_verified_follows_mode_and_roots() {
    let server = Server::start().await;
    server.show(Some("signed"));
    let full = Ok(Protection::Full);
    let ca = "sslrootcert=DIR/ca.crt";
    assert_eq!(server.reach("db.example", &format!("sslmode=verify-full&{ca}")).await, full);
    assert_eq!(
        server.reach("db.example", &format!("sslmode=require&{ca}")).await,
        Ok(Protection::Chain)
    );
    assert_eq!(
        server.reach("other.example", &format!("sslmode=verify-ca&{ca}")).await,
        Ok(Protection::Chain)
    );
    assert_eq!(server.reach("db.example", "sslmode=require").await, Ok(Protection::Local));
    let refused = [
        ("other.example", "sslmode=verify-full&sslrootcert=DIR/ca.crt", "alternative names"),
        // A root certificate makes this mode verify the chain.
        ("db.example", "sslmode=require&sslrootcert=DIR/other.crt", "no trusted root"),
        ("db.example", "sslmode=verify-ca&sslrootcert=DIR/other.crt", "no trusted root"),
        ("db.example", "sslmode=verify-full", "no trusted root"),
        ("db.example", "sslrootcert=system", "no trusted root"),
        ("db.example", "sslmode=verify-full&ssl_max_protocol_version=TLSv1.2", "no trusted root"),
    ];
    for (host, more, words) in refused {
        let said = server.reach(host, more).await.expect_err(more);
        assert!(said.contains(words), "{more}: {said}");
    }
    server.show(Some("own"));
    let own = "sslmode=verify-full&sslrootcert=DIR/own.crt";
    assert_eq!(server.reach("db.example", own).await, full);
    let said = server.reach("other.example", own).await.expect_err("another name");
    assert!(said.contains("alternative names"), "{said}");
    assert!(server.reach("db.example", "sslmode=verify-ca&sslrootcert=DIR/ca.crt").await.is_err());
    server.show(Some("first"));
    for mode in ["require", "prefer"] {
        let reached = server.reach("db.example", &format!("sslmode={mode}")).await;
        assert_eq!(reached, Ok(Protection::Local), "{mode} verifies nothing");
    }
    assert!(
        server.reach("db.example", "sslmode=verify-ca&sslrootcert=DIR/first.crt").await.is_err()
    );
    server.show(None);
    assert_eq!(server.reach("db.example", "sslmode=prefer").await, Ok(Protection::Local));
    let said = server.reach("db.example", "sslmode=require").await.expect_err("no TLS");
    assert!(said.contains("has no TLS"), "{said}");
    frozen(&server).await;
    hosts_in_turn(&server).await;
}

/// A server that answers nobody any more, though connections to it stay.
async fn frozen(server: &Server) {
    let (port, is_frozen) = freezing_proxy(server.port);
    let url = format!(
        "postgres://postgres@127.0.0.1:{port}/postgres?sslmode=disable&keepalives_idle=1\
         &keepalives_interval=1&keepalives_count=1"
    );
    let database = Database::resolve(Some(&SecretString::from(url))).expect("a good URL");
    let mut connection = database.connect().await.expect("connects");
    database.begin(&mut connection, Purpose::Look, "").await.expect("begins");
    is_frozen.store(true, Ordering::Relaxed);
    let began = Instant::now();
    let asked = sqlx::raw_sql("SELECT 1").execute(&mut connection);
    let error = tokio::time::timeout(Duration::from_secs(60), asked).await.expect("ends");
    let error = reshare_postgres::error::DatabaseError::from(error.expect_err("nobody answers"));
    assert!(error.is_connection_lost() && !error.is_refusal(), "{error}");
    assert!(began.elapsed() > Duration::from_secs(2), "not at once");
}

/// Passes bytes on, until it is frozen.
fn freezing_proxy(to: u16) -> (u16, Arc<AtomicBool>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let is_frozen = Arc::new(AtomicBool::new(false));
    let frozen = Arc::clone(&is_frozen);
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let client = client.expect("a client");
            let server = TcpStream::connect(("127.0.0.1", to)).expect("the server");
            for (mut from, mut to) in [
                (client.try_clone().expect("a copy"), server.try_clone().expect("a copy")),
                (server, client),
            ] {
                let frozen = Arc::clone(&frozen);
                std::thread::spawn(move || {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = from.read(&mut bytes) {
                        while frozen.load(Ordering::Relaxed) {
                            std::thread::sleep(Duration::from_millis(50));
                        }
                        to.write_all(&bytes[..count]).unwrap_or_default();
                    }
                });
            }
        }
    });
    (port, is_frozen)
}

/// A list of hosts is tried in turn, and the kind of server counts.
async fn hosts_in_turn(server: &Server) {
    let port = server.port;
    let url = |kind: &str| {
        let hosts = format!("host=127.0.0.1,127.0.0.1 port=1,{port} user=postgres dbname=postgres");
        let url =
            SecretString::from(format!("{hosts} sslmode=disable target_session_attrs={kind}"));
        Database::resolve(Some(&url)).expect("good words")
    };
    for kind in ["any", "primary", "read-write", "prefer-standby"] {
        url(kind).connect().await.unwrap_or_else(|error| panic!("{kind}: {error:?}"));
    }
    for kind in ["standby", "read-only"] {
        let error = url(kind).connect().await.expect_err(kind);
        assert!(matches!(error, ConnectError::OtherKind { .. }), "{kind}: {error:?}");
    }
}
