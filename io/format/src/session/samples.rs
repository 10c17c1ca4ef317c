//! A session that tests change.

use crate::keys::{AgreementKey, AgreementPublicKeys, Identity, Recipient, SealKind};
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use std::sync::{Arc, OnceLock};
use time::macros::datetime;

use super::{NewSession, Receiver, Sender, Session, SessionIds};

/// Two senders' keys and a recipient, the same for a whole run of tests.
fn public_keys() -> &'static ([AgreementPublicKeys; 2], Recipient) {
    static KEYS: OnceLock<([AgreementPublicKeys; 2], Recipient)> = OnceLock::new();
    KEYS.get_or_init(|| {
        let key = || AgreementKey::generate().expect("made").public_keys();
        ([key(), key()], Identity::generate(SealKind::Hybrid).to_public())
    })
}

/// Parties 0 and 2 send ids 1 to 10,000 of a small table to party 1.
pub(crate) fn facts() -> NewSession {
    let party = |index| PartyId::new(index).expect("a party");
    let name = |name: &str| Some(name.parse().expect("a name"));
    let ([lower, higher], recipient) = public_keys();
    let sender = |index: u8, keys: &AgreementPublicKeys| Sender {
        party: party(index),
        certificate_name: name(&format!("spiffe://mpc.example/party/{index}")),
        agreement_key: keys.agreement,
        encapsulation_key: keys.encapsulation.clone().filter(|_| index == 0),
    };
    let agree = |name: &str, kind| AgreeColumn { name: name.into(), kind };
    let share = |name: &str, len| ShareColumn { name: name.into(), len };
    let layout = RowLayout::new(
        vec![agree("version_id", AgreeKind::Integer), agree("content", AgreeKind::Uuid)],
        vec![share("code", 16), share("mask", 8)],
    );
    NewSession {
        session_id: "session-2026-08-21T00:00:00Z".parse().expect("an id"),
        environment: "prod".parse().expect("an environment"),
        not_before: datetime!(2026-08-21 00:00 UTC),
        not_after: datetime!(2026-09-21 12:30:05 UTC),
        ids: SessionIds::from_start_end(1, Some(10_001)).expect("not empty"),
        table: "irises".into(),
        id_column: "id".into(),
        layout: Arc::new(layout.expect("a layout")),
        max_part_bytes: Session::DEFAULT_MAX_PART_BYTES,
        senders: [sender(0, lower), sender(2, higher)],
        receiver: Receiver {
            party: party(1),
            certificate_name: name("receiver.mpc.example"),
            recipient: recipient.clone(),
        },
        shared_key_id: None,
        ca_sha256: Some([0xca; 32]),
        server_url: Some("https://receiver.mpc.example:8443".into()),
    }
}

/// The session of [`facts`], with a nonce of its own.
pub(crate) fn session() -> Session {
    Session::create(facts()).expect("valid")
}
