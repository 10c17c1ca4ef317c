//! `reshare receive` as a process: killed, stopped, started twice, and what it says.

use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_files::ids::IdRange;
use reshare_fixtures::iris_table::IrisTable;
use reshare_fixtures::postgres::ThrowAwayPostgres;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::package::{
    ManifestContent, PackageExpectations, PackageWriter, PartEntry, Timestamp,
};
use reshare_format::session::{Session, SessionTrust};

use reshare_fixtures::network::{Network, Run, Running, Setup, TIME_LIMIT, psql};

use crate::RESHARE;

const ROWS_PER_PART: i64 = 10;

/// A session with certificates, in a directory that every party shares.
struct Desk(Network);

impl Deref for Desk {
    type Target = Network;

    fn deref(&self) -> &Network {
        &self.0
    }
}

impl Desk {
    fn new() -> Self {
        Self::of(Setup::of(RESHARE))
    }

    fn of(setup: Setup) -> Self {
        let setup = setup.with_certificates().without_databases();
        let setup = setup.session_in_environment().session_flags(&["--db-end", "100000"]);
        Self(setup.make())
    }

    fn receiver(&self, listen: &str, more: &[&str]) -> Command {
        let at = ["receive", "--listen", listen, "--health-listen", "127.0.0.1:0"];
        self.program_as("2", &[&at[..], &["--inbox", "inbox"], more].concat())
    }

    fn receive(&self, listen: &str, more: &[&str]) -> Running {
        Running::start(&mut self.receiver(listen, more))
    }

    fn uploader(&self, party: &str, address: &str) -> Command {
        let (package, url) = (format!("package-{party}"), format!("https://{address}"));
        // As on a machine without the ledger: noise is in none.
        let no_ledger = ["--state-dir", "no-ledger"];
        self.program_as(
            party,
            &[&["upload", &package, "--server-url", &url], &no_ledger[..]].concat(),
        )
    }

    fn upload(&self, party: &str, address: &str) -> Output {
        self.uploader(party, address).output().expect("it starts")
    }

    /// Makes a sender's package of so many parts of noise, 10 rows each.
    fn package(&self, sender: u8, parts: u64) {
        let session = Session::load(&self.path("session.toml")).expect("a session");
        let trust = SessionTrust::load(&session, &self.path("ca/ca.pem")).expect("the authority");
        let sender = PartyId::new(sender).expect("a party");
        let expected = PackageExpectations::of(&session, sender, Some(&trust)).expect("both");
        let files = ["certificate.pem", "certificate.key"]
            .map(|name| self.path(&format!("certificate-{sender}/{name}")));
        let certificate = PartyCertificate::load(&files[0], &files[1]).expect("a certificate");
        let recipient = session.receiver().recipient.clone();
        let directory = self.path(&format!("package-{sender}"));
        let writer = PackageWriter::create(&directory, expected.clone(), recipient);
        let writer = writer.expect("a directory").signed_by(certificate);
        let entry = |index: u64| {
            let first = 1 + index.cast_signed() * ROWS_PER_PART;
            let ids = IdRange::new(first, first + ROWS_PER_PART - 1).expect("a range");
            let batch = batch(&session, first);
            let part = writer.seal(index, ids, &batch.rows()).expect("sealed");
            let rows = ROWS_PER_PART.unsigned_abs();
            PartEntry::new(&part, ids, rows, blake3_of(index), Timestamp::now())
        };
        let content = ManifestContent {
            session_id: session.id().to_string(),
            fingerprint: session.fingerprint(),
            sender,
            receiver: expected.receiver,
            key_check: [7; 16],
            parts: (0..parts).map(entry).collect(),
            signed_at: Timestamp::now(),
        };
        writer.close(&content).expect("closed");
    }

    /// The parts that have arrived of sender 0.
    fn arrived(&self) -> usize {
        let entries = std::fs::read_dir(self.path("inbox/sender-0")).into_iter().flatten();
        let names = entries.flatten().map(|entry| entry.file_name());
        names.filter(|name| name.as_encoded_bytes().starts_with(b"part-")).count()
    }

    #[track_caller]
    fn assert_arrived(&self, sender: u8) {
        let (sent, arrived) = (format!("package-{sender}"), format!("inbox/sender-{sender}"));
        let status = Command::new("diff")
            .args(["-r", &sent, &arrived])
            .current_dir(self.directory())
            .status();
        assert!(status.expect("diff").success());
    }
}

fn batch(session: &Session, first: i64) -> RowBatch {
    let ids: Vec<i64> = (first..first + ROWS_PER_PART).collect();
    let mut batch = RowBatch::with_capacity(session.layout().clone(), ids.len());
    let rows = batch.reset(ids.len(), true).expect("room");
    rows.ids.copy_from_slice(&ids);
    batch
}

fn blake3_of(index: u64) -> blake3::Hash {
    blake3::hash(&index.to_le_bytes())
}

#[track_caller]
fn assert_code(out: &Output, code: i32) {
    assert_eq!(out.status.code(), Some(code), "{}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn a_receiver_killed_in_mid_upload_is_started_again_and_the_upload_completes() {
    let desk = Desk::new();
    desk.package(0, 100);
    let mut receiver = desk.receive("127.0.0.1:0", &[]);
    let address = receiver.address();
    let mut uploading = Running::start(&mut desk.uploader("0", &address));
    let start = Instant::now();
    while desk.arrived() < 2 {
        assert!(start.elapsed() < TIME_LIMIT, "nothing arrives");
        std::thread::yield_now();
    }
    assert!(receiver.is_running(), "it has ended");
    receiver.kill();
    let arrived = desk.arrived();
    assert!(arrived < 100 && !desk.path("inbox/sender-0/manifest.json").exists());
    assert!(desk.path("inbox/sender-0.journal").exists());
    let mut receiver = desk.receive(&address, &[]);
    assert_eq!(receiver.address(), address);
    uploading.ends_with(0);
    desk.assert_arrived(0);
    receiver.signal("-TERM");
    receiver.ends_with(143);
}

#[test]
fn two_uploads_of_one_package_at_once_both_succeed() {
    let desk = Desk::new();
    desk.package(1, 20);
    let mut receiver = desk.receive("127.0.0.1:0", &[]);
    let address = receiver.address();
    let mut uploads = [(), ()].map(|()| Running::start(&mut desk.uploader("1", &address)));
    uploads.iter_mut().for_each(|upload| upload.ends_with(0));
    desk.assert_arrived(1);
    receiver.signal("-INT");
    receiver.ends_with(130);
}

#[test]
fn a_receiver_that_is_asked_to_end_while_bodies_come_ends_and_leaves_no_half_part() {
    let desk = Desk::new();
    desk.package(0, 60);
    for (signal, code) in [("-TERM", 143), ("-INT", 130)] {
        let mut receiver = desk.receive("127.0.0.1:0", &["--rebuild", "--identity", "r.age"]);
        let address = receiver.address();
        let before = desk.arrived();
        let uploading = Running::start(&mut desk.uploader("0", &address));
        let start = Instant::now();
        while desk.arrived() == before && before < 60 {
            assert!(start.elapsed() < TIME_LIMIT, "nothing arrives");
            std::thread::yield_now();
        }
        receiver.signal(signal);
        receiver.ends_with(code);
        assert!(receiver.said("stopped by a signal"), "{:?}", receiver.lines());
        drop(uploading);
        for entry in std::fs::read_dir(desk.path("inbox/sender-0")).expect("there").flatten() {
            let name = entry.file_name();
            if !name.as_encoded_bytes().starts_with(b".") {
                let sent = std::fs::read(desk.path("package-0").join(name)).expect("sent");
                assert!(std::fs::read(entry.path()).expect("arrived") == sent);
            }
        }
    }
}

#[test]
fn a_second_receiver_on_the_same_inbox_is_refused_and_harms_nothing() {
    let desk = Desk::new();
    desk.package(0, 3);
    let mut receiver = desk.receive("127.0.0.1:0", &[]);
    let address = receiver.address();
    let mut second = desk.receive("127.0.0.1:0", &[]);
    second.ends_with(1);
    assert!(second.said("another receiver uses inbox"), "{:?}", second.lines());
    assert!(second.said("hint: "), "{:?}", second.lines());
    assert_code(&desk.upload("0", &address), 0);
    desk.assert_arrived(0);
}

#[test]
fn flags_of_the_rebuild_are_refused_without_it_and_nothing_is_made() {
    let desk = Desk::new();
    let flags: [&[&str]; 12] = [
        &["--keep-packages"],
        &["--linger", "1"],
        &["--inbox-limit", "1000000"],
        &["--memory-limit", "1000000"],
        &["--identity", "r.age"],
        &["--db-url", "postgres://h/d"],
        &["--db-schema", "s"],
        &["--connections", "2"],
        &["--on-conflict", "error"],
        &["--batch-size", "512"],
        &["--threads", "2"],
        &["--report", "report.json"],
    ];
    for flag in flags {
        let out = desk.receiver("127.0.0.1:0", flag).output().expect("it starts");
        assert_code(&out, 2);
        let said = String::from_utf8(out.stderr).expect("UTF-8");
        assert!(said.contains("--rebuild") && said.contains(flag[0]), "{said}");
    }
    assert!(!desk.path("inbox").exists());
    // In the environment, which other commands read too, the identity may stay.
    let mut command = desk.receiver("127.0.0.1:0", &[]);
    let mut receiver = Running::start(command.env("RESHARE_IDENTITY", "r.age"));
    receiver.address();
}

#[test]
fn a_full_disk_holds_the_upload_up_until_room_is_made() {
    let desk = Desk::new();
    desk.package(0, 3);
    let full = (u64::MAX / 2).to_string();
    let mut receiver = desk.receive("127.0.0.1:0", &["--keep-free-bytes", &full]);
    let address = receiver.address();
    let mut uploading = Running::start(&mut desk.uploader("0", &address));
    let line = receiver.says(&["request refused", "disk-full", "status=507", "sender=0"]);
    assert!(line.contains("spiffe://mpc.example/0") && line.contains("127.0.0.1:"), "{line}");
    receiver.signal("-TERM");
    receiver.ends_with(143);
    let _with_room = desk.receive(&address, &[]);
    uploading.ends_with(0);
    desk.assert_arrived(0);
}

#[test]
fn a_rebuild_that_fails_keeps_the_inbox_and_its_exit_code() {
    let desk = Desk::new();
    for sender in [0, 1] {
        desk.package(sender, 2);
    }
    let url = "postgres://nobody@127.0.0.1:1/none";
    let flags = ["--rebuild", "--identity", "r.age", "--db-url", url];
    let mut receiver = desk.receive("127.0.0.1:0", &flags);
    // Told at once, since the server may be there by the time that it is needed.
    receiver.says(&["the table cannot be checked now", "127.0.0.1:1", "packages are accepted"]);
    let address = receiver.address();
    for sender in ["0", "1"] {
        assert_code(&desk.upload(sender, &address), 0);
    }
    receiver.ends_with(1);
    for sender in [0, 1] {
        desk.assert_arrived(sender);
    }
    // Started again it has all it needs, and meets the same.
    let mut again = desk.receive("127.0.0.1:0", &flags);
    again.ends_with(1);
    assert!(again.said("127.0.0.1:1"), "{:?}", again.lines());
}

#[test]
fn a_table_that_no_rebuild_can_load_is_reported_before_anything_is_taken() {
    let desk = Desk::new();
    let cluster = ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`");
    let flags = ["--rebuild", "--identity", "r.age", "--db-url", &cluster.url("postgres")];
    let mut receiver = desk.receive("127.0.0.1:0", &flags);
    receiver.ends_with(4);
    assert!(receiver.said("SMPC_dev_2.irises"), "{:?}", receiver.lines());
    assert!(receiver.said("hint: check --db-url and --db-schema"), "{:?}", receiver.lines());
    assert!(!receiver.said("receiving on") && !desk.path("inbox").exists());
    // Neither the password nor the name of a database comes right by waiting.
    let nowhere = ["--rebuild", "--identity", "r.age", "--db-url", &cluster.url("nowhere")];
    let mut receiver = desk.receive("127.0.0.1:0", &nowhere);
    receiver.ends_with(4);
    assert!(receiver.said("\"nowhere\" does not exist"), "{:?}", receiver.lines());
    assert!(!receiver.said("receiving on") && !desk.path("inbox").exists());
}

#[test]
fn a_database_that_never_answers_keeps_no_sender_out() {
    let desk = Desk::new();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("bound");
    // Zero is for ever: what has no limit of its own must have one.
    let url = format!("postgres://nobody:secret@{address}/none?connect_timeout=0");
    let mut receiver =
        desk.receive("127.0.0.1:0", &["--rebuild", "--identity", "r.age", "--db-url", &url]);
    receiver.says(&["the table cannot be checked now", "does not answer within 10s"]);
    receiver.address();
    receiver.signal("-TERM");
    receiver.ends_with(143);
    assert!(!receiver.said("secret"), "{:?}", receiver.lines());
}

#[test]
fn a_rebuild_fills_the_table_and_finds_it_complete_when_it_is_run_again() {
    let desk = Desk::new();
    for sender in [0, 1] {
        desk.package(sender, 2);
    }
    let cluster = ThrowAwayPostgres::start().expect("a PostgreSQL server: run `make setup`");
    let url = cluster.url("postgres");
    let sql = |sql: &str| psql(&url, sql);
    sql(&IrisTable::Plain.create_sql("SMPC_dev_2", "irises"));
    let flags = ["--rebuild", "--identity", "r.age", "--db-url", &url];
    let mut receiver = desk.receive("127.0.0.1:0", &flags);
    let address = receiver.address();
    for sender in ["0", "1"] {
        assert_code(&desk.upload(sender, &address), 0);
    }
    receiver.ends_with(0);
    let loaded = "SELECT count(*), min(id), max(id) FROM \"SMPC_dev_2\".irises";
    assert_eq!(sql(loaded), "20|1|20");
    // Nobody asks this one any more.
    let again = [&flags[..], &["--linger", "1"]].concat();
    desk.receive("127.0.0.1:0", &again).ends_with(0);
    assert_eq!(sql(loaded), "20|1|20");
}

#[test]
fn refusals_say_who_and_why_on_standard_error_and_nothing_commands_the_terminal() {
    let desk = Desk::new();
    desk.package(0, 1);
    desk.issue("spiffe://mpc.example/7", "certificate-7");
    let mut receiver = desk.receive("127.0.0.1:0", &[]);
    let address = receiver.address();
    let certificate = |party: &str| {
        let file = |name: &str| desk.path(&format!("certificate-{party}/{name}"));
        let text = |path: PathBuf| path.into_os_string().into_string().expect("UTF-8");
        let files = [file("certificate.pem"), file("certificate.key")].map(text);
        ["--cert".to_owned(), files[0].clone(), "--key".to_owned(), files[1].clone()]
    };
    let curl = |certificate: &[String], path: &str, more: &[&str]| {
        let url = format!("https://{address}{path}");
        let out = Command::new("curl")
            .args(["--silent", "--insecure", "--path-as-is", "--globoff"])
            .args(certificate)
            .args(more)
            .arg(url)
            .output();
        String::from_utf8(out.expect("curl: run `make setup`").stdout).expect("UTF-8")
    };
    curl(&[], "/", &[]);
    receiver.says(&["connection refused", "no-certificate", "address=127.0.0.1:"]);
    curl(&certificate("7"), "/", &[]);
    receiver.says(&["connection refused", "not-a-sender", "names=spiffe://mpc.example/7"]);
    let at = "/v1/sessions/run/parties/1";
    let answer = curl(&certificate("0"), at, &[]);
    assert!(answer.starts_with("{\"error\":\"other-party\",\"message\":\""), "{answer}");
    receiver.says(&["request refused", "other-party", "sender=0", at, "status=403"]);
    let long = format!("/{}", "%1b[2J".repeat(2000));
    curl(&certificate("0"), &long, &[]);
    let line = receiver.says(&["no-route", "..."]);
    assert!(line.len() < 1500 && !line.contains('\x1b'), "{line}");
    // A flood is thinned out, and the next line says by how much.
    for _ in 0..60 {
        curl(&certificate("0"), at, &[]);
    }
    receiver.signal("-TERM");
    receiver.ends_with(143);
    let logged = receiver.lines().iter().filter(|line| line.contains("other-party")).count();
    assert!((10..40).contains(&logged), "{logged}");
}

#[test]
fn a_classic_peer_is_logged_once_and_refused_where_the_receiver_is_hybrid_only() {
    let desk = Desk::new();
    desk.package(0, 1);
    let asked = |address: &str, group: &str| {
        let certificate = |name: &str| desk.path(&format!("certificate-0/{name}"));
        let out = Command::new("curl")
            .args(["--silent", "--insecure", "--curves", group, "--cert"])
            .arg(certificate("certificate.pem"))
            .arg("--key")
            .arg(certificate("certificate.key"))
            .arg(format!("https://{address}/v1/sessions/run/parties/0"))
            .output();
        String::from_utf8(out.expect("curl: run `make setup`").stdout).expect("UTF-8")
    };
    let mut receiver = desk.receive("127.0.0.1:0", &[]);
    let address = receiver.address();
    for _ in 0..3 {
        let answer = asked(&address, "X25519");
        assert!(answer.starts_with('{'), "{answer}");
    }
    let name = "names=spiffe://mpc.example/0";
    receiver.says(&["WARN", "classic key exchange (X25519)", "sender=0", name]);
    receiver.signal("-TERM");
    receiver.ends_with(143);
    let logged = receiver.lines().iter().filter(|line| line.contains("classic key")).count();
    assert_eq!(logged, 1, "{:?}", receiver.lines());

    let mut receiver = desk.receive("127.0.0.1:0", &["--hybrid-tls-only"]);
    let address = receiver.address();
    assert_eq!(asked(&address, "X25519"), "");
    let why = "the client offers no key exchange that this receiver takes";
    receiver.says(&["connection refused", "key-exchange", why]);
    for flags in [&[][..], &["--classic-tls"]] {
        let sent = desk.uploader("0", &address).args(flags).output().expect("it starts");
        assert_code(&sent, 0);
    }
    receiver.signal("-TERM");
    receiver.ends_with(143);
    assert!(!receiver.lines().iter().any(|line| line.contains("classic key")));
}

#[test]
fn the_stock_age_and_zstd_open_a_classic_part_that_was_delivered() {
    let desk = Desk::of(Setup::of(RESHARE).with_classic_recipient());
    desk.package(0, 1);
    let mut receiver = desk.receive("127.0.0.1:0", &[]);
    let address = receiver.address();
    assert_code(&desk.upload("0", &address), 0);
    let opened = Command::new("sh")
        .args(["-c", "age --decrypt -i r.age inbox/sender-0/part-000000.age | zstd -d -c"])
        .current_dir(desk.directory())
        .output()
        .expect("a shell");
    assert!(opened.status.success(), "{}", String::from_utf8_lossy(&opened.stderr));
    std::fs::write(desk.path("part.rsh"), &opened.stdout).expect("written");
    let shown = desk.run(&["inspect", "part.rsh"]).ends_with(0).stdout;
    assert!(shown.contains("share file (blinded)"), "{shown}");
}

#[test]
fn a_sender_writes_its_figures_and_how_it_has_ended() {
    let desk = Desk::new();
    for sender in [0, 1] {
        desk.package(sender, 3);
    }
    let mut receiver = desk.receive("127.0.0.1:0", &[]);
    let address = receiver.address();
    let upload = |party: &str, more: &[&str]| {
        let mut uploader = desk.uploader(party, &address);
        Run::of(uploader.args(more).output().expect("it starts"))
    };
    let lines = |name: &str| {
        let text = std::fs::read_to_string(desk.path(name)).expect("it is written");
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let has = |lines: &[String], line: &str| lines.iter().any(|of| of == line);
    upload("0", &["--metrics-textfile", "zero.prom"]).ends_with(0);
    let done = lines("zero.prom");
    for line in ["reshare_sender_stage{stage=\"done\"} 1", "reshare_sender_rows_delivered 30"] {
        assert!(has(&done, line), "{line} is not in {done:?}");
    }
    // A collector is another user, and nothing else is left in its directory.
    let mode = std::fs::metadata(desk.path("zero.prom")).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o644);
    assert!(!desk.files().keys().any(|path| path.to_string_lossy().contains(".zero.prom")));

    let missing = upload("1", &["--metrics-textfile", "no/such/one.prom"]).ends_with(2);
    missing.says(&["no/such", "--metrics-textfile"]);
    let taken = upload("1", &["--metrics-listen", &address]).ends_with(1);
    taken.says(&["hint: give another address with --metrics-listen"]);
    receiver.kill();
    let failed = ["--metrics-textfile", "one.prom", "--retry-for", "0"];
    upload("1", &failed).ends_with(1);
    let failed = lines("one.prom");
    assert!(has(&failed, "reshare_sender_stage{stage=\"failed\"} 1"), "{failed:?}");
}
