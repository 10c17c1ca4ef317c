//! Keys against the stock tools: `openssl` and `age-keygen` must be installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::key_schedule::{KeyCheck, KeySchedule, SharedSecret};
use reshare_format::keys::{
    AgreementKey, AgreementKeyError, AgreementKeySource, AgreementPublicKey, PrivateFileError,
    PublicKeyError, SealKind, SourceError, generate_identity, load_identity,
};
use tempfile::TempDir;
use time::OffsetDateTime;

fn scratch() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// Runs a stock tool and returns what it printed.
fn run(program: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(arguments).output();
    let output = output.unwrap_or_else(|error| {
        panic!("cannot run {program} ({error}): it must be installed, run make setup")
    });
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {stderr}");
    output.stdout
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of our own")
}

/// Makes a key with `openssl genpkey`, mode 0600.
fn openssl_key(dir: &TempDir, name: &str, options: &[&str]) -> PathBuf {
    let path = dir.path().join(name);
    let mut arguments = vec!["genpkey", "-out", text(&path), "-algorithm"];
    arguments.extend_from_slice(options);
    run("openssl", &arguments);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("chmod");
    path
}

const P256: [&str; 3] = ["EC", "-pkeyopt", "ec_paramgen_curve:P-256"];

fn refuse(path: &Path) -> AgreementKeyError {
    AgreementKey::load(path).expect_err("must be refused")
}

/// Represents a secret, which cannot be inspected: 16 bytes derived from all of it.
fn key_check(secret: &SharedSecret) -> KeyCheck {
    KeySchedule::derive(secret, "any", &Fingerprint([0; 32])).key_check()
}

#[test]
fn the_shared_secret_is_the_one_that_openssl_derives() {
    let dir = scratch();
    let ours = dir.path().join("ours.pem");
    let mine = AgreementKey::generate_file(&ours).expect("made");
    let theirs = openssl_key(&dir, "theirs.pem", &P256);
    let theirs_public = run("openssl", &["pkey", "-in", text(&theirs), "-pubout"]);
    let theirs_public = String::from_utf8(theirs_public).expect("PEM is text");
    let peer = AgreementPublicKey::from_pem(&theirs_public).expect("a P-256 key");
    let secret = mine.shared_secret(&peer).expect("agreed");

    let ours_public = dir.path().join("ours.pub");
    fs::write(&ours_public, mine.public_key().to_pem()).expect("written");
    let arguments = ["pkeyutl", "-derive", "-inkey", text(&theirs), "-peerkey", text(&ours_public)];
    let theirs_secret = run("openssl", &arguments).try_into().expect("32 bytes");
    assert_eq!(key_check(&SharedSecret::new(theirs_secret)), key_check(&secret));

    let other_side = AgreementKey::load(&theirs).expect("an openssl key works");
    assert_eq!(other_side.public_key(), &peer);
    let other_secret = other_side.shared_secret(mine.public_key()).expect("agreed");
    assert_eq!(key_check(&other_secret), key_check(&secret));
}

#[test]
fn a_generated_key_is_one_that_openssl_reads() {
    let dir = scratch();
    let path = dir.path().join("key.pem");
    let key = AgreementKey::generate_file(&path).expect("made");
    assert_eq!(path.metadata().expect("there").permissions().mode() & 0o7777, 0o600);
    let public = run("openssl", &["pkey", "-in", text(&path), "-pubout"]);
    assert_eq!(public, key.public_key().to_pem().into_bytes());
    let again = AgreementKey::load(&path).expect("read");
    assert_eq!(again.public_key(), key.public_key());
    let refused = AgreementKey::generate_file(&path).expect_err("must not be overwritten");
    assert!(matches!(refused, AgreementKeyError::File(PrivateFileError::Exists { .. })));
}

#[test]
fn keys_of_another_curve_or_sort_are_refused_by_name() {
    let dir = scratch();
    let p384 = openssl_key(&dir, "p384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
    assert!(matches!(refuse(&p384), AgreementKeyError::Curve { curve: "P-384", .. }));
    let p521 = openssl_key(&dir, "p521", &["EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    assert!(matches!(refuse(&p521), AgreementKeyError::Curve { curve: "P-521", .. }));
    for options in
        [&["X25519"][..], &["ED25519"], &["EC", "-pkeyopt", "ec_paramgen_curve:secp256k1"]]
    {
        let path = openssl_key(&dir, options[options.len() - 1], options);
        assert!(matches!(refuse(&path), AgreementKeyError::Invalid { .. }), "{options:?}");
    }
}

#[test]
fn other_forms_of_a_key_file_are_refused() {
    let dir = scratch();
    let key = openssl_key(&dir, "key", &P256);
    let sec1 = openssl_key(&dir, "sec1", &P256);
    fs::write(&sec1, run("openssl", &["ec", "-in", text(&key)])).expect("written");
    let error = refuse(&sec1);
    assert!(matches!(error, AgreementKeyError::Pem { .. }));
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("openssl pkcs8 -topk8"), "{cause}");

    let encrypted = [&P256[..], &["-aes256", "-pass", "pass:x"]].concat();
    let error = refuse(&openssl_key(&dir, "encrypted", &encrypted));
    let cause = std::error::Error::source(&error).expect("a cause").to_string();
    assert!(cause.contains("passphrase"), "{cause}");

    let public = openssl_key(&dir, "public", &P256);
    fs::write(&public, run("openssl", &["pkey", "-in", text(&key), "-pubout"])).expect("written");
    assert!(matches!(refuse(&public), AgreementKeyError::Pem { .. }));

    let twice = openssl_key(&dir, "twice", &P256);
    fs::write(&twice, fs::read_to_string(&key).expect("read").repeat(2)).expect("written");
    assert!(matches!(refuse(&twice), AgreementKeyError::Second { .. }), "no key of ML-KEM-768");
    let both = dir.path().join("both");
    let made = AgreementKey::generate_file(&both).expect("made");
    let read = AgreementKey::load(&both).expect("its own file");
    assert_eq!(read.public_keys(), made.public_keys());
    assert!(made.encapsulation_key().is_some());
    let one = AgreementKey::load(&key).expect("without ML-KEM");
    assert!(one.encapsulation_key().is_none());
    let text = fs::read_to_string(&both).expect("read");
    fs::write(&twice, text.clone() + &text).expect("written");
    assert!(matches!(refuse(&twice), AgreementKeyError::Second { .. }), "four blocks");

    fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("chmod");
    let error = refuse(&key);
    assert!(matches!(error, AgreementKeyError::File(PrivateFileError::Permissions { .. })));
}

#[test]
fn a_key_whose_halves_do_not_belong_together_is_refused() {
    let dir = scratch();
    let key = openssl_key(&dir, "key", &P256);
    let der = dir.path().join("key.der");
    run("openssl", &["pkey", "-in", text(&key), "-outform", "DER", "-out", text(&der)]);
    let mut bytes = fs::read(&der).expect("read");
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&der, bytes).expect("written");
    let base64 = run("openssl", &["base64", "-in", text(&der)]);
    let base64 = String::from_utf8(base64).expect("text");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{base64}-----END PRIVATE KEY-----\n");
    fs::write(&key, pem).expect("written");
    assert!(matches!(refuse(&key), AgreementKeyError::Invalid { .. }));
}

#[test]
fn ones_own_key_is_no_peer() {
    let key = AgreementKey::generate().expect("made");
    let own = *key.public_key();
    assert!(matches!(key.shared_secret(&own), Err(AgreementKeyError::OwnKey)));
}

#[test]
fn public_keys_that_are_no_usual_p256_key_are_refused() {
    let dir = scratch();
    let public = |name: &str, options: &[&str]| {
        let key = openssl_key(&dir, name, options);
        let pem = run("openssl", &["pkey", "-in", text(&key), "-pubout"]);
        AgreementPublicKey::from_pem(&String::from_utf8(pem).expect("text"))
    };
    let p384 = public("p384", &["EC", "-pkeyopt", "ec_paramgen_curve:P-384"]);
    assert_eq!(p384, Err(PublicKeyError::Curve { curve: "P-384" }));
    assert_eq!(public("x25519", &["X25519"]), Err(PublicKeyError::Curve { curve: "X25519" }));
    assert_eq!(public("ed25519", &["ED25519"]), Err(PublicKeyError::Encoding));
    let explicit = [&P256[..], &["-pkeyopt", "ec_param_enc:explicit"]].concat();
    assert_eq!(public("explicit", &explicit), Err(PublicKeyError::Encoding));

    let good = AgreementKey::generate().expect("made");
    let mut der = *good.public_key().as_der();
    assert_eq!(AgreementPublicKey::from_der(&der), Ok(*good.public_key()));
    der[90] ^= 1;
    assert_eq!(AgreementPublicKey::from_der(&der), Err(PublicKeyError::NotOnCurve));
    assert_eq!(AgreementPublicKey::from_der(&der[26..]), Err(PublicKeyError::Encoding));
    assert!(matches!(AgreementPublicKey::from_pem("x"), Err(PublicKeyError::Pem(_))));
}

#[test]
fn debug_and_errors_show_nothing_of_a_private_key() {
    let dir = scratch();
    let path = dir.path().join("key.pem");
    let key = AgreementKey::generate_file(&path).expect("made");
    let file = fs::read_to_string(&path).expect("read");
    let line = file.lines().nth(1).expect("a line of the key");
    assert!(!format!("{key:?}").contains("PrivateKey"));
    fs::write(&path, file.replace("-----END PRIVATE KEY", "-----END OTHER KEY")).expect("written");
    let error = refuse(&path);
    assert!(!format!("{error:?}").contains(&line[..16]));
}

#[test]
fn a_key_is_named_by_file_or_kms_or_by_a_bare_path() {
    let file = |path: &str| Ok(AgreementKeySource::File(path.into()));
    let parse = |text: &str| text.parse::<AgreementKeySource>();
    assert_eq!(parse("file:/keys/a.pem"), file("/keys/a.pem"));
    assert_eq!(parse("keys/a.pem"), file("keys/a.pem"));
    assert_eq!(parse("./odd:name"), file("./odd:name"));
    assert_eq!(parse("file:file:x"), file("file:x"));
    assert_eq!(parse("file:"), Err(SourceError::Empty));
    assert_eq!(parse(""), Err(SourceError::Empty));
    assert_eq!(parse("vault:x"), Err(SourceError::Scheme { scheme: "vault".into() }));
    let arn = "arn:aws:kms:eu-west-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab";
    let kms = parse(&format!("kms:{arn}")).expect("an ARN");
    assert_eq!(kms, AgreementKeySource::Kms(arn.parse().expect("an ARN")));
    assert!(matches!(parse("kms:keys/a.pem"), Err(SourceError::Kms(_))));
    for source in [parse("keys/a.pem").expect("a path"), kms] {
        assert_eq!(source.to_string().parse(), Ok(source));
    }
}

#[test]
fn age_keygen_prints_the_same_classic_recipient() {
    let dir = scratch();
    let path = dir.path().join("identity.txt");
    let created = OffsetDateTime::UNIX_EPOCH;
    let recipient = generate_identity(&path, SealKind::Classic, created).expect("made");
    let printed = run("age-keygen", &["-y", text(&path)]);
    assert_eq!(printed, format!("{recipient}\n").into_bytes());

    let theirs = dir.path().join("theirs.txt");
    run("age-keygen", &["-o", text(&theirs)]);
    let printed = String::from_utf8(run("age-keygen", &["-y", text(&theirs)])).expect("text");
    let identity = load_identity(&theirs).expect("a stock identity file works");
    assert_eq!(format!("{}\n", identity.to_public()), printed);
}
