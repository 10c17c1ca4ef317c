//! Two senders, their session, and clients of the throw-away KMS.

use std::sync::{Arc, LazyLock};

use aws_config::{BehaviorVersion, ConfigLoader};
use aws_sdk_kms::Client;
use aws_sdk_kms::config::{Credentials, Region};
use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::key_schedule::{KeyCheck, KeySchedule, SharedSecret};
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use reshare_fixtures::kms::{REGION, ThrowAwayKms};
use reshare_format::keys::{AgreementPublicKey, Identity, KmsKeyId, SealKind, SharedKey};
use reshare_format::session::{NewSession, Receiver, Sender, Session, SessionIds};
use reshare_kms::{KmsError, KmsKey};
use time::macros::datetime;

static KMS: LazyLock<ThrowAwayKms> =
    LazyLock::new(|| ThrowAwayKms::start().unwrap_or_else(|error| panic!("{error}")));

/// The settings for an endpoint, independent of this machine's environment.
pub(crate) fn settings(endpoint_url: &str) -> ConfigLoader {
    aws_config::defaults(BehaviorVersion::latest())
        .endpoint_url(endpoint_url)
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
}

/// The settings for the throw-away KMS.
pub(crate) fn localstack() -> ConfigLoader {
    settings(&KMS.endpoint_url())
}

/// A client of the throw-away KMS, for keys that the program never creates.
pub(crate) async fn raw_client() -> Client {
    Client::new(&localstack().load().await)
}

pub(crate) async fn new_key() -> KmsKey {
    KmsKey::create_with(localstack(), Some("a test's")).await.expect("made")
}

pub(crate) async fn open(id: &str) -> Result<KmsKey, KmsError> {
    KmsKey::open_with(localstack(), &parse(id)).await
}

pub(crate) fn parse(id: &str) -> KmsKeyId {
    id.parse().expect("a name of a key")
}

/// Represents a secret, which cannot be inspected: 16 bytes derived from all of it.
pub(crate) fn key_check(secret: &SharedSecret) -> KeyCheck {
    KeySchedule::derive(secret, "any", &Fingerprint([0; 32])).key_check()
}

/// The key that both senders have in a file.
pub(crate) fn shared_key() -> SharedKey {
    SharedKey::new([0x5a; 32])
}

/// A session of two senders with these keys.
pub(crate) fn session(keys: [&AgreementPublicKey; 2]) -> Session {
    let party = |index| PartyId::new(index).expect("a party");
    let sender = |index: u8, key: &AgreementPublicKey| Sender {
        party: party(index),
        certificate_name: None,
        agreement_key: *key,
        encapsulation_key: None,
    };
    let layout = RowLayout::new(
        vec![AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer }],
        vec![ShareColumn { name: "code".into(), len: 16 }],
    );
    let recipient = Identity::generate(SealKind::Hybrid).to_public();
    let facts = NewSession {
        session_id: "kms".parse().expect("an id"),
        environment: "dev".parse().expect("an environment"),
        not_before: datetime!(2026-01-01 00:00 UTC),
        not_after: datetime!(2036-01-01 00:00 UTC),
        ids: SessionIds::Range(IdRange::new(1, 100).expect("a range")),
        table: "rows".to_owned(),
        id_column: "id".to_owned(),
        layout: Arc::new(layout.expect("valid")),
        max_part_bytes: Session::DEFAULT_MAX_PART_BYTES,
        senders: [sender(0, keys[0]), sender(1, keys[1])],
        receiver: Receiver { party: party(2), certificate_name: None, recipient },
        shared_key_id: Some(shared_key().id()),
        ca_sha256: None,
        server_url: None,
    };
    Session::create(facts).expect("valid")
}
