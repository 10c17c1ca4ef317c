//! Approvals and the receipt that go through a receiver, and certificates that come with a session.

use std::fs;

use reshare_fixtures::network::{Network, Run, Running, Setup};

use crate::{RESHARE, ROWS};

fn certified() -> Network {
    Setup::of(RESHARE).rows(ROWS as u64).with_certificates().make()
}

/// A receiver that rebuilds, and where it listens.
fn receive(network: &Network, more: &[&str]) -> (Running, String) {
    let rebuild = ["--rebuild", "--identity", "r.age", "--db-url", &network.target];
    let mut receiver = network.receive("session.toml", "inbox", &[&rebuild[..], more].concat());
    let url = format!("https://{}", receiver.address());
    (receiver, url)
}

/// The command line of a sender that has no approval in a file.
fn send(network: &Network, sender: usize, url: &str, more: &[&str]) -> Vec<String> {
    let mut flags = network.sender_flags(sender);
    flags.remove("--approval").remove("--to").set("--server-url", url);
    let command = flags.command("send").into_iter().chain(more.iter().copied());
    command.map(str::to_owned).collect()
}

fn words(command: &[String]) -> Vec<&str> {
    command.iter().map(String::as_str).collect()
}

#[test]
fn senders_need_no_file_of_another_party_and_end_with_the_receipt() {
    let network = certified();
    let more = ["--own-approval", "approval-2.json", "--receipt", "receipt.json"];
    let (mut receiver, url) = receive(&network, &more);
    let own = ["approval-0.json", "approval-1.json"];
    let commands = [0, 1].map(|sender| {
        let receipt = format!("receipt-{sender}.json");
        send(&network, sender, &url, &["--own-approval", own[sender], "--wait-receipt", &receipt])
    });
    let mut senders =
        [0, 1].map(|sender| network.start_as(["0", "1"][sender], &words(&commands[sender])));
    senders.iter_mut().for_each(|sender| sender.ends_with(0));
    receiver.ends_with(0);
    let receipt = fs::read(network.path("receipt.json")).expect("a receipt");
    for (sender, party) in ["0", "1"].into_iter().enumerate() {
        let name = format!("receipt-{sender}.json");
        assert_eq!(fs::read(network.path(&name)).expect("a receipt"), receipt);
        let check = ["receipt", "check", &name, "--session", "session.toml"];
        network.run_as(party, &check).ends_with(0);
    }
    assert_eq!(network.verify().ends_with(0).report()["rows_equal"], ROWS);
}

#[test]
fn an_approval_that_is_not_the_senders_own_or_of_another_session_is_refused() {
    let network = certified();
    network.make_session("other.toml", &["--session-id", "other"]);
    network.approve_session("other.toml", "other");
    let (mut receiver, url) = receive(&network, &["--own-approval", "approval-2.json"]);
    let run = |sender: usize, more: &[&str]| -> Run {
        let more = [more, &["--retry-for", "0"]].concat();
        network.run_as(["0", "1"][sender], &words(&send(&network, sender, &url, &more)))
    };
    let refused = run(0, &["--own-approval", "approval-1.json"]).ends_with(4);
    refused.says(&["this party's certificate must have the name"]);
    let refused = run(0, &["--own-approval", "approval-2.json"]).ends_with(4);
    refused.says(&["hint: give this sender's own approval with --own-approval"]);
    run(0, &["--own-approval", "other-0.json"])
        .ends_with(4)
        .says(&["422 approval", "approved the session with"]);
    run(0, &["--own-approval", "none.json"]).ends_with(2).says(&["--own-approval"]);
    // The other sender's has not come: nothing is sent.
    let waited = run(0, &["--own-approval", "approval-0.json"]).ends_with(1);
    waited.says(&["the receiver has no approval of party 1", "hint: that party gives it"]);
    let is_part = |path: &std::path::PathBuf| path.to_string_lossy().contains("part-0");
    assert!(!network.files().keys().any(is_part));
    // It may also come in a file.
    let given = ["--own-approval", "approval-0.json", "--approval", "approval-1.json"];
    let wait = [&given[..], &["--wait-receipt", "receipt.json"]].concat();
    run(0, &wait)
        .ends_with(1)
        .says(&["the receiver signs no receipt", "hint: the receiver signs one"]);
    run(0, &given).ends_with(0);
    run(1, &["--own-approval", "approval-1.json"]).ends_with(0);
    receiver.ends_with(0);
    // A receiver that gives no receipt keeps nobody waiting when it has ended.
    let more = ["--own-approval", "approval-1.json", "--wait-receipt", "receipt.json"];
    run(1, &more).ends_with(1);
    assert!(!network.path("receipt.json").exists());
    // And its own approval is the receiver's.
    let rebuild = ["receive", "--rebuild", "--identity", "r.age", "--db-url", &network.target];
    let at = ["--listen", "127.0.0.1:0", "--session", "session.toml", "--inbox", "in"];
    let wrong = [&rebuild[..], &at, &["--own-approval", "approval-0.json"]].concat();
    let refused = network.run_as("2", &wrong).ends_with(4);
    refused.says(&["approval-0.json is party 0's, but party 2 receives"]);
    let wrong = [&rebuild[..], &at, &["--own-approval", "other-2.json"]].concat();
    network
        .run_as("2", &wrong)
        .ends_with(4)
        .says(&["approved the session with", "hint: give this party's own"]);
}

#[test]
fn no_receipt_is_signed_for_a_table_that_was_changed() {
    let network = certified();
    let (mut receiver, url) = receive(&network, &["--own-approval", "approval-2.json"]);
    let commands = [0, 1].map(|sender| {
        send(&network, sender, &url, &["--own-approval", &format!("approval-{sender}.json")])
    });
    let mut senders =
        [0, 1].map(|sender| network.start_as(["0", "1"][sender], &words(&commands[sender])));
    senders.iter_mut().for_each(|sender| sender.ends_with(0));
    receiver.ends_with(0);
    let changed = "UPDATE \"SMPC_dev_2\".irises SET version_id = version_id + 1 WHERE id = 1";
    network.sql(&network.target, changed);
    let (mut receiver, _) = receive(&network, &["--receipt", "receipt.json"]);
    receiver.ends_with(4);
    assert!(!network.path("receipt.json").exists());
}

#[test]
fn certificates_come_with_a_session_and_go_where_none_is() {
    let network = Setup::of(RESHARE).without_databases().with_certificates().make();
    for party in ["0", "1", "2"] {
        let name = reshare_fixtures::network::certificate_name(party);
        let init = ["party", "init", &format!("p{party}"), "--party-id", party, "--name", &name];
        network.run(&init).ends_with(0);
    }
    let files = ["0", "1", "2"].map(|party| format!("p{party}/party-{party}.public.json"));
    let files: Vec<&str> = files.iter().flat_map(|file| ["--party", file.as_str()]).collect();
    let issue = ["pki", "issue", "--ca", "ca", "--out", "issued"];
    network.run(&[&issue[..], &files].concat()).ends_with(0);
    let new = |out: &str, certificates: &str| {
        let new =
            ["session", "new", "--json", "--out", out, "--session-id", "r", "--environment", "dev"];
        let more = ["--receiver", "2", "--ca-file", "ca/ca.pem", "--certificates", certificates];
        network.run(&[&new[..], &more, &files].concat())
    };
    let fingerprint = new("r.toml", "issued").ends_with(0).report()["fingerprint"].clone();
    let fingerprint = fingerprint.as_str().expect("text");
    // What is read back is the same session.
    assert_eq!(network.fingerprint_of("r.toml"), fingerprint);
    // A certificate of another party is not let in.
    fs::create_dir(network.path("mixed")).expect("made");
    for (from, to) in [("0", "1"), ("1", "0"), ("2", "2")] {
        let (from, to) = (format!("issued/party-{from}.pem"), format!("mixed/party-{to}.pem"));
        fs::copy(network.path(&from), network.path(&to)).expect("copied");
    }
    new("no.toml", "mixed").ends_with(4).says(&["mixed/party-0.pem"]);
    new("no.toml", "none").ends_with(2).says(&["--certificates"]);
    assert!(!network.path("no.toml").exists());
    let approve = |party: &str, session: &str, more: &[&str]| {
        let mut command = reshare_fixtures::network::program(RESHARE);
        command.args(["session", "approve", "--session", session, "--new-network"]).args(more);
        command.current_dir(network.path(&format!("p{party}")));
        Run::command(command.env("RESHARE_CONFIG", "reshare.toml"))
    };
    let there = |name: &str| network.path(&format!("p0/{name}")).exists();
    // Nothing stays where the session is not approved.
    approve("0", "../r.toml", &[]).ends_with(2).says(&["there is no terminal"]);
    let wrong = "0".repeat(64);
    approve("0", "../r.toml", &["--yes", "--expect-fingerprint", &wrong]).ends_with(4);
    assert!(!there("ca.pem") && !there("certificate.pem") && !there("network.toml"));
    let yes = ["--yes", "--expect-fingerprint", fingerprint];
    let said = ["ca.pem has come with the session", "certificate.pem has come with the session"];
    approve("0", "../r.toml", &yes).ends_with(0).says(&said);
    let read = |name: &str| fs::read_to_string(network.path(name)).expect("a text");
    assert_eq!(read("p0/certificate.pem"), read("issued/party-0.pem"));
    assert_eq!(read("p0/ca.pem"), read("ca/ca.pem"));
    // What is there is never replaced.
    fs::write(network.path("p1/certificate.pem"), read("issued/party-0.pem")).expect("written");
    approve("1", "../r.toml", &yes).ends_with(4).says(&["certificate.pem"]);
    assert_eq!(read("p1/certificate.pem"), read("issued/party-0.pem"));
    assert!(!network.path("p1/ca.pem").exists());
    // One that was changed on its way: the authority's must be the one of the fingerprint, and the
    // party's for its key.
    network.run(&["pki", "ca", "--out", "ca2"]).ends_with(0);
    let (own, other) = (read("ca/ca.pem"), read("ca2/ca.pem"));
    fs::write(network.path("x.toml"), read("r.toml").replace(&own, &other)).expect("written");
    approve("2", "../x.toml", &yes).ends_with(4).says(&["transport.authority", "SHA-256"]);
    let certificate = read("issued/party-2.pem");
    fs::write(network.path("x.toml"), read("r.toml").replace(&certificate, &own)).expect("written");
    approve("2", "../x.toml", &yes).ends_with(4).says(&["no certificate for certificate.key"]);
    assert!(!network.path("p2/ca.pem").exists());
    approve("2", "../r.toml", &yes).ends_with(0);
}
