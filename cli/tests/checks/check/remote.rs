//! What protects the way to a database on another host.

use std::fs::{self, Permissions};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::sync::Arc;

use reshare_fixtures::network::{Run, Setup, psql};
use reshare_fixtures::postgres::{Shutdown, ThrowAwayPostgres};

use super::report::{Checked, line};
use crate::RESHARE;

/// An address that leads to this machine and does not look as if it did.
const HOST: &str = "0.0.0.0";

/// Has a server listen on a port with TLS. Its certificate, which is its own root, is for `HOST`.
/// Its socket has another name from then on.
fn listen(cluster: &ThrowAwayPostgres) -> u16 {
    let [key, certificate] =
        ["key.pem", "certificate.pem"].map(|name| cluster.socket_directory().join(name));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
    ]);
    openssl.args([
        "-days",
        "2",
        "-subj",
        "/CN=db",
        "-addext",
        &format!("subjectAltName=IP:{HOST}"),
    ]);
    openssl.arg("-keyout").arg(&key).arg("-out").arg(&certificate);
    Run::of(openssl.output().expect("openssl: run `make setup`")).ends_with(0);
    if let Some((user, group)) = cluster.owner().expect("a user") {
        chown(&key, Some(user), Some(group)).expect("changed");
    }
    fs::set_permissions(&key, Permissions::from_mode(0o600)).expect("changed");
    let url = cluster.url("postgres");
    let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr());
    let port = free.expect("a port").port();
    for (name, value) in [
        ("ssl_key_file", key.display().to_string()),
        ("ssl_cert_file", certificate.display().to_string()),
        ("ssl", "on".to_owned()),
        ("listen_addresses", "127.0.0.1".to_owned()),
        ("port", port.to_string()),
    ] {
        psql(&url, &format!("ALTER SYSTEM SET {name} = '{value}'"));
    }
    cluster.restart(Shutdown::Fast).expect("starts");
    port
}

#[test]
fn a_database_on_another_host_is_not_ok_unless_its_certificate_is_verified() {
    let cluster = ThrowAwayPostgres::start().expect("PostgreSQL: run `make setup`");
    let cluster = Arc::new(cluster);
    let world = Setup::certified(RESHARE).on(Arc::clone(&cluster)).make();
    let port = listen(&cluster);
    let root = world.path("root.pem");
    fs::copy(cluster.socket_directory().join("certificate.pem"), &root).expect("copied");
    let root = format!("sslrootcert={}", root.display());
    for (mut flags, socket) in
        [(world.sender_flags(0), &world.databases[0]), (world.receiver_flags(), &world.target)]
    {
        let (name, _) = socket.split_once('?').expect("parameters");
        let name = name.rsplit('/').next().expect("a name").to_owned();
        for (parameters, state, words) in [
            ("sslmode=disable".to_owned(), "not_ok", "in the clear"),
            ("sslmode=require".to_owned(), "not_ok", "certificate is not verified"),
            (format!("sslmode=verify-ca&{root}"), "warning", "not its name"),
            (format!("sslmode=verify-full&{root}"), "ok", "certificate and name are verified"),
            (root.clone(), "ok", "certificate and name are verified"),
        ] {
            let url = format!("postgresql://postgres@{HOST}:{port}/{name}?{parameters}");
            flags.set("--db-url", &url);
            let run = world.check(&flags);
            let found = line(&run.report(), "TLS", state).says(words);
            if state == "not_ok" {
                found.hints("sslmode=verify-full");
                world.finds(&flags, &["TLS"]);
            } else {
                run.ends_with(0);
            }
        }
        // Without a root it is verified against those of the system.
        flags.set("--db-url", &format!("postgresql://postgres@{HOST}:{port}/{name}"));
        line(&world.finds(&flags, &["database"]), "database", "not_ok").hints("sslrootcert=FILE");
    }
}
