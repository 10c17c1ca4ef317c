//! What a new party makes in one go, and what others make of its public file.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use reshare_fixtures::network::{Run, files_in, program};
use tempfile::TempDir;

use crate::RESHARE;

/// A directory with the directories of three parties, and an authority.
struct Parties(TempDir);

impl Parties {
    fn new() -> Self {
        let parties = Self(tempfile::tempdir().expect("a directory"));
        for party in ["0", "1", "2"] {
            parties.init(party, party).ends_with(0);
        }
        parties.run(&["pki", "ca", "--out", "ca"]).ends_with(0);
        parties
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Run {
        Run::command(program(RESHARE).args(arguments).current_dir(&self.0))
    }

    /// As one party, with the settings file in its directory.
    fn run_as(&self, party: &str, arguments: &[&str]) -> Run {
        let mut command = program(RESHARE);
        command.args(arguments).current_dir(self.path(party));
        Run::command(command.env("RESHARE_CONFIG", "reshare.toml"))
    }

    fn init(&self, directory: &str, party: &str) -> Run {
        let name = format!("spiffe://mpc.example/{party}");
        self.run(&["party", "init", directory, "--party-id", party, "--name", &name])
    }

    fn public(&self, party: &str) -> String {
        format!("{party}/party-{party}.public.json")
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).expect("a text")
    }

    fn openssl(&self, arguments: &[&str]) -> Run {
        let mut openssl = Command::new("openssl");
        let output = openssl.args(arguments).current_dir(&self.0).output();
        Run::of(output.expect("openssl: run `make setup`")).ends_with(0)
    }
}

fn mode(path: &Path) -> u32 {
    path.metadata().expect("its metadata").permissions().mode() & 0o7777
}

fn names_in(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let names =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[test]
fn a_party_has_all_that_is_its_own_in_one_directory() {
    let parties = Parties::new();
    let directory = parties.path("0");
    assert_eq!(mode(&directory), 0o700);
    let names =
        ["agreement.key", "certificate.key", "identity.age", "party-0.public.json", "reshare.toml"];
    assert_eq!(names_in(&directory), names);
    names.iter().for_each(|name| assert_eq!(mode(&directory.join(name)), 0o600, "{name}"));
    // Each file is what the settings say, and no two parties have one key.
    let keys = ["agreement.key", "certificate.key", "identity.age"];
    for key in keys {
        assert_ne!(parties.read(&format!("0/{key}")), parties.read(&format!("1/{key}")), "{key}");
    }
    let shown = parties.run_as("0", &["config", "show", "--json", "send"]).ends_with(0).report();
    for (key, value) in [("party_id", "0"), ("agreement_key", "file:agreement.key")] {
        let settings = shown["settings"].as_array().expect("a list");
        let setting = settings.iter().find(|setting| setting["key"] == key).expect(key);
        assert_eq!((&setting["value"], &setting["source"]), (&value.into(), &"file".into()));
    }
    for (file, said) in [
        ("agreement.key", "private key of a sender"),
        ("identity.age", "identity of a receiver"),
        ("party-0.public.json", "public file of a party"),
    ] {
        let described = parties.run(&["inspect", &format!("0/{file}")]).ends_with(0).stdout;
        assert!(described.contains(said), "{described}");
    }
    let described = parties.run(&["inspect", "--json", &parties.public("0")]).ends_with(0).report();
    let key = parties.run(&["inspect", "--json", "0/agreement.key"]).ends_with(0).report();
    assert_eq!(described["agreement key sha256"], key["sha256"]);
    assert_eq!(described["name"], "spiffe://mpc.example/0");
    // Nothing secret is in what travels.
    let public = parties.read(&parties.public("0"));
    assert!(!public.contains("PRIVATE") && !public.contains("AGE-SECRET"), "{public}");
}

#[test]
fn a_party_is_made_whole_or_not_at_all_and_never_twice() {
    let parties = Parties::new();
    let before = files_in(parties.0.path());
    parties.init("0", "0").ends_with(2).says(&["0 is not empty", "hint: a party is made once"]);
    parties.init("0/reshare.toml", "0").ends_with(2).says(&["reshare.toml"]);
    parties.init("other", "15").ends_with(2).says(&["party 15"]);
    let bad = ["party", "init", "other", "--party-id", "3", "--name", "*.example"];
    parties.run(&bad).ends_with(2).says(&["certificate name"]);
    assert_eq!(files_in(parties.0.path()), before);
    // What a killed run has left is no part of it.
    fs::create_dir(parties.path(".other.partial")).expect("made");
    fs::write(parties.path(".other.partial/agreement.key"), "half").expect("written");
    fs::create_dir(parties.path("other")).expect("made");
    parties.init("other", "3").ends_with(0);
    assert!(!parties.path(".other.partial").exists());
    assert!(parties.read("other/agreement.key").contains("PRIVATE KEY"));
    // One that cannot be finished leaves nothing.
    fs::write(parties.path("file"), "").expect("written");
    parties.init("file/x", "3").ends_with(2);
    assert!(!names_in(parties.0.path()).iter().any(|name| name.contains("partial")));
}

#[test]
fn a_certificate_is_issued_for_a_request_so_that_no_key_travels() {
    let parties = Parties::new();
    let request = |names: &str, out: &str| {
        let subject =
            ["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc"];
        let (key, names) = (format!("{out}.key"), format!("subjectAltName={names}"));
        let files = ["-keyout", &key, "-out", out, "-subj", "/CN=party", "-addext", &names];
        parties.openssl(&[&subject[..], &files].concat());
    };
    request("URI:spiffe://mpc.example/7", "7.csr");
    let issue = |csr: &str, out: &str, more: &[&str]| {
        parties.run(&[&["pki", "issue", "--ca", "ca", "--csr", csr, "--out", out], more].concat())
    };
    let name = ["--name", "spiffe://mpc.example/7"];
    issue("7.csr", "issued", &name).ends_with(0);
    assert_eq!(names_in(&parties.path("issued")), ["certificate.pem"]);
    parties.openssl(&["verify", "-CAfile", "ca/ca.pem", "issued/certificate.pem"]);
    let of = |command: &str, file: &str| {
        parties.openssl(&[command, "-in", file, "-noout", "-pubkey"]).stdout
    };
    assert_eq!(of("x509", "issued/certificate.pem"), of("req", "7.csr"));
    let shown = parties.run(&["inspect", "--json", "issued/certificate.pem"]).ends_with(0).report();
    assert_eq!(shown["names"], "spiffe://mpc.example/7");
    let shown = parties.run(&["inspect", "7.csr"]).ends_with(0).stdout;
    assert!(shown.contains("request for a certificate"), "{shown}");
    issue("7.csr", "issued", &[]).ends_with(1).says(&["exists already", "hint: nothing is ever"]);
    // What is no request for exactly one party's name.
    let other = ["--name", "spiffe://mpc.example/8"];
    issue("7.csr", "no", &other).ends_with(4).says(&["asks for spiffe://mpc.example/7, not for"]);
    request("URI:spiffe://mpc.example/7,DNS:evil.example", "two.csr");
    issue("two.csr", "no", &[]).ends_with(4).says(&["asks for 2 alternative names"]);
    request("IP:10.0.0.1", "ip.csr");
    issue("ip.csr", "no", &[]).ends_with(4).says(&["neither a URI nor a DNS name"]);
    let changed = parties.read("7.csr").replacen("MI", "MJ", 1);
    fs::write(parties.path("changed.csr"), changed).expect("written");
    issue("changed.csr", "no", &[]).ends_with(4).says(&["--csr changed.csr"]);
    let der = parties.openssl(&["req", "-in", "7.csr", "-outform", "DER", "-out", "7.der"]);
    assert_eq!(der.code, Some(0));
    let mut bytes = fs::read(parties.path("7.der")).expect("read");
    let name = bytes.windows(3).position(|part| part == b"mpc").expect("the name");
    bytes[name] = b'n';
    fs::write(parties.path("forged.der"), bytes).expect("written");
    parties.openssl(&["req", "-in", "forged.der", "-inform", "DER", "-out", "forged.csr"]);
    issue("forged.csr", "no", &[]).ends_with(4).says(&["not signed with its own key"]);
    issue("none.csr", "no", &[]).ends_with(2).says(&["--csr"]);
    issue("7.csr", "no", &["--key-kind", "p384"]).ends_with(2).says(&["cannot be used with"]);
    assert!(!parties.path("no").exists());
}

#[test]
fn a_public_file_that_was_changed_is_refused_by_name() {
    let parties = Parties::new();
    let issue = |files: &[&str]| {
        let files: Vec<&str> = files.iter().flat_map(|file| ["--party", file]).collect();
        parties.run(&[&["pki", "issue", "--ca", "ca", "--out", "no"], &files[..]].concat())
    };
    let text = parties.read(&parties.public("0"));
    let other = parties.read(&parties.public("1"));
    let value = |text: &str, field: &str| {
        let document: serde_json::Value = serde_json::from_str(text).expect("JSON");
        document[field].clone()
    };
    let with = |field: &str, value: serde_json::Value| {
        let mut document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        document[field] = value;
        document.to_string()
    };
    let changed = "it was changed";
    for (text, said) in [
        (with("party", 1.into()), changed),
        (with("party", 15.into()), "party 15"),
        (with("agreement_keys", value(&other, "agreement_keys")), changed),
        (with("recipient", value(&other, "recipient")), changed),
        (with("signature", value(&other, "signature")), changed),
        (with("signature", "?".into()), "not Base64"),
        (with("name", "spiffe://mpc.example/1".into()), "the certificate request asks for"),
        (with("certificate_request", value(&other, "certificate_request")), "asks for"),
        (with("agreement_keys", "no".into()), "agreement_keys"),
        (with("recipient", "age1".into()), "recipient"),
        (with("schema", "other".into()), "other in version 1"),
        (with("version", 2.into()), "in version 2"),
        (with("more", 2.into()), "unknown field"),
        (text[..text.len() / 2].to_owned(), "not what `reshare party init` writes"),
    ] {
        fs::write(parties.path("changed.json"), &text).expect("written");
        let refused = issue(&["changed.json", &parties.public("1")]).ends_with(4);
        refused.says(&["changed.json", said, "hint: give the party-N.public.json"]);
    }
    // Spaces may change on the way.
    fs::write(parties.path("spaced.json"), with("party", 0.into())).expect("written");
    issue(&["spaced.json", &parties.public("0")])
        .ends_with(4)
        .says(&["is given already", "hint: "]);
    parties.init("again", "0").ends_with(0);
    issue(&[&parties.public("0"), "again/party-0.public.json"])
        .ends_with(4)
        .says(&["given already"]);
    issue(&["none.json"]).ends_with(2).says(&["--party"]);
    assert!(!parties.path("no").exists());
}

#[test]
fn public_files_make_certificates_and_a_session() {
    let parties = Parties::new();
    let files = ["0", "1", "2"].map(|party| parties.public(party));
    let files: Vec<&str> = files.iter().flat_map(|file| ["--party", file.as_str()]).collect();
    parties
        .run(&[&["pki", "issue", "--ca", "ca", "--out", "issued"], &files[..]].concat())
        .ends_with(0);
    assert_eq!(names_in(&parties.path("issued")), ["party-0.pem", "party-1.pem", "party-2.pem"]);
    let again = [&["pki", "issue", "--ca", "ca", "--out", "issued"], &files[2..]].concat();
    parties.run(&again).ends_with(1).says(&["party-1.pem exists already"]);
    let new = |out: &str, more: &[&str]| {
        let new = ["session", "new", "--out", out, "--session-id", "run", "--environment", "dev"];
        parties.run(&[&new[..], &["--ca-file", "ca/ca.pem"], more].concat())
    };
    let to_2 = [&files[..], &["--receiver", "2"]].concat();
    let report = new("session.toml", &[&to_2[..], &["--json"]].concat()).ends_with(0).report();
    assert_eq!(report["receiver"], 2, "{report}");
    let session = parties.read("session.toml");
    for party in ["0", "1", "2"] {
        assert!(session.contains(&format!("spiffe://mpc.example/{party}")), "{session}");
    }
    new("no.toml", &[&files[..], &["--receiver", "3"]].concat())
        .ends_with(2)
        .says(&["none of the parties 0, 1, 2"]);
    new("no.toml", &[&files[2..], &["--receiver", "2"]].concat())
        .ends_with(2)
        .says(&["given 2 times"]);
    let both = [&to_2[..], &["--sender", "0=x"]].concat();
    new("no.toml", &both).ends_with(2).says(&["cannot be used with"]);
    assert!(!parties.path("no.toml").exists());
    // The same network, from the same files.
    let network = ["network", "new", "--ca-file", "ca/ca.pem", "--network", "network.toml"];
    parties.run(&[&network[..], &files].concat()).ends_with(0);
    let shown =
        parties.run(&["session", "show", "--session", "session.toml", "--network", "network.toml"]);
    assert!(shown.ends_with(0).stdout.contains("as in network.toml"));
    // Each party needs no flag but what it confirms.
    let fingerprint = report["fingerprint"].as_str().expect("text").to_owned();
    for party in ["0", "2"] {
        for (from, to) in [("session.toml", "session.toml"), ("ca/ca.pem", "ca.pem")] {
            fs::copy(parties.path(from), parties.path(&format!("{party}/{to}"))).expect("copied");
        }
        let issued = parties.path(&format!("issued/party-{party}.pem"));
        fs::copy(issued, parties.path(&format!("{party}/certificate.pem"))).expect("copied");
        let approve = ["session", "approve", "--yes", "--expect-fingerprint", &fingerprint];
        parties.run_as(party, &approve).ends_with(2).says(&["network.toml", "--new-network"]);
        let approved = parties.run_as(party, &[&approve[..], &["--new-network"]].concat());
        approved.ends_with(0).says(&["who is who is now in", "network.toml"]);
        assert_eq!(parties.read(&format!("{party}/network.toml")), parties.read("network.toml"));
        let twice = parties.run_as(party, &[&approve[..], &["--new-network"]].concat());
        twice.ends_with(2).says(&["--new-network is given, but there is a network file"]);
        parties.run_as(party, &approve).ends_with(0);
    }
    // `check` looks at the same settings.
    let ok = |party: &str, role: &[&str]| -> Vec<String> {
        let report = parties.run_as(party, &[&["check", "--json"], role].concat()).report();
        let checks = report["checks"].as_array().expect("a list").iter();
        let ok = checks.filter(|check| check["state"] == "ok");
        ok.map(|check| check["what"].as_str().expect("text").to_owned()).collect()
    };
    let receiver =
        ok("2", &["receiver", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"]);
    for what in ["network", "certificate", "tls", "identity", "inbox"] {
        assert!(receiver.iter().any(|ok| ok == what), "{what}: {receiver:?}");
    }
    let sender = ok("0", &["sender"]);
    for what in ["network", "agreement key", "certificate", "ledger"] {
        assert!(sender.iter().any(|ok| ok == what), "{what}: {sender:?}");
    }
    // The public file of another party is not this one's.
    let other = ["--own-public-key", "../1/party-1.public.json"];
    let approve = ["session", "approve", "--yes", "--expect-fingerprint", &fingerprint];
    let refused = parties.run_as("0", &[&approve[..], &other].concat()).ends_with(4);
    refused.says(&["--own-public-key is party 1's", "hint: give this party's own"]);
}
