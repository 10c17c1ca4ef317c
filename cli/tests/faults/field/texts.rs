//! Files that went through editors, mail and other systems, and what each file is.

use std::fs;
use std::path::Path;

use reshare_fixtures::network::{Network, Run, Setup};

use crate::RESHARE;

const BYTE_ORDER_MARK: &str = "\u{feff}";

fn world() -> Network {
    Setup::certified(RESHARE).rows(9).make()
}

fn change(path: &Path, how: impl Fn(&str) -> String) {
    let text = fs::read_to_string(path).expect("text");
    fs::write(path, how(&text)).expect("written");
}

fn send(world: &Network, party: usize) -> Run {
    world.run_as(["0", "1"][party], &world.sender_flags(party).command("send"))
}

#[test]
fn a_byte_order_mark_and_line_ends_of_another_system_are_passed_over_in_every_text() {
    let world = world();
    let windows = |text: &str| format!("{BYTE_ORDER_MARK}{}", text.replace('\n', "\r\n"));
    for name in [
        "session.toml",
        "0.key",
        "1.key",
        "r.age",
        "network.toml",
        "approval-0.json",
        "approval-1.json",
        "approval-2.json",
        "ca/ca.pem",
        "certificate-0/certificate.pem",
        "certificate-0/certificate.key",
    ] {
        change(&world.path(name), windows);
    }
    send(&world, 0).ends_with(0);
    // A mail program cut the last line's end off.
    for name in ["approval-0.json", "approval-2.json"] {
        change(&world.path(name), |text| text.trim_end().to_owned());
    }
    send(&world, 1).ends_with(0);
    let rebuild = ["rebuild", "--session", "session.toml", "--identity", "r.age", "--json"];
    let packages = ["--package", "package-0", "--package", "package-1", "--db-url", &world.target];
    let rebuilt = world.run_as("2", &[&rebuild[..], &packages].concat()).ends_with(0);
    assert_eq!(rebuilt.number("rows"), 9);
    // What is signed is still what counts.
    change(&world.path("approval-2.json"), |text| text.replacen("\":", "\": ", 1));
    send(&world, 1).ends_with(4).says(&["canonical"]);
}

#[test]
fn public_keys_and_lists_of_ids_may_have_a_byte_order_mark() {
    let world = Setup::of(RESHARE).without_databases().make();
    for name in ["0.pub", "1.pub", "2.pub"] {
        change(&world.path(name), |text| {
            format!("{BYTE_ORDER_MARK}{}", text.replace('\n', "\r\n"))
        });
    }
    fs::write(world.path("ids"), format!("{BYTE_ORDER_MARK}1\r\n5\r\n7")).expect("written");
    let new = ["session", "new", "--session-id", "n", "--environment", "dev", "--out", "n.toml"];
    let parties = ["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", "2=2.pub"];
    let more = ["--ids-from", "ids", "--shared-key-id", &world.shared_key_id()];
    let made = world.run(&[&new[..], &parties, &more].concat()).ends_with(0);
    assert!(made.stdout.contains("3 from a list"), "{}", made.stdout);
}

#[test]
fn inspect_says_of_every_file_what_it_is() {
    let world = world();
    send(&world, 0).ends_with(0);
    let ledger = format!("state-0/{}/ledger-0", world.fingerprint);
    let secret = format!("state-1/{}/secret-1", world.fingerprint);
    for (path, words) in [
        ("session.toml", &["session: ", &world.fingerprint, "senders          0, 1"][..]),
        ("approval-0.json", &["approval (as it claims", "party            0"]),
        ("network.toml", &["network file", "spiffe://mpc.example/1"]),
        ("0.pub", &["public key of a sender", "P-256", "ml-kem-768 sha256"]),
        ("approval-1.json", &["ciphertext       for the session's key of ML-KEM-768"]),
        ("shared.key", &["key of both senders", &world.shared_key_id()]),
        (&secret, &["has encapsulated for the other one: keep it secret"]),
        ("0.key", &["private key of a sender", "keep it secret"]),
        ("2.pub", &["public key of a receiver", "hybrid"]),
        ("r.age", &["identity of a receiver", "keep it secret"]),
        ("ca/ca.pem", &["certificate"]),
        ("certificate-0/certificate.pem", &["certificate", "spiffe://mpc.example/0"]),
        (&ledger, &["ledger of a sender", "rows blinded     9"]),
        ("package-0", &["package"]),
        ("package-0/part-000000.age", &["sealed file", "recipient        hybrid"]),
    ] {
        let shown = world.run(&["inspect", path]).ends_with(0).stdout;
        for word in words {
            assert!(shown.contains(word), "{path}: {word:?} is not in: {shown}");
        }
        let json = world.run(&["inspect", "--json", path]).ends_with(0).report();
        assert!(json["what"].is_string(), "{path}: {json}");
        let secret = fs::read_to_string(world.path("0.key")).expect("text");
        let secret = secret.lines().nth(1).expect("a line");
        assert!(!shown.contains(secret), "{path}");
    }
    fs::write(world.path("notes"), "bread, butter\n").expect("written");
    world.run(&["inspect", "notes"]).ends_with(4).says(&["inspect knows every file"]);
}

#[test]
fn an_authority_that_constrains_uri_names_is_refused_where_the_session_is_made() {
    let world = Setup::of(RESHARE).without_databases().make();
    let openssl = |more: &str| {
        let mut command = std::process::Command::new("openssl");
        command.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]);
        command
            .args(["-noenc", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=a", "-addext"]);
        command.args(["basicConstraints=critical,CA:TRUE", "-addext", more]);
        let made = command.current_dir(world.directory()).output().expect("openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    let new = |file: &str, names: [&str; 3]| {
        let network = format!("{file}.network");
        let names = names.iter().flat_map(|name| ["--certificate-name", name]);
        let names: Vec<&str> = names.collect();
        let with = ["--ca-file", "ca.pem", "--network", &network];
        let made = world.run(&[&["network", "new"], &with[..], &names].concat());
        let session =
            ["session", "new", "--session-id", "n", "--environment", "dev", "--out", file];
        let parties = ["--sender", "0=0.pub", "--sender", "1=1.pub", "--receiver", "2=2.pub"];
        (made, world.run(&[&session[..], &parties, &with, &names].concat()))
    };
    let uris = ["0=spiffe://mpc.example/0", "1=spiffe://mpc.example/1", "2=spiffe://mpc.example/2"];
    let hosts = ["0=a.mpc.example", "1=b.mpc.example", "2=c.mpc.example"];
    for constraint in ["permitted;URI:mpc.example", "excluded;URI:other.example"] {
        openssl(&format!("nameConstraints=critical,{constraint}"));
        let (network, _) = new("uris.toml", uris);
        network.ends_with(4).says(&["constrains URI names", "hint: give the parties DNS names"]);
        assert!(!world.path("uris.toml").exists());
    }
    let (network, session) = new("hosts.toml", hosts);
    network.ends_with(0);
    session.ends_with(0);
    openssl("nameConstraints=critical,permitted;DNS:mpc.example");
    let (network, session) = new("free.toml", uris);
    network.ends_with(0);
    session.ends_with(0);
    // The same authority file under a network file that was made before.
    openssl("nameConstraints=critical,permitted;URI:mpc.example");
    let (_, session) = new("free2.toml", uris);
    session.ends_with(4).says(&["constrains URI names"]);
}
