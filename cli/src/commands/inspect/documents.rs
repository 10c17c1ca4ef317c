//! What `inspect` says of the small files of a session: as they claim, nothing is verified.

use std::path::Path;

use reshare_files::file_error::OnFile;
use reshare_files::input_file::{read_input, without_bom};
use reshare_format::keys::certificate::{CertificateRequest, names_in};
use reshare_format::keys::{
    AgreementKey, AgreementPublicKeys, DecapsulationKey, SharedKey, load_identity, parse_recipient,
};
use reshare_format::network::Network;
use reshare_format::party::PublicParty;
use reshare_format::session::{Session, SessionIds};
use reshare_pipeline::ledger::Ledger;
use serde_json::{Value, json};

use super::cannot_read;
use crate::failure::Failure;
use crate::setup::network::network_failure;

/// The largest of these files: sessions and statements are smaller.
const MOST_BYTES: u64 = 1 << 20;

/// What every ledger begins with.
const LEDGER_MAGIC: &[u8] = b"rshledg\0";

/// A description of the file; `None` where it is none of these.
pub(super) fn describe(path: &Path) -> Result<Option<Value>, Failure> {
    let bytes = read_input(path, MOST_BYTES).on("read", path).map_err(cannot_read)?;
    if bytes.starts_with(LEDGER_MAGIC) {
        return ledger(path).map(Some);
    }
    if bytes.len() as u64 > MOST_BYTES {
        return Ok(None);
    }
    let Ok(text) = std::str::from_utf8(without_bom(&bytes)) else { return Ok(None) };
    if let Some(described) = signed(text) {
        return Ok(Some(described));
    }
    if is_public_party(text) {
        return public_party(path).map(Some);
    }
    if let Some(described) = key(path, text)? {
        return Ok(Some(described));
    }
    let has = |key: &str| text.lines().any(|line| line.trim() == key);
    Ok(match () {
        () if has("[[parties]]") => Some(network(path)?),
        () if has("[table]") && has("[receiver]") => Some(session(path)?),
        () => None,
    })
}

fn ledger(path: &Path) -> Result<Value, Failure> {
    let (fingerprint, sender, figures) = Ledger::describe(path)?;
    let parts = figures.parts.iter().filter(|part| part.rows > 0);
    Ok(json!({
        "what": "ledger of a sender: read without its lock",
        "session": fingerprint.to_string(),
        "sender": sender.index(),
        "rows blinded": figures.rows_blinded,
        "parts": parts.clone().count(),
        "rows": parts.map(|part| part.rows).sum::<u64>(),
    }))
}

/// An approval or a receipt: a statement in JSON with its signature.
fn signed(text: &str) -> Option<Value> {
    let document: Value = serde_json::from_str(text).ok()?;
    let statement = document.get("statement")?.as_object()?;
    let what = match statement.get("format")?.as_str()? {
        format if format.starts_with("reshare-approval/") => "approval",
        format if format.starts_with("reshare-receipt/") => "receipt",
        _ => return None,
    };
    let mut described = serde_json::Map::new();
    let claim = format!("{what} (as it claims; its signature is not verified here)");
    described.insert("what".to_owned(), claim.into());
    for (name, value) in statement.iter().filter(|(name, _)| *name != "format") {
        let name = if name == "fingerprint" { "session" } else { name };
        let value = match name {
            "ciphertext" => "for the session's key of ML-KEM-768".into(),
            _ => value.clone(),
        };
        described.insert(name.replace('_', " "), value);
    }
    Some(described.into())
}

fn is_public_party(text: &str) -> bool {
    let document: Option<Value> = serde_json::from_str(text).ok();
    document.is_some_and(|document| document["schema"] == PublicParty::SCHEMA)
}

/// What a party gives to the others.
fn public_party(path: &Path) -> Result<Value, Failure> {
    let public = PublicParty::load(path).map_err(Failure::of)?;
    let keys = agreement("", public.agreement_keys());
    Ok(json!({
        "what": "public file of a party, signed with the key of the certificate that it requests",
        "party": public.party().index(),
        "name": public.name().to_string(),
        "agreement key sha256": keys["sha256"],
        "ml-kem-768 sha256": keys["ml-kem-768 sha256"],
        "recipient": public.recipient().kind().to_string(),
        "recipient sha256": hex::encode(public.recipient().sha256()),
        "fingerprint": public.fingerprint().to_string(),
    }))
}

/// A key, public or private; of a private one only its public half is shown.
fn key(path: &Path, text: &str) -> Result<Option<Value>, Failure> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let has_line = |begin: &str| text.lines().any(|line| line.trim().starts_with(begin));
    Ok(Some(match () {
        () if first.starts_with("age1") => {
            let recipient = parse_recipient(text.trim()).map_err(Failure::refused)?;
            json!({
                "what": "public key of a receiver (age recipient)",
                "kind": recipient.kind().to_string(),
                "sha256": hex::encode(recipient.sha256()),
            })
        }
        () if first == "-----BEGIN PUBLIC KEY-----" => {
            let keys = AgreementPublicKeys::from_pem(text).map_err(Failure::refused)?;
            agreement("public key of a sender (agreement key)", &keys)
        }
        () if first == "-----BEGIN PRIVATE KEY-----" => match AgreementKey::load(path) {
            Ok(key) => agreement(
                "private key of a sender (agreement key): keep it secret",
                &key.public_keys(),
            ),
            Err(_) => match DecapsulationKey::load(path) {
                Ok(key) => json!({
                    "what": "private key of a sender (ML-KEM-768 alone): keep it secret",
                    "ml-kem-768 sha256": hex::encode(key.public_key().sha256()),
                }),
                Err(_) => json!({ "what": "private key, and no agreement key: keep it secret" }),
            },
        },
        () if first == "-----BEGIN RESHARE ENCAPSULATED SECRET-----" => {
            json!({ "what": "what a sender has encapsulated for the other one: keep it secret" })
        }
        () if first.len() == SHARED_KEY_CHARS => match SharedKey::load(path) {
            Ok(key) => json!({
                "what": "key of both senders: keep it secret",
                "id": key.id().to_string(),
            }),
            Err(_) => return Ok(None),
        },
        () if first == "-----BEGIN CERTIFICATE-----" => certificate(text)?,
        () if first == "-----BEGIN CERTIFICATE REQUEST-----" => {
            let request = CertificateRequest::from_pem(text).map_err(Failure::refused)?;
            json!({
                "what": "request for a certificate, signed with its own key",
                "name": request.name().to_string(),
            })
        }
        () if has_line("AGE-SECRET-KEY-") => {
            let identity =
                load_identity(path).map_err(|error| Failure::of_file(error, "the path"))?;
            let recipient = identity.to_public();
            json!({
                "what": "identity of a receiver (age): keep it secret",
                "kind": recipient.kind().to_string(),
                "recipient sha256": hex::encode(recipient.sha256()),
            })
        }
        () => return Ok(None),
    }))
}

/// The Base64 of 32 bytes.
const SHARED_KEY_CHARS: usize = 44;

/// The keys of a sender, by their public halves.
fn agreement(what: &str, keys: &AgreementPublicKeys) -> Value {
    let ml_kem = keys.encapsulation.as_ref().map(|key| hex::encode(key.sha256()));
    json!({
        "what": what,
        "curve": "P-256",
        "sha256": hex::encode(keys.agreement.sha256()),
        "ml-kem-768 sha256": ml_kem.unwrap_or_else(|| "none".to_owned()),
    })
}

fn certificate(text: &str) -> Result<Value, Failure> {
    let chain = reshare_format::keys::certificate::CertificateChain::from_pem(text.as_bytes());
    let chain = chain.map_err(Failure::refused)?;
    let names = names_in(chain.leaf()).map_err(Failure::refused)?;
    let until =
        reshare_format::keys::certificate::not_after(chain.leaf()).map_err(Failure::refused)?;
    Ok(json!({
        "what": "certificate (its authority is not verified here)",
        "names": names.join(", "),
        "valid until": reshare_files::timestamp::Timestamp::from(until).to_string(),
        "certificates": 1 + chain.intermediates().len(),
    }))
}

fn network(path: &Path) -> Result<Value, Failure> {
    let network = Network::load(path).map_err(network_failure)?;
    let parties = network
        .parties()
        .map(|(party, name)| json!({ "party": party.index(), "name": name.to_string() }));
    Ok(json!({
        "what": "network file: `reshare network show` shows its fingerprint in words too",
        "fingerprint": network.fingerprint().to_string(),
        "authority": hex::encode(network.ca_sha256()),
        "party": parties.collect::<Vec<_>>(),
    }))
}

fn session(path: &Path) -> Result<Value, Failure> {
    let session = Session::load(path).map_err(Failure::of)?;
    let senders = session.senders().map(|sender| sender.party.to_string());
    let ids = match session.ids() {
        SessionIds::Range(range) => range.to_string(),
        SessionIds::List { count, .. } => format!("{count} from a list"),
    };
    Ok(json!({
        "what": "session: `reshare session show` shows all of it",
        "session id": session.id().as_str(),
        "session": session.fingerprint().to_string(),
        "environment": session.environment().as_str(),
        "senders": senders.join(", "),
        "receiver": session.receiver().party.index(),
        "table": session.table(),
        "ids": ids,
    }))
}
