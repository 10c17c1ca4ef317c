//! What the senders' secret rests on besides P-256: a key of ML-KEM-768, and a key in a file.

use std::fs;

use reshare_fixtures::network::{Network, Run, Setup};

use crate::RESHARE;

const NEW: [&str; 10] = [
    "session",
    "new",
    "--session-id",
    "more",
    "--environment",
    "dev",
    "--sender",
    "0=0.pub",
    "--sender",
    "1=1.pub",
];

/// `session new` without certificates.
fn new(network: &Network, out: &str, more: &[&str]) -> Run {
    let receiver = format!("2={}", network.recipient());
    network.run(&[&NEW[..], &["--out", out, "--receiver", &receiver], more].concat())
}

#[test]
fn a_session_that_rests_on_p_256_alone_is_not_made_and_not_read() {
    let network = Setup::of(RESHARE).without_databases().make();
    let refused = new(&network, "bare.toml", &[]).ends_with(2);
    refused.says(&["without certificates --shared-key-id is needed", "hint: ", "keygen shared"]);
    new(&network, "bare.toml", &["--shared-key-id", "12"]).ends_with(2).says(&["32 hexadecimal"]);
    assert!(!network.path("bare.toml").exists());
    // What such a session would look like.
    let text = fs::read_to_string(network.path("session.toml")).expect("a session");
    let without: Vec<&str> =
        text.lines().filter(|line| !line.starts_with("shared_key_id")).collect();
    fs::write(network.path("bare.toml"), without.join("\n")).expect("written");
    let refused = network.run(&["session", "show", "--session", "bare.toml"]).ends_with(4);
    refused.says(&["neither senders.encapsulation_key nor shared_key_id", "quantum computer"]);
    // And one of an earlier version of the protocol.
    fs::write(network.path("old.toml"), text.replace("version = 2", "version = 1"))
        .expect("written");
    let refused = network.run(&["session", "show", "--session", "old.toml"]).ends_with(4);
    refused.says(&["protocol version 1, this program speaks 2"]);
}

#[test]
fn a_sender_with_another_shared_key_or_none_sends_nothing() {
    let network = Setup::of(RESHARE).rows(6).make();
    let id = network.shared_key_id();
    let again = network.run(&["keygen", "public", "--key", "shared.key"]).ends_with(0).stdout;
    assert_eq!(again.trim(), id);
    network.run(&["keygen", "shared", "--out", "other.key"]).ends_with(0);
    let send = |more: &[&str]| {
        let send = ["send", "--session", "session.toml", "--agreement-key", "0.key", "--to", "p"];
        let trust = ["--expect-fingerprint", &network.fingerprint, "--state-dir", "state-0"];
        let rows = ["--target-party-id", "2", "--db-url", &network.databases[0]];
        let mut command = reshare_fixtures::network::program(RESHARE);
        command.current_dir(network.directory());
        Run::command(command.args(send).args(trust).args(rows).args(more))
    };
    send(&[]).ends_with(2).says(&["--shared-key is needed", &id]);
    let other = send(&["--shared-key", "other.key"]).ends_with(4);
    other.says(&["other.key has the id ", &id, "hint: each session has keys of its own"]);
    send(&["--shared-key", "0.key"]).ends_with(4).says(&["0.key is no shared key"]);
    fs::set_permissions(
        network.path("other.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o644),
    )
    .expect("changed");
    send(&["--shared-key", "other.key"]).ends_with(4).says(&["mode 0644", "chmod 600"]);
    assert!(!network.path("p").exists());
    send(&["--shared-key", "shared.key"]).ends_with(0);
    // The key ends with its session, by its owner's name.
    let purge = ["purge", "--session", "session.toml", "--receiver-verified", &network.fingerprint];
    fs::set_permissions(
        network.path("other.key"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .expect("changed");
    let other = network.run(&[&purge[..], &["--keys", "other.key"]].concat()).ends_with(4);
    other.says(&["other.key is not a key of this session"]);
    network.run(&[&purge[..], &["--keys", "shared.key"]].concat()).ends_with(0);
    assert!(!network.path("shared.key").exists());
}

#[test]
fn the_lower_sender_does_not_approve_a_session_with_another_key_of_ml_kem() {
    let network = Setup::of(RESHARE).without_databases().with_certificates().make();
    let made = network.run(&["keygen", "agreement", "--out", "stranger.key"]).ends_with(0).stdout;
    let block =
        |text: &str| text.split_inclusive("-----END PUBLIC KEY-----\n").nth(1).map(str::to_owned);
    let own = block(&fs::read_to_string(network.path("0.pub")).expect("keys")).expect("two keys");
    let text = fs::read_to_string(network.path("session.toml")).expect("a session");
    let forged = text.replace(own.trim(), block(&made).expect("two keys").trim());
    assert_ne!(forged, text);
    fs::write(network.path("forged.toml"), forged).expect("written");
    let flags = ["session", "approve", "--session", "forged.toml", "--own-public-key", "0.pub"];
    let refused = network.run_as("0", &flags).ends_with(4);
    refused.says(&["the session has another public key for party 0 than 0.pub"]);
    // A key file without ML-KEM makes no session with certificates.
    let p256 = fs::read_to_string(network.path("0.pub")).expect("keys").replace(&own, "");
    fs::write(network.path("0.pub"), p256).expect("written");
    let names = ["0", "1", "2"]
        .map(|party| format!("{party}={}", reshare_fixtures::network::certificate_name(party)));
    let mut flags = vec!["--ca-file", "ca/ca.pem", "--network", "network.toml"];
    names.iter().for_each(|name| flags.extend(["--certificate-name", name]));
    let refused = new(&network, "p256.toml", &flags).ends_with(2);
    refused.says(&["--sender 0: its file has no key of ML-KEM-768", "hint: ", "--kms-key-arn"]);
}

#[test]
fn approving_twice_keeps_the_secret_and_a_lost_one_is_not_made_again_by_sending() {
    let network = Setup::of(RESHARE).rows(6).with_certificates().make();
    let approve = |out: &str| {
        let flags =
            ["session", "approve", "--session", "session.toml", "--own-public-key", "1.pub"];
        let yes = ["--yes", "--expect-fingerprint", &network.fingerprint, "--out", out];
        network.run_as("1", &[&flags[..], &yes].concat()).ends_with(0);
        let text = fs::read_to_string(network.path(out)).expect("an approval");
        let approval: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        approval["statement"]["ciphertext"].as_str().expect("a ciphertext").to_owned()
    };
    assert_eq!(approve("again.json"), approve("once-more.json"));
    let kept = network.path(&format!("state-1/{}/secret-1", network.fingerprint));
    assert!(kept.exists());
    fs::remove_file(&kept).expect("lost");
    let flags = network.sender_flags(1);
    let refused = network.run_as("1", &flags.command("send")).ends_with(4);
    refused.says(&["secret-1", "hint: ", "agree on a new session"]);
    assert!(!network.path("package-1").exists());
}
