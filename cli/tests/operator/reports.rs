//! Run reports, and `reshare report` about them.

use std::fs;
use std::path::PathBuf;

use reshare_fixtures::network::{Flags, Network, Run, Running, Setup};
use serde_json::{Value, json};

use crate::{RESHARE, ROWS};

fn desk() -> Network {
    Setup::of(RESHARE).rows(ROWS as u64).with_certificates().make()
}

fn runs_of(network: &Network, party: &str) -> PathBuf {
    let fingerprint = network.fingerprint_of("session.toml");
    network.path(&format!("state-{party}/{fingerprint}/runs-{party}.jsonl"))
}

fn records(network: &Network, party: &str) -> Vec<Value> {
    let text = fs::read_to_string(runs_of(network, party)).expect("run reports");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn run(network: &Network, flags: &Flags, command: &str, more: &[&str]) -> Run {
    let arguments = [&flags.command(command)[..], more].concat();
    network.run_as(flags.party(), &arguments)
}

/// What an auditor gets who has the files of parties 0 and 1 next to party 2's state.
fn report(network: &Network, more: &[&str]) -> Run {
    let (zero, one) = (runs_of(network, "0"), runs_of(network, "1"));
    let files = ["--runs", zero.to_str().expect("text"), "--runs", one.to_str().expect("text")];
    network.run_as("2", &[&["report", "--session", "session.toml"], &files[..], more].concat())
}

/// Both senders deliver, and the receiver rebuilds and signs.
fn whole_run(network: &Network) {
    let mut receiver = network.receiver_flags();
    receiver.add("--rebuild", None).set("--receipt", "receipt.json").set("--linger", "0");
    let command = network.program_as("2", &receiver.command("receive"));
    let mut receiving = Running::start(&mut { command });
    let url = receiving.url();
    for party in [0, 1] {
        let mut sender = network.sender_flags(party);
        sender.remove("--to").set("--server-url", &url);
        run(network, &sender, "send", &["--json"]).ends_with(0);
    }
    receiving.finish().ends_with(0);
    let verify = ["verify", "--session", "session.toml", "--digests", "--db-url", &network.target];
    network.run_as("2", &verify).ends_with(0);
}

#[test]
fn a_run_of_three_parties_is_on_one_page() {
    let network = desk();
    whole_run(&network);
    let sent = records(&network, "0");
    assert_eq!(sent.len(), 1, "{sent:?}");
    assert_eq!((&sent[0]["command"], &sent[0]["exit_code"]), (&json!("send"), &json!(0)));
    assert_eq!((&sent[0]["party"], &sent[0]["retries"]), (&json!(0), &json!(0)));
    assert_eq!(sent[0]["report"]["rows"], ROWS as u64);
    assert!(sent[0]["stages"].as_array().is_some_and(|stages| stages.len() > 1), "{sent:?}");
    let samples = sent[0]["samples"].as_array().expect("samples");
    assert_eq!(samples.last().expect("one")["rows"], ROWS as u64, "{samples:?}");
    let received = records(&network, "2");
    let commands: Vec<&Value> = received.iter().map(|record| &record["command"]).collect();
    assert_eq!(commands, ["receive", "verify"]);
    assert_eq!(received[0]["receipt"], "receipt.json");
    let page = network.path("report.html");
    let made = report(&network, &["--html", "report.html"]).ends_with(0);
    for fact in ["party 0 (sender)", "party 2 (receiver)", "send: done (0)", "60 rows"] {
        assert!(made.stdout.contains(fact), "{fact:?} is not in {}", made.stdout);
    }
    let page = fs::read_to_string(&page).expect("a page");
    let fingerprint = network.fingerprint_of("session.toml");
    for fact in [
        &fingerprint,
        "party 1 (sender)",
        "party 2 (receiver): receive",
        "party 2 (receiver): verify",
        "<dt>rows equal</dt><dd>60</dd>",
        "receipt.json",
        "reshare receipt check",
        "Stages over time",
    ] {
        assert!(page.contains(fact), "{fact:?} is not in {page}");
    }
    // Nothing of it is loaded from anywhere, and nothing of it is run.
    for foreign in ["<script", "src=", "http://", "https://", "url("] {
        assert!(!page.contains(foreign), "{foreign} is in {page}");
    }
    let document = report(&network, &["--json"]).ends_with(0).report();
    assert_eq!(document["runs"].as_array().map(Vec::len), Some(4), "{document}");
    assert_eq!(document["fingerprint"], fingerprint);
    // The same file twice shows no run twice.
    let own = runs_of(&network, "2");
    let again = report(&network, &["--json", "--runs", own.to_str().expect("text")]);
    assert_eq!(again.ends_with(0).report()["runs"].as_array().map(Vec::len), Some(4));
}

#[test]
fn runs_that_were_stopped_refused_or_failed_are_recorded_too() {
    let network = desk();
    let mut receiver = network.receiver_flags();
    receiver.add("--rebuild", None);
    let command = network.program_as("2", &receiver.command("receive"));
    let mut receiving = Running::start(&mut { command });
    receiving.address();
    receiving.signal("-INT");
    receiving.finish().ends_with(130);
    let mut sender = network.sender_flags(0);
    sender.remove("--approval");
    run(&network, &sender, "send", &[]).ends_with(4);
    let stopped = &records(&network, "2")[0];
    assert_eq!(
        (&stopped["exit_code"], &stopped["error"]["code"]),
        (&json!(130), &json!("interrupted"))
    );
    let refused = &records(&network, "0")[0];
    assert_eq!(refused["error"]["code"], "refused");
    let report = network.run_as("2", &["report", "--session", "session.toml"]).ends_with(0);
    assert!(report.stdout.contains("receive: interrupted (130)"), "{}", report.stdout);
    assert!(report.stdout.contains("stopped by a signal"), "{}", report.stdout);
}

#[test]
fn a_record_that_cannot_be_written_is_a_warning() {
    let network = desk();
    fs::write(network.path("no-directory"), "").expect("written");
    let verify = ["export", "--session", "session.toml", "--party-id", "0", "--out", "a.rsh"];
    let more = ["--db-url", &network.databases[0], "--state-dir", "no-directory"];
    let run = network.run_as("0", &[&verify[..], &more].concat()).ends_with(0);
    assert!(run.stderr.contains("warning: this run is not in the run reports"), "{}", run.stderr);
}

/// A record with some text in every place that has one.
fn record(network: &Network, text: &str) -> Value {
    json!({
        "format": "reshare-run", "version": 1, "program": text, "command": text, "session_id": text,
        "fingerprint": network.fingerprint_of("session.toml"), "party": 1,
        "started_at": "2026-01-31T12:00:00Z", "ended_at": "2026-01-31T12:00:09Z", "seconds": 9.0,
        "exit_code": 4, "retries": 3, "receipt": text,
        "error": {"code": text, "message": text, "causes": [text], "note": text, "hint": text},
        "report": {
            text: text, "rows": 4, "first_differences": [{"id": 1, "difference": text}],
            "bad_rows": [{"id": 7, "reason": text}], "leftovers": {"only_lower_sender": [1, 2]},
        },
        "stages": [{"name": text, "begin": 0.0, "end": 9.0, "rows": 4, "rows_skipped": 0, "bytes": 9}],
        "samples": [
            {"at": 0.0, "stage": text, "rows": 0, "bytes": 0},
            {"at": 4.0, "stage": text, "rows": 1, "bytes": 0},
            {"at": 9.0, "stage": text, "rows": 4, "bytes": 0},
        ],
    })
}

#[test]
fn hostile_text_in_a_record_is_shown_and_is_no_markup() {
    let network = desk();
    let hostile = format!("<script>alert(1)</script>\" onload='x' {}\u{1b}[31m", "n".repeat(3000));
    let lines = format!("{}\n", record(&network, &hostile));
    fs::write(network.path("hostile.jsonl"), lines).expect("written");
    let report = ["report", "--session", "session.toml", "--runs", "hostile.jsonl"];
    let more = ["--html", "page.html"];
    let run = network.run_as("2", &[&report[..], &more].concat()).ends_with(0);
    assert!(!run.stdout.contains('\u{1b}') && run.stdout.contains("<script>"), "{}", run.stdout);
    let page = fs::read_to_string(network.path("page.html")).expect("a page");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot; onload=&#39;x&#39;"));
    assert!(!page.contains("<script") && !page.contains("onload='") && !page.contains('\u{1b}'));
    assert!(page.contains("<polyline points=") && page.contains("only sender 0 has them"));
}

#[test]
fn a_line_that_is_no_record_is_refused_with_its_number() {
    let network = desk();
    let good = record(&network, "send").to_string();
    let other = good.replace(&network.fingerprint_of("session.toml"), &"0".repeat(64));
    let newer = good.replace("\"version\":1", "\"version\":2");
    for (line, why) in [
        (&good[..good.len() / 2], "it is no run report"),
        ("{\"a\":1}", "it is no run report"),
        ("\u{0}", "it is no run report"),
        (&other, "it is about another session"),
        (&newer, "it has version 2, but this program reads 1"),
    ] {
        fs::write(network.path("runs"), format!("{good}\n{line}\n{good}\n")).expect("written");
        let report =
            ["report", "--session", "session.toml", "--runs", "runs", "--html", "page.html"];
        let run = network.run_as("2", &report).ends_with(4);
        run.refuses(&format!("runs, line 2: {why}"));
        assert!(!network.path("page.html").exists());
    }
    let nothing = network.run_as("2", &["report", "--session", "session.toml"]).ends_with(2);
    nothing.refuses("no run of this session is recorded");
    let missing = ["report", "--session", "session.toml", "--runs", "not-there"];
    network.run_as("2", &missing).ends_with(2).refuses("--runs");
}
