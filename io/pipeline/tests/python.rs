//! The format page against the program: `fixtures/python/check_row.py` is written from
//! docs/format.md alone and must produce the same bytes.

use std::path::{Path, PathBuf};
use std::process::Command;

use reshare_engine::agreed_secrets::{AgreedSecrets, Encapsulated};
use reshare_engine::blind::Blinder;
use reshare_engine::key_schedule::{KeySchedule, SharedSecret};
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::AgreeValue;
use reshare_format::keys::{Ciphertext, EncapsulationKey};
use reshare_format::session::{IdList, Session, SessionIds};
use serde::Deserialize;
use serde_json::{Value, json};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The interpreter with the packages that the format checks need.
fn interpreter() -> PathBuf {
    let named = std::env::var_os("RESHARE_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or_else(|| workspace().join("target/python-env/bin/python"));
    assert!(python.exists(), "{} is missing: run make setup", python.display());
    python
}

/// Runs `check_row.py` and returns the last line it printed.
fn check_row(arguments: &[&Path]) -> String {
    let script = workspace().join("fixtures/python/check_row.py");
    let output = Command::new(interpreter()).arg(script).args(arguments).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run Python ({error}): run make setup"));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "check_row.py failed, is make setup up to date? {stderr}");
    String::from_utf8(output.stdout).expect("text").trim_end().to_owned()
}

fn vector(name: &str) -> PathBuf {
    workspace().join("fixtures/vectors/session").join(name)
}

#[test]
fn python_comes_to_the_fingerprint_of_each_session_file() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for name in ["session.toml", "list.toml"] {
        let session = Session::load(&vector(name)).expect("valid");
        let printed = dir.path().join(name);
        std::fs::write(&printed, session.to_toml()).expect("written");
        for path in [&vector(name), &printed] {
            let fingerprint = check_row(&[Path::new("fingerprint"), path]);
            assert_eq!(fingerprint, session.fingerprint().to_string(), "{}", path.display());
        }
    }
}

#[test]
fn python_comes_to_the_digest_of_a_list_of_ids() {
    let path = vector("ids.txt");
    let list = IdList::load(&path).expect("valid");
    let SessionIds::List { digest, .. } = list.session_ids() else { panic!("a list") };
    assert_eq!(check_row(&[Path::new("list"), &path]), hex::encode(digest));
}

/// What `check_row.py row` prints.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct BlindedRow {
    blinded: Vec<String>,
    row_check: String,
    key_check: String,
    content_tag: String,
}

/// Bytes without a pattern, the same in every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// What the senders have agreed on.
struct Secrets {
    ecdh: [u8; 32],
    /// The secret of ML-KEM and its ciphertext.
    encapsulated: Option<([u8; 32], Vec<u8>)>,
    shared_key: Option<[u8; 32]>,
}

/// One row of a golden session, blinded by the program.
fn blind(session: &Session, secrets: &Secrets, sender: PartyId, row: &Row) -> BlindedRow {
    let other = session.other_sender(sender).expect("a sender").party;
    let fingerprint = session.fingerprint();
    let secret = |bytes: &[u8; 32]| SharedSecret::new(*bytes);
    let ml_kem = secrets.encapsulated.as_ref().map(|(secret_bytes, _)| secret(secret_bytes));
    let public_key = session.encapsulation_key().map(EncapsulationKey::to_der).unwrap_or_default();
    let encapsulated = secrets.encapsulated.as_ref().zip(ml_kem.as_ref());
    let encapsulated = encapsulated.map(|((_, ciphertext), secret)| Encapsulated {
        secret,
        public_key: &public_key,
        ciphertext,
    });
    let shared_key = secrets.shared_key.as_ref().map(secret);
    let agreed = AgreedSecrets {
        ecdh: &secret(&secrets.ecdh),
        agreement_keys: session.senders().map(|sender| &sender.agreement_key.as_der()[..]),
        encapsulated,
        shared_key: shared_key.as_ref(),
    };
    let agreed = agreed.combine(&fingerprint);
    let keys = KeySchedule::derive(&agreed, session.id().as_str(), &fingerprint);
    let receiver = session.receiver().party;
    let blinder = Blinder::new(&keys, &fingerprint, sender, other, receiver).expect("they differ");
    let mut batch = RowBatch::with_capacity(session.layout().clone(), 1);
    let shares: Vec<&[u8]> = row.shares.iter().map(Vec::as_slice).collect();
    batch.push_bytes(row.id, &row.agree, &shares).expect("fits");
    let mut tags = Vec::new();
    blinder.tag_and_blind_in_place(&mut batch, &mut tags).expect("blinded");
    let rows = batch.rows();
    BlindedRow {
        blinded: rows.share_row(0).map(|s| hex::encode(bytemuck::cast_slice(s))).collect(),
        row_check: hex::encode(rows.row_checks[0]),
        key_check: keys.key_check().to_string(),
        content_tag: hex::encode(tags[0].0),
    }
}

/// A row as a table has it.
struct Row {
    id: i64,
    agree: Vec<AgreeValue>,
    shares: Vec<Vec<u8>>,
}

/// The same row, blinded by Python.
fn blind_in_python(session: &Path, secrets: &Secrets, parties: [u8; 3], row: &Row) -> BlindedRow {
    let agree = row.agree.iter().map(|value| match value {
        AgreeValue::Null => Value::Null,
        AgreeValue::Integer(value) => json!(value),
        AgreeValue::Uuid(bytes) => json!(hex::encode(bytes)),
    });
    let mut input = json!({
        "session": session,
        "ecdh": hex::encode(secrets.ecdh),
        "sender": parties[0],
        "other": parties[1],
        "receiver": parties[2],
        "id": row.id,
        "agree": agree.collect::<Vec<_>>(),
        "shares": row.shares.iter().map(hex::encode).collect::<Vec<_>>(),
    });
    if let Some((secret, ciphertext)) = &secrets.encapsulated {
        input["ml_kem"] = hex::encode(secret).into();
        input["ciphertext"] = hex::encode(ciphertext).into();
    }
    if let Some(key) = secrets.shared_key {
        input["shared_key"] = hex::encode(key).into();
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("input.json");
    std::fs::write(&path, input.to_string()).expect("written");
    serde_json::from_str(&check_row(&[Path::new("row"), &path])).expect("the row as JSON")
}

#[test]
fn python_blinds_a_row_of_real_size_to_the_same_bytes() {
    let path = vector("session.toml");
    let session = Session::load(&path).expect("valid");
    let ecdh = std::array::from_fn(|byte| 3 * byte as u8);
    let ciphertext = noise(9, Ciphertext::BYTES);
    let both = [None, Some(std::array::from_fn(|byte| 7 * byte as u8))].map(|shared_key| Secrets {
        ecdh,
        encapsulated: Some(([0x77; 32], ciphertext.clone())),
        shared_key,
    });
    let integer = AgreeValue::Integer;
    for (secrets, sender, other, id, agree) in [
        (&both[0], 0, 2, 1, [integer(0), integer(i64::MAX)]),
        (&both[1], 2, 0, -70_000, [AgreeValue::Null, integer(i64::MIN)]),
    ] {
        let columns = session.layout().shares().iter().zip(id as u64..);
        let shares = columns.map(|(column, seed)| noise(seed, 2 * column.len)).collect();
        let row = Row { id, agree: agree.to_vec(), shares };
        let party = PartyId::new(sender).expect("a party");
        let ours = blind(&session, secrets, party, &row);
        let theirs = blind_in_python(&path, secrets, [sender, other, 1], &row);
        assert_eq!(ours, theirs, "sender {sender}");
    }
}

#[test]
fn python_blinds_a_row_with_a_uuid_to_the_same_bytes() {
    let path = vector("list.toml");
    let session = Session::load(&path).expect("valid");
    let secrets = Secrets { ecdh: [0xff; 32], encapsulated: None, shared_key: Some([0x11; 32]) };
    for (sender, other) in [(7, 14), (14, 7)] {
        let agree = vec![AgreeValue::Uuid(std::array::from_fn(|byte| 0xf0 - byte as u8))];
        let row = Row { id: i64::MAX, agree, shares: vec![noise(7, 8)] };
        let party = PartyId::new(sender).expect("a party");
        let ours = blind(&session, &secrets, party, &row);
        let theirs = blind_in_python(&path, &secrets, [sender, other, 0], &row);
        assert_eq!(ours, theirs, "sender {sender}");
    }
}
