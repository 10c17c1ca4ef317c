//! The hybrid seal against others: the published vectors of age, and a stock age that knows it.

use std::fs;
use std::io::Read;
use std::iter;
use std::path::{Path, PathBuf};
use std::process::Command;

use age_core::secrecy::ExposeSecret;
use aws_lc_rs::digest::{SHA256, digest};
use reshare_format::keys::{
    Identity, SealKind, load_identity, parse_recipient, read_private, write_private,
};
use reshare_format::package::{Compression, seal_part_to};

use crate::common::*;
use crate::part::Bench;

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// One published vector.
struct Vector {
    name: String,
    /// `KEY: VALUE` lines.
    head: String,
    /// An age file.
    file: Vec<u8>,
}

impl Vector {
    fn all() -> Vec<Self> {
        let entries = fs::read_dir(workspace().join("fixtures/vectors/age")).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        paths.filter(|path| path.extension().is_none()).map(|path| Self::load(&path)).collect()
    }

    fn load(path: &Path) -> Self {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(path).unwrap();
        let end = bytes.windows(2).position(|pair| pair == b"\n\n").unwrap();
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Self { name, head, file: bytes[end + 2..].to_vec() }
    }

    fn value(&self, key: &str) -> &str {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(name, _)| *name == key).map(|(_, value)| value).unwrap()
    }

    /// The identity, from a file as an operator has it.
    fn identity(&self) -> Identity {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("identity");
        write_private(&path, &format!("{}\n", self.value("identity"))).unwrap();
        load_identity(&path).unwrap()
    }

    /// The payload, or the reader's verdict in the words of `expect`.
    fn opened(&self) -> Result<Vec<u8>, &'static str> {
        let identity = self.identity();
        assert_eq!(identity.to_public().kind(), SealKind::Hybrid);
        let verdict = |error| match error {
            age::DecryptError::NoMatchingKeys => "no match",
            age::DecryptError::InvalidMac => "HMAC failure",
            age::DecryptError::InvalidHeader
            | age::DecryptError::UnknownFormat
            | age::DecryptError::Io(_) => "header failure",
            other => panic!("{}: {other}", self.name),
        };
        let decryptor = age::Decryptor::new_buffered(&self.file[..]).map_err(verdict)?;
        let identities = iter::once(&identity as &dyn age::Identity);
        let mut payload = Vec::new();
        decryptor
            .decrypt(identities)
            .map_err(verdict)?
            .read_to_end(&mut payload)
            .map_err(|_| "payload failure")?;
        Ok(payload)
    }
}

#[test]
fn each_published_vector_is_judged_as_its_authors_say() {
    let vectors = Vector::all();
    assert_eq!(vectors.len(), 16);
    for vector in &vectors {
        match vector.opened() {
            Ok(payload) => {
                assert_eq!(vector.value("expect"), "success", "{}", vector.name);
                let digest = hex::encode(digest(&SHA256, &payload));
                assert_eq!(digest, vector.value("payload"), "{}", vector.name);
            }
            Err(verdict) => assert_eq!(verdict, vector.value("expect"), "{}", vector.name),
        }
    }
    let successes = vectors.iter().filter(|vector| vector.value("expect") == "success");
    assert_eq!(successes.count(), 3);
}

/// Runs the stock age, and returns the lines that it printed.
fn stock_age(arguments: &[&str]) -> Vec<String> {
    let environment = workspace().join("target/node-env");
    let node = environment.join("bin/node");
    assert!(node.exists(), "{} is missing: run `make setup`", node.display());
    let script = workspace().join("fixtures/node/age.mjs");
    let out = Command::new(&node).arg(script).arg(&environment).args(arguments).output();
    let out = out.unwrap_or_else(|error| panic!("cannot run {}: {error}", node.display()));
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "age {}, is make setup up to date? {stderr}", arguments[0]);
    String::from_utf8(out.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn a_stock_age_opens_our_parts_and_seals_parts_that_we_open() {
    let bench = Bench::new(&small_layout());
    let identity = bench.identity.to_secret_string();
    let recipient = bench.identity.to_public();
    let [sealed, opened, theirs] =
        ["sealed", "opened", "theirs"].map(|name| bench.directory.path().join(name));
    let [sealed, opened, theirs] =
        [&sealed, &opened, &theirs].map(|path| path.to_str().unwrap().to_owned());

    assert_eq!(stock_age(&["recipient", identity.expose_secret()]), [recipient.to_string()]);

    let batch = rows_of(&bench.session.layout, &crate::part::IDS, true);
    let spec = bench.spec(5);
    let (bytes, _) =
        seal_part_to(Vec::new(), &spec, &batch.rows(), &recipient, Compression::Auto).unwrap();
    fs::write(&sealed, &bytes).unwrap();
    stock_age(&["open", identity.expose_secret(), &sealed, &opened]);
    let compressed = fs::read(&opened).unwrap();
    assert!(zstd::decode_all(&compressed[..]).unwrap() == bench.plain());

    stock_age(&["seal", &recipient.to_string(), &opened, &theirs]);
    let theirs = fs::read(&theirs).unwrap();
    assert!(theirs != bytes, "sealed again");
    let rows = bench.open(&bench.listed(&theirs, 5)).unwrap();
    assert_eq!(rows.rows().ids, batch.rows().ids);
}

#[test]
fn an_identity_of_a_stock_age_is_read_with_the_same_recipient() {
    let made = stock_age(&["keygen"]);
    let [identity, recipient] = &made[..] else { panic!("two lines") };
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("identity");
    write_private(&path, &format!("# theirs\n{identity}\n")).unwrap();
    assert!(read_private(&path).unwrap().contains(identity.as_str()));
    let loaded = load_identity(&path).unwrap();
    assert_eq!(loaded.to_public().to_string(), *recipient);
    assert_eq!(loaded.to_public(), parse_recipient(recipient).unwrap());
    assert_eq!(loaded.to_secret_string().expose_secret(), identity);
}
