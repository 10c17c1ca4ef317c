//! One thing at a time that is not ok at a sender.

use std::os::unix::fs::PermissionsExt;

use reshare_format::keys::pki::{CertificateAuthority, KeyKind};
use time::{Duration, OffsetDateTime};

use super::report::{Checked, line};
use crate::network;

#[test]
fn keys_that_do_not_fit_are_reported() {
    let world = network();
    world.run_as("0", &["keygen", "agreement", "--out", "other.key"]).ends_with(0);
    let mut flags = world.sender_flags(0);
    flags.set("--agreement-key", "file:other.key");
    let report = world.finds(&flags, &["agreement key"]);
    line(&report, "agreement key", "not_ok").says("neither that of sender 0").hints("session file");
    // The certificate says who this is: the rest is looked at all the same.
    line(&report, "ledger", "ok");
    line(&report, "first row", "ok");
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(world.path("0.key"), open).expect("set");
    let report = world.finds(&world.sender_flags(0), &["agreement key"]);
    line(&report, "agreement key", "not_ok").says("has mode 0644").says("chmod 600");
    let mut flags = world.sender_flags(1);
    flags.set("--party-id", "0");
    let report = world.check(&flags).ends_with(4).report();
    line(&report, "agreement key", "not_ok").says("the agreement key is party 1's");
}

#[test]
fn certificates_that_do_not_fit_are_reported() {
    let world = network();
    let mut flags = world.sender_flags(0);
    flags.set("--certificate", "certificate-2/certificate.pem");
    flags.set("--certificate-key", "certificate-2/certificate.key");
    let report = world.finds(&flags, &["certificate"]);
    line(&report, "certificate", "not_ok")
        .says("the certificate is party 2's, but the agreement key is party 0's")
        .hints("of one party");
    let authority = CertificateAuthority::load(&world.path("ca")).expect("an authority");
    let name = "spiffe://mpc.example/0".parse().expect("a name");
    let issue = |out: &str, minutes: i64, ago: i64| {
        let begin = OffsetDateTime::now_utc() - Duration::minutes(ago);
        let (kind, life) = (KeyKind::EcdsaP256, Duration::minutes(minutes));
        authority.issue(&world.path(out), &name, kind, life, begin).expect("issued");
        let mut flags = world.sender_flags(0);
        flags.set("--certificate", &format!("{out}/certificate.pem"));
        flags.set("--certificate-key", &format!("{out}/certificate.key"));
        flags
    };
    let report = world.finds(&issue("expired", 1, 4), &["certificate"]);
    line(&report, "certificate", "not_ok").says("was valid until").hints("issued again");
    let report = world.check(&issue("soon", 600, 0)).ends_with(0).report();
    line(&report, "certificate life", "warning")
        .says("before the session does")
        .hints("issued again");
    let mut flags = world.sender_flags(0);
    flags.set("--ca-file", "certificate-1/certificate.pem");
    let report = world.finds(&flags, &["authority"]);
    line(&report, "authority", "not_ok").says("not the certificate of an authority");
    line(&report, "approvals", "skipped").says("the authority");
    line(&report, "database", "ok");
}

#[test]
fn a_session_that_is_not_approved_or_not_alive_is_reported() {
    let world = network();
    let mut flags = world.sender_flags(0);
    flags.remove("--approval").add("--approval", Some("approval-2.json"));
    let report = world.finds(&flags, &["approvals"]);
    line(&report, "approvals", "not_ok").says("no approval by party 1").hints("session approve");
    let with_session = |name: &str, begin: &str| {
        world.make_session(name, &["--not-before", begin, "--valid-days", "2"]);
        let mut flags = world.sender_flags(0);
        flags.set("--session", name);
        world.check(&flags).ends_with(4).report()
    };
    let early = with_session("early.toml", "2999-01-01T00:00:00Z");
    line(&early, "period", "not_ok").says("begins at 2999-01-01").hints("clock");
    // An approval of another session is none of this one.
    line(&early, "approvals", "not_ok").says("approved the session with fingerprint");
    let late = with_session("late.toml", "2020-01-01T00:00:00Z");
    line(&late, "period", "not_ok").says("ended at 2020-01-03").hints("new session");
}

#[test]
fn a_ledger_that_cannot_be_used_is_reported() {
    let world = network();
    let mut flags = world.sender_flags(0);
    flags.set("--state-dir", "elsewhere");
    let report = world.finds(&flags, &["ledger"]);
    line(&report, "ledger", "not_ok").says("no ledger of this session").hints("session approve");
    assert!(!world.path("elsewhere").exists());
    let other = world.make_session("other.toml", &[]);
    let approve = ["session", "approve", "--session", "other.toml", "--out", "other.json"];
    let own = ["--own-public-key", "0.pub", "--yes", "--expect-fingerprint", &other];
    world.run_as("0", &[&approve[..], &own].concat()).ends_with(0);
    let ledger = |fingerprint: &str| world.path("state-0").join(fingerprint).join("ledger-0");
    let own = std::fs::read(ledger(&world.fingerprint)).expect("a ledger");
    std::fs::copy(ledger(&other), ledger(&world.fingerprint)).expect("copied");
    let report = world.finds(&world.sender_flags(0), &["ledger"]);
    line(&report, "ledger", "not_ok").says("belongs to the session").hints("new session");
    std::fs::write(ledger(&world.fingerprint), &own[..own.len() - 1]).expect("written");
    let report = world.finds(&world.sender_flags(0), &["ledger"]);
    line(&report, "ledger", "not_ok").says("truncated");
    std::fs::write(ledger(&world.fingerprint), own).expect("written");
    world.check(&world.sender_flags(0)).ends_with(0);
}

#[test]
fn rights_that_a_sender_lacks_are_reported_with_the_grants() {
    let world = network();
    let (url, role) = world.url_as(0, "GRANT USAGE ON SCHEMA \"SMPC_dev_0\" TO ROLE");
    let mut flags = world.sender_flags(0);
    flags.set("--db-url", &url);
    let report = world.finds(&flags, &["rights", "first row", "lengths", "rows"]);
    let grant = format!("GRANT SELECT ON TABLE \"SMPC_dev_0\".\"irises\" TO \"{role}\";");
    line(&report, "rights", "not_ok").says("lacks SELECT").hints(&grant);
    line(&report, "table", "ok");
    // The hint is one that works.
    world.sql_at(0, &grant);
    world.check(&flags).ends_with(0);
    world.sql_at(0, "ALTER TABLE \"SMPC_dev_0\".irises ENABLE ROW LEVEL SECURITY");
    let report = world.finds(&flags, &["row security", "first row", "lengths", "rows"]);
    line(&report, "row security", "not_ok").says("may hide rows").hints("BYPASSRLS");
}

#[test]
fn a_table_that_is_not_the_session_s_is_reported() {
    let world = network();
    world.sql_at(0, "UPDATE \"SMPC_dev_0\".irises SET left_code = '\\x0102' WHERE id = 1");
    let report = world.finds(&world.sender_flags(0), &["first row", "lengths"]);
    line(&report, "first row", "not_ok").says("left_code").hints("session show");
    line(&report, "lengths", "not_ok")
        .says("id 1 (\"left_code\" has 2 bytes)")
        .hints("--leave-out-bad-rows");
    world.sql_at(0, "DELETE FROM \"SMPC_dev_0\".irises");
    let report = world.check(&world.sender_flags(0)).ends_with(0).report();
    line(&report, "first row", "warning").says("no row").hints("--db-schema");
    world.sql_at(0, "ALTER TABLE \"SMPC_dev_0\".irises DROP CONSTRAINT irises_pkey");
    let report = world.finds(&world.sender_flags(0), &["table"]);
    line(&report, "table", "not_ok").says("unique index");
    line(&report, "rights", "skipped").says("the table");
    line(&report, "package", "ok");
    world.sql_at(
        0,
        "DROP TABLE \"SMPC_dev_0\".irises; \
        CREATE VIEW \"SMPC_dev_0\".irises AS SELECT 1 AS id",
    );
    let report = world.finds(&world.sender_flags(0), &["table"]);
    line(&report, "table", "not_ok").says("is no table");
}

#[test]
fn limits_of_the_server_are_reported() {
    let world = network();
    let (_, role) = world.url_as(0, "");
    let grants = format!(
        "GRANT USAGE ON SCHEMA \"SMPC_dev_0\" TO {role}; \
        GRANT SELECT ON \"SMPC_dev_0\".irises TO {role}; \
        ALTER ROLE {role} SET statement_timeout = '30s'; ALTER ROLE {role} CONNECTION LIMIT 4"
    );
    world.sql_at(0, &grants);
    let url = world.databases[0].replace("user=postgres", &format!("user={role}"));
    let mut flags = world.sender_flags(0);
    flags.set("--db-url", &url).set("--connections", "2");
    let report = world.check(&flags).ends_with(0).report();
    let limit = line(&report, "time limits", "warning").says("statement_timeout is 30s");
    limit.hints("SET statement_timeout = 0");
    line(&report, "connections", "ok").says("4 of 4 are free, 4 are needed");
    flags.set("--connections", "3");
    let report = world.finds(&flags, &["connections"]);
    line(&report, "connections", "not_ok").says("5 are needed").hints("smaller -j");
    flags.set("--connections", "2").add("--strict", None);
    world.check(&flags).ends_with(4);
    let silent = "postgres://nobody@127.0.0.1:1/irises?connect_timeout=5";
    let mut flags = world.sender_flags(0);
    flags.set("--db-url", silent);
    let report = world.finds(&flags, &["database"]);
    line(&report, "database", "not_ok").says("cannot reach PostgreSQL").hints("--db-url");
    line(&report, "table", "skipped").says("the database");
    line(&report, "package's disk", "skipped").says("an estimate");
}

#[test]
fn a_place_for_the_package_that_cannot_be_used_is_reported() {
    let world = network();
    std::fs::write(world.path("file"), "x").expect("written");
    let mut flags = world.sender_flags(0);
    flags.set("--to", "file");
    let report = world.finds(&flags, &["package", "package's disk"]);
    line(&report, "package", "not_ok").hints("another directory");
    line(&report, "package's disk", "not_ok").says("file cannot be written");
    std::fs::create_dir(world.path("used")).expect("made");
    std::fs::write(world.path("used/notes.txt"), "x").expect("written");
    flags.set("--to", "used");
    let report = world.finds(&flags, &["package"]);
    line(&report, "package", "not_ok")
        .says("notes.txt")
        .hints("nothing but the package's own files");
    flags.set("--to", "package-0").set("--batch-size", "100000");
    let report = world.finds(&flags, &["parts"]);
    line(&report, "parts", "not_ok").says("too large").hints("smaller --batch-size");
}

#[test]
fn a_receiver_that_cannot_be_reached_or_is_another_is_reported() {
    let world = network();
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed = format!("https://{}", free.local_addr().expect("bound"));
    drop(free);
    let mut flags = world.sender_flags(0);
    flags.remove("--to").set("--server-url", &closed);
    let report = world.finds(&flags, &["receiver"]);
    line(&report, "receiver", "not_ok").says("cannot connect").hints("reshare receive");
    line(&report, "clock", "skipped").says("the receiver");
    line(&report, "line", "skipped").says("the receiver");
    flags.set("--server-url", "http://127.0.0.1");
    let report = world.finds(&flags, &["receiver"]);
    line(&report, "receiver", "not_ok").says("no URL of a receiver");
    // A receiver, but of another session.
    let mut receiver = world.receive("session.toml", "live-inbox", &[]);
    let url = receiver.url();
    world.make_session("other.toml", &["--session-id", "other"]);
    flags.set("--session", "other.toml").set("--server-url", &url);
    let report = world.check(&flags).ends_with(4).report();
    line(&report, "receiver", "not_ok").says("other-session");
}
