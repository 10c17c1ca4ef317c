//! Deliveries by other programs, clocks that are wrong, and packages that change between runs.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use reshare_fixtures::network::{Network, Run, Setup};
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::session::{Approval, Session, SessionTrust};
use time::{Duration, OffsetDateTime};

use super::shell;
use crate::RESHARE;

fn send(world: &Network, party: usize) -> Run {
    world.run_as(["0", "1"][party], &world.sender_flags(party).command("send"))
}

fn rebuild(world: &Network, more: &[&str]) -> Run {
    let rebuild = ["rebuild", "--session", "session.toml", "--identity", "r.age", "--quiet"];
    let packages = ["--package", "package-0", "--package", "package-1", "--db-url", &world.target];
    world.run_as("2", &[&rebuild[..], &packages, more].concat())
}

fn session_id(world: &Network) -> String {
    Session::load(&world.path("session.toml")).expect("a session").id().to_string()
}

/// The commands of the page on the protocol, as they are.
fn recipe() -> String {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/protocol.md");
    let page = fs::read_to_string(page).expect("the page");
    let (_, after) = page.split_once("## With curl").expect("the section");
    let (_, after) = after.split_once("```sh\n").expect("its commands");
    after.split_once("```").expect("their end").0.to_owned()
}

#[test]
fn the_commands_of_the_protocols_page_deliver_a_package_with_curl() {
    let world = Setup::certified(RESHARE).rows(9).make();
    send(&world, 0).ends_with(0);
    for (name, file) in [
        ("receiver.pem", "certificate-2/certificate.pem"),
        ("sender-0.pem", "certificate-0/certificate.pem"),
        ("sender-0.key", "certificate-0/certificate.key"),
        ("package", "package-0"),
    ] {
        symlink(world.path(file), world.path(name)).expect("a link");
    }
    let mut receiver = world.receive("session.toml", "inbox", &[]);
    let address = receiver.address();
    let commands = recipe().replace("receiver.mpc.example:8443", &address);
    let commands = format!("set -e\n{}", commands.replace("SESSION", &session_id(&world)));
    shell(world.directory(), &commands).ends_with(0);
    receiver.says(&["the package of sender 0 is complete: 9 rows in "]);
    // The pin is what lets curl trust this receiver: another key is refused.
    let other = commands.replace("receiver.pem", "certificate-1/certificate.pem");
    shell(world.directory(), &other).ends_with(90);
    receiver.signal("-TERM");
    receiver.ends_with(143);
}

#[test]
fn a_refused_body_of_any_size_gets_its_answer_over_both_versions_of_http() {
    let world = Setup::certified(RESHARE).rows(9).make();
    let mut receiver = world.receive("session.toml", "inbox", &[]);
    let address = receiver.address();
    let id = session_id(&world);
    let body = fs::File::create(world.path("body")).expect("made");
    body.set_len(200 << 20).expect("a sparse file");
    for version in ["--http1.1", "--http2"] {
        for (path, word) in [
            ("parties/0/parts/part-000000.age", "too-large"),
            ("parties/1/parts/part-000000.age", "other-party"),
            ("nothing", "no-route"),
        ] {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--insecure", version, "--max-time", "100"]);
            curl.args(["-H", "Expect:", "-H", "Repr-Digest: sha-256=:AAAA:", "-T", "body"]);
            curl.args(["--cert", "certificate-0/certificate.pem"]);
            curl.args(["--key", "certificate-0/certificate.key"]);
            curl.arg(format!("https://{address}/v1/sessions/{id}/{path}"));
            let run = Run::command(curl.current_dir(world.directory())).ends_with(0);
            let answer = format!("{{\"error\":\"{word}\"");
            assert!(run.stdout.starts_with(&answer), "{version} {path}: {run:?}");
        }
    }
    receiver.signal("-TERM");
    receiver.ends_with(143);
}

#[test]
fn a_signature_from_the_future_names_both_clocks_and_what_helps() {
    let world = Setup::certified(RESHARE).rows(9).make();
    let session = Session::load(&world.path("session.toml")).expect("a session");
    let trust = SessionTrust::load(&session, &world.path("ca/ca.pem")).expect("its authority");
    let file = |name: &str| world.path(&format!("certificate-2/{name}"));
    let certificate = PartyCertificate::load(&file("certificate.pem"), &file("certificate.key"));
    let ahead = OffsetDateTime::now_utc() + Duration::DAY;
    let approval = Approval::sign(&session, &trust, &certificate.expect("a pair"), ahead, None);
    let bytes = approval.expect("signed").to_bytes().expect("bytes");
    fs::write(world.path("approval-2.json"), bytes).expect("written");
    let day = |moment: OffsetDateTime| moment.date().to_string();
    let (signed, here) = (day(ahead), day(OffsetDateTime::now_utc()));
    send(&world, 0).ends_with(4).says(&[
        &format!("it was signed at {signed}"),
        &format!("by the clock of this one it is {here}"),
        "hint: compare both machines' clocks",
    ]);
}

#[test]
fn a_damaged_part_stops_a_rebuild_that_says_how_many_rows_are_loaded_and_right() {
    let world = Setup::certified(RESHARE).rows(60).make();
    for party in [0, 1] {
        let mut flags = world.sender_flags(party);
        flags.set("--batch-size", "10");
        world.run_as(["0", "1"][party], &flags.command("send")).ends_with(0);
    }
    let part = world.path("package-1/part-000004.age");
    let mut bytes = fs::read(&part).expect("a part");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&part, &bytes).expect("written");
    let more = ["--threads", "1", "-j", "1", "--batch-size", "10"];
    let run = rebuild(&world, &more).ends_with(4);
    let loaded = world.sql(&world.target, "SELECT count(*) FROM \"SMPC_dev_2\".irises");
    let loaded: u64 = loaded.parse().expect("a number");
    assert!(loaded > 0 && loaded < 60, "{loaded}");
    run.says(&["part-000004.age", &format!("note: {loaded} rows are loaded and stay")]);
    bytes[middle] ^= 1;
    fs::write(&part, &bytes).expect("written");
    rebuild(&world, &more).ends_with(0);
    // Once all is loaded, nothing of a package is read, and that is said.
    bytes[middle] ^= 1;
    fs::write(&part, &bytes).expect("written");
    let again = rebuild(&world, &more).ends_with(0);
    assert!(again.stdout.contains("no part of the packages was read"), "{}", again.stdout);
}

#[test]
fn a_receipt_is_checked_against_the_ledger_of_a_sender_that_delivered_over_the_network() {
    let world = Setup::certified(RESHARE).rows(9).make();
    let keep = ["--rebuild", "--identity", "r.age", "--db-url", &world.target, "--keep-packages"];
    let mut receiver =
        world.receive("session.toml", "inbox", &[&keep[..], &["--linger", "0"]].concat());
    let url = receiver.url();
    for party in [0, 1] {
        let mut flags = world.sender_flags(party);
        flags.remove("--to").set("--server-url", &url);
        world.run_as(["0", "1"][party], &flags.command("send")).ends_with(0);
    }
    receiver.ends_with(0);
    let verify = ["verify", "--session", "session.toml", "--identity", "r.age", "--db-url"];
    let packages = ["--package", "inbox/sender-0", "--package", "inbox/sender-1"];
    let verify = [&verify[..], &[&world.target, "--receipt", "receipt.json"], &packages].concat();
    world.run_as("2", &verify).ends_with(0);
    let check = ["receipt", "check", "receipt.json", "--session", "session.toml"];
    let said = world.run_as("0", &check).ends_with(0).stdout;
    assert!(said.contains("9 rows equal") && said.contains("the ledger of sender 0"), "{said}");
    let json = world.run_as("1", &[&check[..], &["--json"]].concat()).ends_with(0).report();
    assert_eq!((&json["ledger_of"], &json["rows_equal"]), (&1.into(), &9.into()));
    let purge = ["purge", "--session", "session.toml", "--receipt", "receipt.json"];
    let said = world.run_as("0", &purge).ends_with(0).stdout;
    let words = ["the receipt is about what the ledger of sender 0 has", "nothing of this sender"];
    assert!(words.iter().all(|word| said.contains(word)), "{said}");
    // A ledger that knows of other rows, and none at all.
    let before = fs::read(world.path("receipt.json")).expect("there");
    fs::write(world.path("receipt.json"), &before[..before.len() / 2]).expect("written");
    let said = world.run_as("0", &check).ends_with(4).says(&["receipt receipt.json"]).stderr;
    assert!(said.contains("hint: it is truncated") && !said.contains("removed"), "{said}");
    let said = world.run_as("0", &purge).ends_with(4).stderr;
    assert!(said.contains("hint: it is truncated") && said.contains("nothing was removed"));
    let none = ["receipt", "check", "none", "--session", "session.toml"];
    let said = world.run_as("0", &none).ends_with(2).stderr;
    assert!(said.contains("check") && !said.contains("removed"), "{said}");
    fs::write(world.path("receipt.json"), &before).expect("written");
    let nowhere = ["--state-dir", "nowhere"];
    world.run_as("0", &[&check[..], &nowhere].concat()).ends_with(2).says(&["--party-id"]);
}
