//! Signed documents as somebody makes and checks them without the program: by stock `openssl`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::world::World;

/// Whose certificate and key are used.
pub(crate) struct Forger {
    directory: PathBuf,
}

impl Forger {
    pub(crate) fn new(world: &World, directory: &str) -> Self {
        Self { directory: world.path(directory) }
    }

    /// A document with this statement, signed in a context.
    pub(crate) fn sign(&self, context: &str, statement: &str) -> String {
        let signed = self.write("signed", &message(context, statement));
        let key = self.directory.join("certificate.key").display().to_string();
        let signature = openssl(&["dgst", "-sha256", "-sign", &key, &signed]);
        let chain = fs::read_to_string(self.directory.join("certificate.pem")).expect("a chain");
        let (signature, chain) = (json!(STANDARD.encode(signature)), json!(chain));
        format!("{{\"statement\":{statement},\"signature\":{signature},\"chain\":{chain}}}\n")
    }

    /// What openssl says of a document's signature.
    pub(crate) fn verify(&self, context: &str, document: &str) -> String {
        let (statement, _) = document.split_once(",\"signature\":").expect("a signature");
        let statement = statement.strip_prefix("{\"statement\":").expect("a statement");
        let fields: Value = serde_json::from_str(document).expect("JSON");
        let signature = STANDARD.decode(fields["signature"].as_str().expect("text"));
        let signature = self.write("signature", &signature.expect("Base64"));
        let chain = fields["chain"].as_str().expect("text");
        let chain = self.write("chain", chain.as_bytes());
        let key = openssl(&["x509", "-in", &chain, "-noout", "-pubkey"]);
        let (key, signed) =
            (self.write("key", &key), self.write("signed", &message(context, statement)));
        let said =
            openssl(&["dgst", "-sha256", "-verify", &key, "-signature", &signature, &signed]);
        String::from_utf8(said).expect("UTF-8")
    }

    /// A moment so far from now, as the documents write it.
    pub(crate) fn moment(&self, from_now: &str) -> String {
        let date =
            Command::new("date").args(["-u", "-d", from_now, "+%Y-%m-%dT%H:%M:%SZ"]).output();
        String::from_utf8(date.expect("date").stdout).expect("UTF-8").trim().to_owned()
    }

    fn write(&self, name: &str, bytes: &[u8]) -> String {
        let path = self.directory.join(name);
        fs::write(&path, bytes).expect("written");
        path.display().to_string()
    }
}

fn message(context: &str, statement: &str) -> Vec<u8> {
    [b"reshare/v1/", context.as_bytes(), b"\0", statement.as_bytes()].concat()
}

fn openssl(arguments: &[&str]) -> Vec<u8> {
    let out = Command::new("openssl").args(arguments).output();
    let out = out.expect("the openssl command is needed: run `make setup`");
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    out.stdout
}
