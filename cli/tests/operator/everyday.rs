//! The program as operators run it: keys, session, send, rebuild, verify, against a real
//! PostgreSQL.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{RESHARE, ROWS, network, program};
use reshare_fixtures::network::{
    Direction, End, Network, Run, Running, Setup, Way, files_in, is_run_report,
};

#[test]
fn two_sends_and_a_rebuild_give_the_lost_table_back() {
    let network = network();
    for sender in 0..2 {
        let report = network.send(sender, &format!("p{sender}")).ends_with(0).report();
        assert_eq!(report["rows"], ROWS);
        assert_eq!(report["sender"], sender);
    }
    let report = network.rebuild(&[]).ends_with(0).report();
    assert_eq!((&report["rows"], &report["rows_skipped"]), (&ROWS.into(), &0.into()));
    assert_eq!(network.verify().ends_with(0).report()["rows_equal"], ROWS);
    let again = network.rebuild(&["--batch-size", "13"]).ends_with(0).report();
    assert_eq!((&again["rows"], &again["rows_skipped"]), (&0.into(), &ROWS.into()));
    network.sql(
        &network.target,
        "UPDATE \"SMPC_dev_2\".irises SET left_mask = right_mask WHERE id = 9",
    );
    let differs = network.verify().ends_with(4).report();
    assert_eq!(differs["first_differences"][0]["id"], 9);
}

#[test]
fn the_way_through_share_files_gives_the_same_table() {
    let network = network();
    for (sender, name) in ["0", "1"].into_iter().enumerate() {
        let (plain, key) = (format!("{name}.rsh"), format!("{name}.key"));
        let source = ["--party-id", name, "--db-url", &network.databases[sender], "--out", &plain];
        network.run(&[&["export", "--session", "session.toml"], &source[..]].concat()).ends_with(0);
        let state = format!("state-{name}");
        let expected = ["--expect-fingerprint", &network.fingerprint, "--state-dir", &state];
        let expected = [&expected[..], &["--target-party-id", "2"]].concat();
        let keys = [&["--agreement-key", &key], &expected[..]].concat();
        let package = format!("p{name}");
        let files = ["--in", &plain, "--to", &package, "--batch-size", "17"];
        network
            .run(&[&["pack", "--session", "session.toml"], &keys[..], &files[..]].concat())
            .ends_with(0);
    }
    let packages = ["--identity", "r.age", "--package", "p1", "--package", "p0"];
    let merge = [&["merge", "--session", "session.toml", "--out", "m.rsh"], &packages[..]].concat();
    network.run(&merge).ends_with(0);
    let file = ["--session", "session.toml", "--file", "m.rsh", "--db-url", &network.databases[2]];
    network.run(&[&["verify"], &file[..]].concat()).ends_with(0);
    let load = ["--session", "session.toml", "--in", "m.rsh", "--db-url", &network.target];
    let loaded = network.run(&[&["load"], &load[..]].concat()).ends_with(0);
    assert!(loaded.stdout.contains("loaded 60 rows"), "{}", loaded.stdout);
    network.verify().ends_with(0);
    let shown = network.run(&["inspect", "m.rsh"]).ends_with(0).stdout;
    assert!(shown.contains("share file (rebuilt)"), "{shown}");
}

#[test]
fn rows_that_do_not_agree_are_left_over_and_listed() {
    let network = network();
    network.sql(&network.databases[0], "DELETE FROM \"SMPC_dev_0\".irises WHERE id IN (5, 60)");
    network.sql(&network.databases[1], "DELETE FROM \"SMPC_dev_1\".irises WHERE id = 7");
    network.sql(
        &network.databases[1],
        "UPDATE \"SMPC_dev_1\".irises SET version_id = 9999 WHERE id = 8",
    );
    for sender in 0..2 {
        network.send(sender, &format!("p{sender}")).ends_with(0);
    }
    let run = network.rebuild(&["--report", "report.json"]).ends_with(3);
    let leftovers = &run.report()["leftovers"];
    assert_eq!(leftovers["only_lower_sender"], serde_json::json!([7]));
    assert_eq!(leftovers["only_higher_sender"], serde_json::json!([5, 60]));
    assert_eq!(leftovers["disagreeing"], serde_json::json!([8]));
    let file = std::fs::read(network.path("report.json")).expect("the report");
    let file: Value = serde_json::from_slice(&file).expect("JSON");
    assert_eq!(file["leftovers"], *leftovers);
    let rows = network.sql(&network.target, "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    assert_eq!(rows.trim(), "56");
    // The next run lists them all again.
    assert_eq!(network.rebuild(&[]).ends_with(3).report()["leftovers"], *leftovers);
}

#[test]
fn a_sender_without_its_ledger_sends_nothing() {
    let network = network();
    let ledger = network.path("state-0").join(&network.fingerprint).join("ledger-0");
    let whole = std::fs::read(&ledger).expect("made by the approval");
    std::fs::remove_file(&ledger).expect("removed");
    let missing = network.send(0, "p0").ends_with(4);
    assert!(missing.stderr.contains("one was made, and is gone"), "{}", missing.stderr);
    assert!(missing.stderr.contains("agree on a new session"), "{}", missing.stderr);
    std::fs::write(&ledger, &whole[..100]).expect("written");
    network.approve("0", "state-0").ends_with(4);
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&ledger, private).expect("changed");
    let truncated = network.send(0, "p0").ends_with(4);
    assert!(truncated.stderr.contains("truncated"), "{}", truncated.stderr);
    assert!(!network.path("p0").exists());
    let mut mistaken = crate::network();
    mistaken.fingerprint = "0".repeat(64);
    mistaken.approve("0", "other-state").ends_with(4);
    assert!(!mistaken.path("other-state").exists());
}

#[test]
fn a_row_that_changed_without_its_version_is_left_out_with_exit_code_3() {
    let network = network();
    assert_eq!(network.approve("0", "state-0").ends_with(0).report()["ledger_made"], false);
    network.send(0, "p0").ends_with(0);
    assert_eq!(network.send(0, "p0").ends_with(0).report()["closed_before"], true);
    // With its triggers the table would raise the version.
    let change = "SET session_replication_role = replica; \
                  UPDATE \"SMPC_dev_0\".irises SET left_mask = right_mask WHERE id = 9";
    network.sql(&network.databases[0], change);
    let report = network.send(0, "again").ends_with(3).report();
    assert_eq!(report["changed_without_version"], serde_json::json!([9]));
    assert_eq!(report["rows"], ROWS - 1);
}

#[test]
fn what_does_not_fit_is_refused_with_exit_code_4() {
    let network = network();
    network.send(0, "p0").ends_with(0);
    let mut wrong = crate::network();
    wrong.fingerprint = "0".repeat(64);
    wrong.send(0, "p").ends_with(4);
    assert!(!wrong.path("p").exists());
    network.send(1, "p1").ends_with(0);
    let part = network.path("p1").join("part-000002.age");
    let sealed = std::fs::read(&part).expect("a part");
    let mut changed = sealed.clone();
    changed[5000] ^= 1;
    std::fs::write(&part, changed).expect("written");
    let refused = network.rebuild(&[]).ends_with(4);
    assert!(refused.stderr.contains("part-000002.age"), "{}", refused.stderr);
    std::fs::write(&part, sealed).expect("written");
    let insert = "INSERT INTO \"SMPC_dev_2\".irises (id, left_code, left_mask, right_code, right_mask) \
                  VALUES (60, '', '', '', '')";
    // Nothing was written, not even the record of what is loaded.
    let tables = "SELECT count(*) FROM pg_class WHERE relname = 'reshare_progress'";
    assert_eq!(network.sql(&network.target, tables).trim(), "0");
    network.sql(&network.target, insert);
    let conflict = network.rebuild(&[]).ends_with(4);
    assert!(conflict.stderr.contains("--on-conflict replace"), "{}", conflict.stderr);
    let rows = network.sql(&network.target, "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    assert_eq!(rows.trim(), "1");
}

#[test]
fn a_password_is_in_no_message_and_not_in_the_process_title() {
    let network = network();
    let url = "postgres://alice:hunter2-secret@127.0.0.1:1/db?connect_timeout=1";
    for given in [url, "env:URL_WITH_PASSWORD"] {
        let mut command = program();
        let arguments =
            ["export", "-vv", "--session", "session.toml", "--party-id", "0", "--out", "x"];
        command.args(arguments).args(["--db-url", given]).env("URL_WITH_PASSWORD", url);
        let run = Run::of(command.current_dir(network.directory()).output().expect("starts"));
        let run = run.ends_with(1);
        assert!(!run.stderr.contains("hunter2"), "{}", run.stderr);
        assert!(run.stderr.contains("127.0.0.1:1/db as alice"), "{}", run.stderr);
    }
    assert!(!arguments_while_running(network.directory(), url).contains("hunter2"));
}

/// The arguments of a process that waits for a database, as every user of the machine sees them.
fn arguments_while_running(directory: &Path, url: &str) -> String {
    // A server that accepts and says nothing: the program waits for it.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("bound").port();
    let url = url.replace(":1/", &format!(":{port}/")).replace("timeout=1", "timeout=60");
    let mut command = program();
    let arguments = ["export", "--session", "session.toml", "--party-id", "0", "--out", "x"];
    command.args(arguments).args(["--db-url", &url]).current_dir(directory);
    let mut child = command.stderr(std::process::Stdio::null()).spawn().expect("starts");
    // Connected: it is past its start.
    let connection = silent.accept().expect("the program connects");
    let title = std::fs::read(Path::new("/proc").join(child.id().to_string()).join("cmdline"));
    child.kill().expect("it runs");
    child.wait().expect("it ends");
    drop(connection);
    String::from_utf8_lossy(&title.expect("a process")).into_owned()
}

#[test]
fn the_database_is_found_through_the_environment_and_the_password_file() {
    let network = network();
    let mut command = program();
    command.args(["export", "--session", "session.toml", "--party-id", "0", "--out", "a.rsh"]);
    command.current_dir(network.directory()).env("DATABASE_URL", &network.databases[0]);
    Run::of(command.output().expect("starts")).ends_with(0);
    let (_, parameters) = network.databases[0].split_once('?').expect("parameters");
    let value = |name: &str| {
        let found = parameters.split('&').find_map(|pair| pair.strip_prefix(name));
        found.expect("the parameter").to_owned()
    };
    let name = network.databases[0].split(['/', '?']).nth(3).expect("a name").to_owned();
    let mut command = program();
    command.args(["export", "--session", "session.toml", "--party-id", "0", "--out", "b.rsh"]);
    command.current_dir(network.directory()).env("PGHOST", value("host=")).env("PGDATABASE", name);
    command.env("PGPORT", value("port=")).env("PGUSER", value("user="));
    let others_may_read = network.path("pgpass");
    std::fs::write(&others_may_read, "").expect("written");
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(&others_may_read, open).expect("set");
    command.env("PGPASSFILE", &others_may_read);
    let run = Run::of(command.output().expect("starts")).ends_with(0);
    let warned = run.stderr.contains("others may read the password file");
    assert!(warned && !run.stderr.contains('\x1b'), "{:?}", run.stderr);
    let same = |name: &str| std::fs::read(network.path(name)).expect("a share file");
    assert_eq!(same("a.rsh"), same("b.rsh"));
}

#[test]
fn the_demo_ends_with_an_equal_table_and_leaves_nothing_behind() {
    let directory = tempfile::tempdir().expect("a directory");
    let mut command = program();
    command.args(["demo", "--rows", "300", "--senders", "0,2", "--target", "1", "--quiet"]);
    let demo = command.env("TMPDIR", directory.path()).output().expect("starts");
    let run = Run::of(demo).ends_with(0);
    assert!(run.stdout.contains("equal: every one of the 300 rows"), "{}", run.stdout);
    assert_eq!(std::fs::read_dir(directory.path()).expect("readable").count(), 0);
}

#[test]
fn completions_and_manual_pages_come_from_the_same_definitions() {
    let directory = tempfile::tempdir().expect("a directory");
    let run = |arguments: &[&str]| Run::of(program().args(arguments).output().expect("starts"));
    assert!(run(&["completions", "bash"]).ends_with(0).stdout.contains("rebuild"));
    let out = directory.path().to_str().expect("UTF-8");
    run(&["man", "--out", out]).ends_with(0);
    assert!(directory.path().join("reshare-rebuild.1").exists());
}

#[test]
fn standard_output_that_takes_nothing_is_no_crash() {
    let session = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cmd/session.in/golden.toml");
    let show = |stdout: std::process::Stdio| {
        let mut command = program();
        command.args(["session", "show", "--session", session]).stdout(stdout);
        Run::of(command.output().expect("starts"))
    };
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let run = show(full.into()).ends_with(1);
    assert!(run.stderr.contains("cannot print the report"), "{}", run.stderr);
    // A reader that has gone away, such as `head`.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    assert_eq!(show(writer.into()).ends_with(0).stderr, "");
}

#[test]
fn what_a_stranger_wrote_does_not_command_the_terminal() {
    let directory = tempfile::tempdir().expect("a directory");
    let hash = "07".repeat(32);
    let manifest = format!(
        "{{\"format\":\"reshare-manifest/1\",\"session_id\":\"\\u001b]0;title\\u0007\",\
         \"fingerprint\":\"{hash}\",\"sender\":0,\"receiver\":2,\"key_check\":\"{}\",\"parts\":[],\
         \"totals\":{{\"parts\":0,\"rows\":0,\"sealed_bytes\":0}},\
         \"signed_at\":\"2026-02-01T00:00:00Z\"}}\n",
        "ab".repeat(16)
    );
    std::fs::write(directory.path().join("manifest.json"), manifest).expect("written");
    let inspect =
        |path: &Path| Run::of(program().arg("inspect").arg(path).output().expect("starts"));
    let shown = inspect(directory.path()).ends_with(0).stdout;
    assert!(shown.contains("\\u{1b}]0;title\\u{7}"), "{shown:?}");
    let missing = inspect(&directory.path().join("\x1b[2J")).ends_with(2).stderr;
    assert!(!missing.contains('\x1b'), "{missing:?}");
}

#[test]
fn exit_codes_tell_what_is_missing_from_what_is_wrong() {
    let network = network();
    let session = ["--session", "session.toml"];
    let target = ["--db-url", &network.target];
    let run = |arguments: &[&[&str]]| network.run(&arguments.concat());
    // Not there, which the command line says it is.
    let keys = ["--expect-fingerprint", &network.fingerprint, "--to", "p"];
    let keys = [&keys[..], &["--target-party-id", "2", "--state-dir", "state-0"]].concat();
    run(&[&["send", "--agreement-key", "none"], &session, &keys]).ends_with(2);
    run(&[&["verify", "--file", "none"], &session, &target]).ends_with(2);
    let packages = ["--package", "none", "--package", "none"];
    run(&[&["rebuild", "--identity", "none"], &session, &target, &packages]).ends_with(2);
    run(&[&["rebuild", "--identity", "r.age"], &session, &target, &packages]).ends_with(2);
    run(&[&["load", "--in", "x", "--ids-from", "none"], &session, &target]).ends_with(2);
    // There, and of no use: a list where the session has none.
    std::fs::write(network.path("ids"), "1\n").expect("written");
    let list = run(&[&["load", "--in", "x", "--ids-from", "ids"], &session, &target]).ends_with(4);
    assert!(list.stderr.contains("the session is about the range"), "{}", list.stderr);
    let sender = ["--party-id", "0"];
    let sends = run(&[&["load", "--in", "x"], &sender, &session, &target]).ends_with(4);
    assert!(sends.stderr.contains("the receiving party is 0"), "{}", sends.stderr);
    let large = ["--agreement-key", "0.key", "--batch-size", "100000"];
    run(&[&["send"], &large, &session, &keys]).ends_with(2);
}

#[test]
fn a_role_without_rights_learns_which_ones_it_needs() {
    let mut network = network();
    for sender in 0..2 {
        network.send(sender, &format!("p{sender}")).ends_with(0);
    }
    network.target = network.url_as(2, "").0;
    let denied = network.rebuild(&[]).ends_with(1);
    assert!(denied.stderr.contains("USAGE and CREATE on the schema"), "{}", denied.stderr);
}

#[test]
fn packages_that_arrive_over_mutual_tls_are_rebuilt_at_once() {
    let network = network();
    network.certify();
    for (sender, other) in [("0", "1"), ("1", "0")] {
        let other = format!("approval-{other}.json");
        let key = format!("{sender}.key");
        let send = [
            "send",
            "--session",
            "certified.toml",
            "--agreement-key",
            &key,
            "--approval",
            "approval-2.json",
            "--approval",
            &other,
            "--db-url",
            &network.databases[sender.parse::<usize>().expect("a number")],
            "--batch-size",
            "16",
            "--to",
            &format!("signed-{sender}"),
        ];
        network.run_as(sender, &send).ends_with(0);
    }
    let mut receiver = receive(&network, &[]);
    let server = receiver.url();
    for sender in ["0", "1"] {
        let package = format!("signed-{sender}");
        let upload = ["upload", &package, "--session", "certified.toml", "--server-url", &server];
        // Another party's certificate opens no door.
        let thief = if sender == "0" { "1" } else { "2" };
        let refused = network.run_as(thief, &upload).ends_with(4);
        assert!(!refused.stderr.is_empty());
        network.run_as(sender, &upload).ends_with(0);
    }
    receiver.ends_with(0);
    network.verify().ends_with(0);
}

/// Starts the receiver of the session with certificates, which rebuilds what arrives.
fn receive(network: &Network, more: &[&str]) -> Running {
    let rebuild = ["--rebuild", "--identity", "r.age", "--db-url", &network.target];
    network.receive("certified.toml", "inbox", &[&rebuild[..], more].concat())
}

/// The flags with which a sender of the session with certificates delivers in one pass.
fn deliver<'a>(network: &'a Network, sender: &str, server: &'a str) -> Vec<&'a str> {
    let (key, other, database) = match sender {
        "0" => ("0.key", "approval-1.json", &network.databases[0]),
        _ => ("1.key", "approval-0.json", &network.databases[1]),
    };
    let send = ["send", "--json", "--session", "certified.toml", "--agreement-key", key];
    let approvals = ["--approval", "approval-2.json", "--approval", other];
    let way = ["--db-url", database, "--server-url", server, "--batch-size", "4"];
    [&send[..], &approvals, &way].concat()
}

/// Every file in the network's directory but what the receiver has.
fn files_without_inbox(network: &Network) -> BTreeSet<PathBuf> {
    let files = files_in(network.directory()).into_keys().filter(|path| !path.is_dir());
    files.filter(|file| !file.starts_with(network.path("inbox"))).collect()
}

/// The parts of sender 0 that have arrived.
fn arrived(network: &Network) -> BTreeMap<PathBuf, Vec<u8>> {
    let entries = std::fs::read_dir(network.path("inbox/sender-0")).expect("the inbox");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_part = |path: &PathBuf| path.extension().is_some_and(|end| end == "age");
    // One that is replaced or on its way may be gone by now.
    let read = |path: PathBuf| Some((path.clone(), std::fs::read(&path).ok()?));
    paths.filter(is_part).filter_map(read).collect()
}

/// Starts sender 0 on a way that stops after so many bytes, and returns when they have gone.
fn stuck_sender(network: &Network, receiver: &str, bytes: i64) -> (Running, Way) {
    let way = Way::to_receiver(receiver, Direction::ToServer, bytes, End::Hold);
    let mut command = network.program_as("0", &deliver(network, "0", &way.url));
    command.env("HOME", network.path("home")).env("TMPDIR", network.path("home"));
    let mut sending = Running::start(&mut command);
    sending.is_held_on(&way);
    (sending, way)
}

/// The files that a process has open for writing.
fn written_by(process: u32) -> Vec<PathBuf> {
    let proc = Path::new("/proc").join(process.to_string());
    let entries = std::fs::read_dir(proc.join("fd")).expect("a process");
    let written = entries.filter_map(|entry| {
        let name = entry.expect("an entry").file_name();
        let file = std::fs::read_link(proc.join("fd").join(&name)).ok()?;
        let info = std::fs::read_to_string(proc.join("fdinfo").join(&name)).ok()?;
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:"))?.trim();
        let writable = i64::from_str_radix(flags, 8).expect("octal digits") & 3 != 0;
        (writable && file.is_absolute() && !file.starts_with("/dev")).then_some(file)
    });
    written.collect()
}

#[test]
fn a_delivery_in_one_pass_that_is_stopped_and_killed_continues_and_leaves_only_its_ledger() {
    let network = network();
    network.certify();
    // In the inbox, parts that have arrived can be counted.
    let mut receiver = receive(&network, &["--memory-limit", "0"]);
    let address = receiver.address();
    std::fs::create_dir(network.path("home")).expect("made");
    let before = files_without_inbox(&network);
    let (mut sending, way) = stuck_sender(&network, &address, 700_000);
    sending.signal("-TERM");
    sending.finish().ends_with(143).says(&["run the same command again"]);
    // What is held is lost, and the receiver sees that its sender has ended.
    drop(way);
    let (mut sending, way) = stuck_sender(&network, &address, 2_000_000);
    let written = written_by(sending.id());
    assert!(written.iter().all(|file| file.ends_with("ledger-0")), "{written:?}");
    assert_eq!(written.len(), 1);
    assert!(sending.is_running(), "it has ended");
    sending.kill();
    drop(way);
    let before_the_end = arrived(&network);
    assert!((1..15).contains(&before_the_end.len()), "{} of 15", before_the_end.len());
    let server = format!("https://{address}");
    let report = network.run_as("0", &deliver(&network, "0", &server)).ends_with(0).report();
    let [kept, delivered] = ["parts_kept", "parts_delivered"].map(|name| report[name].as_u64());
    assert_eq!((&report["parts"], &report["rows"]), (&15.into(), &ROWS.into()));
    assert_eq!(kept.zip(delivered).map(|(kept, delivered)| kept + delivered), Some(15));
    assert!(kept >= Some(before_the_end.len() as u64), "{report}");
    let now = arrived(&network);
    assert!(before_the_end.iter().all(|(path, bytes)| now[path] == *bytes));
    let new: Vec<PathBuf> = files_without_inbox(&network).difference(&before).cloned().collect();
    let is_expected = |file: &PathBuf| file.ends_with("ledger-0.pid") || is_run_report(file);
    assert!(new.iter().all(is_expected), "{new:?}");
    let again = network.run_as("0", &deliver(&network, "0", &server)).ends_with(0).report();
    assert_eq!((&again["closed_before"], &again["parts_delivered"]), (&true.into(), &0.into()));
    network.run_as("1", &deliver(&network, "1", &server)).ends_with(0);
    receiver.ends_with(0);
    network.verify().ends_with(0);
    // Parts whose rows are loaded have left the inbox, and are not missing.
    let status = ["status", "--session", "certified.toml", "--inbox", "inbox"];
    let shown = network.run_as("2", &status).ends_with(0).stdout;
    for sender in ["0", "1"] {
        let line = format!("inbox of sender {sender}  closed  0 parts, 0 bytes, of ");
        assert!(shown.contains(&line), "{shown}");
    }
    assert!(
        shown.contains(" parts loaded, all up to id ") && !shown.contains("MISSING"),
        "{shown}"
    );
}

#[test]
fn a_session_without_certificates_sends_to_a_directory_only() {
    let network = network();
    let send = ["send", "--session", "session.toml", "--agreement-key", "0.key"];
    let refused = network.run(&send).ends_with(2);
    assert!(refused.stderr.contains("no certificates"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--to DIR"), "{}", refused.stderr);
    let mut both = program();
    both.args(send).args(["--to", "p"]).current_dir(network.directory());
    both.args(["--expect-fingerprint", &network.fingerprint, "--state-dir", "state-0"]);
    both.args(["--target-party-id", "2", "--db-url", &network.databases[0]]);
    both.args(["--shared-key", "shared.key"]);
    // The URL may be in the environment for `upload`; on the command line it contradicts --to.
    both.env("RESHARE_SERVER_URL", "https://receiver.mpc.example");
    Run::of(both.output().expect("it starts")).ends_with(0);
    let run = network.run(&[&send[..], &["--to", "q", "--server-url", "https://a"]].concat());
    assert!(run.ends_with(2).stderr.contains("--server-url is for a delivery"));
}

#[test]
fn a_session_with_another_key_in_a_partys_place_is_not_approved() {
    let network = network();
    network.certify();
    for (party, key, other) in [("0", "0.pub", "1.pub"), ("1", "1.pub", "0.pub")] {
        let approval = format!("other-{party}.json");
        let flags = ["--session", "certified.toml", "--own-public-key", other, "--out", &approval];
        let refused = network.run_as(party, &[&["session", "approve"], &flags[..]].concat());
        let refused = refused.ends_with(4);
        let said = format!("the session has another public key for party {party} than {other}");
        assert!(refused.stderr.contains(&said), "{}", refused.stderr);
        assert!(!network.path(&approval).exists(), "an approval of {key} in another's place");
    }
    let stranger = network.run(&["keygen", "recipient", "--out", "stranger.age"]).ends_with(0);
    let flags = ["--session", "certified.toml", "--own-public-key", stranger.stdout.trim()];
    let refused = network.run_as("2", &[&["session", "approve"], &flags[..]].concat()).ends_with(4);
    assert!(refused.stderr.contains("another public key for party 2"), "{}", refused.stderr);
    // What is no key of that kind gets another message than another key.
    let flags = ["--session", "certified.toml", "--own-public-key", "session.toml"];
    let refused = network.run_as("0", &[&["session", "approve"], &flags[..]].concat()).ends_with(4);
    assert!(refused.stderr.contains("keygen agreement"), "{}", refused.stderr);
}

#[test]
fn a_recipient_is_hybrid_unless_it_is_asked_otherwise_and_comes_from_a_file_or_the_command_line() {
    let network = Setup::of(RESHARE).without_databases().without_session().make();
    let recipient = network.recipient();
    assert!(recipient.starts_with("age1pq1") && recipient.len() == 1959, "{recipient}");
    let new = |out: &str, receiver: &str| {
        let new = ["session", "new", "--out", out, "--session-id", out, "--environment", "dev"];
        let keys = ["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", receiver];
        let shared = ["--shared-key-id", &network.shared_key_id()];
        network.run(&[&new[..], &keys, &shared].concat())
    };
    let given = new("given.toml", &format!("2={recipient}")).ends_with(0);
    let read = new("read.toml", "2=2.pub").ends_with(0);
    for made in [given, read] {
        let line = made.stdout.lines().find(|line| line.starts_with("recipient ")).expect("a line");
        let begin = format!("recipient    hybrid, {}..., SHA-256 ", &recipient[..24]);
        assert!(line.starts_with(&begin) && line.len() == begin.len() + 64, "{line}");
        assert!(!made.stderr.contains("classic"), "{}", made.stderr);
    }
    let shown = network.run(&["session", "show", "--json", "--session", "read.toml"]).report();
    assert_eq!((&shown["recipient"], &shown["seal"]), (&recipient.into(), &"hybrid".into()));

    let classic = ["keygen", "recipient", "--classic", "--out", "classic.age"];
    let classic = network.run(&classic).ends_with(0).stdout;
    let made = new("classic.toml", &format!("2={}", classic.trim())).ends_with(0);
    assert!(made.stdout.contains(&format!("\nrecipient    classic, {classic}")), "{}", made.stdout);
    assert!(made.stderr.contains("note: the recipient is classic"), "{}", made.stderr);
    // Other files, and a secret key by mistake.
    new("none.toml", "2=0.pub").ends_with(4).says(&["--receiver 0.pub", "keygen recipient"]);
    new("none.toml", "2=gone.pub").ends_with(2).says(&["gone.pub", "check --receiver"]);
    let identity = std::fs::read_to_string(network.path("r.age")).expect("an identity");
    let secret = identity.lines().last().expect("a key");
    let refused = new("none.toml", &format!("2={secret}")).ends_with(2);
    let refused = refused.says(&["secret key", "keep it secret"]);
    assert!(!refused.stderr.contains(&secret[20..40]), "{}", refused.stderr);
    assert!(!network.path("none.toml").exists());
}

/// Rows change at the senders between their exports; a session about just those ids brings them.
#[test]
fn what_was_left_over_comes_with_a_session_about_a_list() {
    let network = network();
    let [zero, one] = [0, 1].map(|sender| &network.databases[sender]);
    network.send(0, "p0").ends_with(0);
    let (table, other) = ("\"SMPC_dev_1\".irises", "\"SMPC_dev_0\".irises");
    network.sql(one, &format!("CREATE TABLE kept AS SELECT * FROM {table} WHERE id IN (7, 20)"));
    network.sql(one, &format!("DELETE FROM {table} WHERE id IN (7, 20)"));
    network.sql(one, &format!("UPDATE {table} SET version_id = 9999 WHERE id = 8"));
    network.send(1, "p1").ends_with(0);
    let rebuilt = network.rebuild(&["--leftover-ids", "left.ids"]).ends_with(3);
    assert!(rebuilt.report()["leftovers"]["disagreeing"] == serde_json::json!([8]));
    let listed = std::fs::read_to_string(network.path("left.ids")).expect("the list");
    assert_eq!(listed, "7\n8\n20\n");
    // By the second session the senders hold the same again.
    network.sql(one, &format!("INSERT INTO {table} SELECT * FROM kept"));
    let version = network.sql(zero, &format!("SELECT version_id FROM {other} WHERE id = 8"));
    let silently = "SET session_replication_role = replica";
    let back = format!("UPDATE {table} SET version_id = {} WHERE id = 8", version.trim());
    network.sql(one, &format!("{silently}; {back}"));
    let receiver = format!("2={}", network.recipient());
    let facts = ["--session-id", "left-overs", "--environment", "dev", "--ids-from", "left.ids"];
    let facts = [&facts[..], &["--valid-days", "1"]].concat();
    let parties = ["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", &receiver];
    let new = ["session", "new", "--out", "list.toml", "--json"];
    let shared = ["--shared-key-id", &network.shared_key_id()];
    let made = network.run(&[&new[..], &facts, &parties, &shared].concat()).ends_with(0);
    assert!(
        made.stderr.contains("needs a session that names it: give --db-url URL"),
        "{}",
        made.stderr
    );
    let made = made.report();
    let fingerprint = made["fingerprint"].as_str().expect("text");
    for sender in ["0", "1"] {
        let (own, state) = (format!("{sender}.pub"), format!("state-{sender}"));
        let expected = ["--expect-fingerprint", fingerprint, "--state-dir", &state];
        let expected = [&expected[..], &["--target-party-id", "2"]].concat();
        let approve = ["session", "approve", "--session", "list.toml", "--party-id", sender];
        // The receiver is known from the first session.
        let own = ["--own-public-key", &own, "--yes"];
        network.run(&[&approve[..], &expected, &own].concat()).ends_with(0);
        let (key, to) = (format!("file:{sender}.key"), format!("left-{sender}"));
        let url = if sender == "0" { zero } else { one };
        let send = ["send", "--session", "list.toml", "--ids-from", "left.ids", "--to", &to];
        let with = ["--agreement-key", &key, "--db-url", url];
        let sent = network.run(&[&send[..], &expected, &with].concat()).ends_with(0);
        assert!(sent.stderr.contains("note: the session ends at"), "{}", sent.stderr);
    }
    let packages = ["--package", "left-0", "--package", "left-1", "--identity", "r.age"];
    let rebuild = ["rebuild", "--session", "list.toml", "--db-url", &network.target];
    let unlisted = network.run(&[&rebuild[..], &packages].concat()).ends_with(2);
    assert!(unlisted.stderr.contains("--ids-from"), "{}", unlisted.stderr);
    let list = ["--ids-from", "left.ids", "--json"];
    let rebuilt = network.run(&[&rebuild[..], &packages, &list].concat()).ends_with(0).report();
    assert_eq!(rebuilt["rows"], 3);
    let verify = ["verify", "--session", "list.toml", "--db-url", &network.target];
    let verified = network.run(&[&verify[..], &packages, &list].concat()).ends_with(0).report();
    assert_eq!((&verified["equal"], &verified["rows_equal"]), (&true.into(), &3.into()));
    assert_eq!(network.verify().ends_with(0).report()["rows_equal"], ROWS);
    // The first session's packages fit the table as well, but for what they left over.
    let verify = ["verify", "--session", "session.toml", "--db-url", &network.target];
    let packages = ["--package", "p0", "--package", "p1", "--identity", "r.age", "--json"];
    let verified = network.run(&[&verify[..], &packages].concat()).ends_with(0).report();
    assert_eq!((&verified["rows_equal"], &verified["left_over"]), (&57.into(), &3.into()));
    // A share that changed in the table is found without another database.
    let change = "UPDATE \"SMPC_dev_2\".irises SET left_mask = right_mask WHERE id = 30";
    network.sql(&network.target, &format!("{silently}; {change}"));
    let differing = network.run(&[&verify[..], &packages].concat()).ends_with(4).report();
    assert_eq!(differing["first_differences"][0]["id"], 30);
}
