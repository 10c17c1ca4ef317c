//! Who may send: a certificate says it, on the wire and on removable media.

use std::fs;
use std::process::Command;

use super::agreed::ids_in;
use super::waiting::{receiver, send_certified};
use crate::network;
use reshare_fixtures::network::{Network, Run, Running};

/// There the number in the request is believed.
#[test]
fn no_one_else_passes_for_a_sender() {
    let network = network();
    network.certify();
    let stranger = ["pki", "issue", "--ca", "ca", "--name", "spiffe://mpc.example/7", "--out"];
    network.run(&[&stranger[..], &["certificate-7"]].concat()).ends_with(0);
    for sender in [0, 1] {
        send_certified(&network, sender, &["--to", &format!("p{sender}")]).ends_with(0);
    }
    let mut running = Running::start(&mut receiver(&network));
    let address = running.address();
    let server = format!("https://{address}");
    // This program does not even knock with a certificate that is not the sender's own.
    for thief in ["1", "2", "7"] {
        let upload = ["upload", "p0", "--session", "certified.toml", "--server-url", &server];
        let refused = network.run_as(thief, &upload).ends_with(4);
        refused.says(&["must have the name spiffe://mpc.example/0", "hint: "]);
    }
    // Whoever knocks with another program is turned away at the door, or at the package.
    let knock = |who: &str| {
        let [certificate, key] =
            ["pem", "key"].map(|end| format!("certificate-{who}/certificate.{end}"));
        let url = format!("{server}/v1/sessions/certified/parties/0/manifest");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--insecure", "-T", "p0/manifest.json", &url]);
        curl.args(["--cert", &certificate, "--key", &key]).current_dir(network.directory());
        curl.output().expect("curl: run `make setup`")
    };
    assert!(!knock("7").status.success());
    running.says(&["connection refused", "not-a-sender", "names=spiffe://mpc.example/7"]);
    let answer = String::from_utf8(knock("1").stdout).expect("UTF-8");
    assert!(answer.starts_with("{\"error\":\"other-party\""), "{answer}");
    running.says(&["request refused", "other-party", "sender=1", "parties/0/manifest"]);
    assert!(!network.path("inbox/sender-0/manifest.json").exists());
    // On removable media the signature says it.
    for forger in ["7", "1"] {
        sign(&network, "p0", forger);
        let refused = rebuild(&network).ends_with(4);
        let name = format!("spiffe://mpc.example/{forger}");
        refused.says(&["signature is not accepted as sender 0's", &name, "hint: "]);
        assert_eq!(ids_in(&network, &network.target, 2), [0; 0]);
    }
    sign(&network, "p0", "0");
    rebuild(&network).ends_with(0);
}

/// Signs a package's manifest again, as FORMAT.md has it, with a party's key.
fn sign(network: &Network, package: &str, who: &str) {
    let manifest = fs::read(network.path(package).join("manifest.json")).expect("a manifest");
    let signed = [b"reshare/v1/manifest\0", manifest.as_slice()].concat();
    fs::write(network.path("signed.bin"), signed).expect("written");
    let key = format!("certificate-{who}/certificate.key");
    let mut sign = Command::new("openssl");
    sign.args(["pkeyutl", "-sign", "-rawin", "-in", "signed.bin", "-inkey", &key]);
    sign.args(["-digest", "sha256", "-out"]).arg(format!("{package}/manifest.sig"));
    let out = sign.current_dir(network.directory()).output().expect("openssl: run `make setup`");
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    let chain = network.path(&format!("certificate-{who}/certificate.pem"));
    fs::copy(chain, network.path(package).join("manifest-chain.pem")).expect("copied");
}

fn rebuild(network: &Network) -> Run {
    let flags = ["--package", "p0", "--package", "p1", "--identity", "r.age"];
    let rebuild = ["rebuild", "--session", "certified.toml", "--db-url", &network.target];
    network.run_as("2", &[&rebuild[..], &flags].concat())
}
