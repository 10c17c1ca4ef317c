//! The fingerprint of a session: BLAKE3 over a length-prefixed encoding of its fields.
//!
//! The encoding is specified in `docs/format.md`, section "Session file and
//! fingerprint". Every field has a name and a length, the fields come in one order, and
//! lists are preceded by their count: two sessions with the same encoding are the same.

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::layout::{AgreeKind, RowLayout};

use super::{NewSession, Receiver, Sender, Session, SessionIds};
use crate::keys::EncapsulationKey;

/// The prefix of every encoding: the program, the version of the encoding, its purpose.
const DOMAIN: &[u8] = b"reshare/v2/session\0";

/// Hashes the facts and the nonce. The senders are already in order.
pub(super) fn of(facts: &NewSession, nonce: &[u8; Session::NONCE_BYTES]) -> Fingerprint {
    let mut encoding = Encoding::new(DOMAIN);
    encoding.number("version", Session::VERSION);
    encoding.field("session_id", facts.session_id.as_str().as_bytes());
    encoding.field("nonce", nonce);
    encoding.field("environment", facts.environment.as_str().as_bytes());
    encoding.integer("not_before", facts.not_before.unix_timestamp());
    encoding.integer("not_after", facts.not_after.unix_timestamp());
    encoding.number("max_part_bytes", facts.max_part_bytes);
    encoding.ids(&facts.ids);
    encoding.field("table.name", facts.table.as_bytes());
    encoding.field("table.id_column", facts.id_column.as_bytes());
    encoding.layout(&facts.layout);
    encoding.number("senders", facts.senders.len() as u64);
    for sender in &facts.senders {
        encoding.sender(sender);
    }
    encoding.receiver(&facts.receiver);
    encoding.optional("trust.ca_sha256", facts.ca_sha256.as_ref().map(<[u8; 32]>::as_slice));
    let shared_key_id = facts.shared_key_id.as_ref().map(|id| id.bytes().as_slice());
    encoding.optional("shared_key_id", shared_key_id);
    encoding.finish()
}

/// The encoding, hashed while it is made.
pub(crate) struct Encoding(blake3::Hasher);

impl Encoding {
    /// Begins with the domain: the program, the version of the encoding, its purpose and a zero
    /// byte.
    pub(crate) fn new(domain: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(domain);
        Self(hasher)
    }

    /// The fingerprint of all fields.
    pub(crate) fn finish(&self) -> Fingerprint {
        Fingerprint(*self.0.finalize().as_bytes())
    }

    /// `length(name) || name || length(value) || value`, lengths as u64 little-endian.
    pub(crate) fn field(&mut self, name: &str, value: &[u8]) {
        for bytes in [name.as_bytes(), value] {
            self.0.update(&(bytes.len() as u64).to_le_bytes());
            self.0.update(bytes);
        }
    }

    pub(crate) fn number(&mut self, name: &str, value: u64) {
        self.field(name, &value.to_le_bytes());
    }

    fn integer(&mut self, name: &str, value: i64) {
        self.field(name, &value.to_le_bytes());
    }

    /// A byte 0 for an absent value, or a byte 1 and the value.
    fn optional(&mut self, name: &str, value: Option<&[u8]>) {
        let mut flagged = vec![u8::from(value.is_some())];
        flagged.extend_from_slice(value.unwrap_or_default());
        self.field(name, &flagged);
    }

    fn ids(&mut self, ids: &SessionIds) {
        match ids {
            SessionIds::Range(range) => {
                self.field("ids", b"range");
                self.integer("ids.first", range.first());
                self.integer("ids.last", range.last());
            }
            SessionIds::List { digest, count } => {
                self.field("ids", b"list");
                self.field("ids.list_blake3", digest);
                self.number("ids.list_count", *count);
            }
        }
    }

    fn layout(&mut self, layout: &RowLayout) {
        self.number("table.agree", layout.agree().len() as u64);
        for column in layout.agree() {
            self.field("column", column.name.as_bytes());
            self.field("kind", kind_name(column.kind).as_bytes());
        }
        self.number("table.share", layout.shares().len() as u64);
        for column in layout.shares() {
            self.field("column", column.name.as_bytes());
            self.number("len_u16", column.len as u64);
        }
    }

    fn sender(&mut self, sender: &Sender) {
        let name = sender.certificate_name.as_ref();
        self.number("party", u64::from(sender.party.index()));
        self.optional("certificate_name", name.map(|name| name.as_str().as_bytes()));
        self.field("agreement_key", sender.agreement_key.as_der());
        let key = sender.encapsulation_key.as_ref().map(EncapsulationKey::to_der);
        self.optional("encapsulation_key", key.as_deref());
    }

    fn receiver(&mut self, receiver: &Receiver) {
        let name = receiver.certificate_name.as_ref();
        self.number("receiver.party", u64::from(receiver.party.index()));
        self.optional("receiver.certificate_name", name.map(|name| name.as_str().as_bytes()));
        self.field("receiver.age_recipient", receiver.recipient.to_string().as_bytes());
    }
}

/// The name of a kind of agree column, in the file and in the encoding.
pub(super) fn kind_name(kind: AgreeKind) -> &'static str {
    match kind {
        AgreeKind::Integer => "integer",
        AgreeKind::Uuid => "uuid",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use reshare_engine::layout::{AgreeColumn, ShareColumn};
    use reshare_engine::party::PartyId;
    use reshare_files::ids::IdRange;
    use time::Duration;
    use time::macros::datetime;

    use super::*;
    use crate::keys::{
        AgreementKey, AgreementPublicKey, DecapsulationKey, Identity, SealKind, SharedKey,
    };
    use crate::session::samples;

    type Change = fn(&mut NewSession);

    /// Changes every single fact, and pairs of facts that a careless encoding would confuse.
    const CHANGES: [Change; 43] = [
        |_| {},
        |facts| facts.session_id = "session-2026-08-21T00:00:00z".parse().expect("an id"),
        |facts| facts.environment = "pro".parse().expect("an environment"),
        |facts| facts.not_before += Duration::seconds(1),
        |facts| facts.not_after += Duration::seconds(1),
        |facts| facts.not_before = datetime!(1970-01-01 00:00 UTC),
        |facts| facts.max_part_bytes += 1,
        |facts| facts.ids = range(2, 10_000),
        |facts| facts.ids = range(1, 9_999),
        |facts| facts.ids = range(1, i64::MAX),
        |facts| facts.ids = range(i64::MIN, i64::MAX),
        |facts| facts.ids = SessionIds::List { digest: [0; 32], count: 1 },
        |facts| facts.ids = SessionIds::List { digest: [0; 32], count: 2 },
        |facts| facts.ids = SessionIds::List { digest: [1; 32], count: 1 },
        |facts| facts.table = "irises2".into(),
        |facts| (facts.table, facts.id_column) = ("irisesi".into(), "d".into()),
        |facts| (facts.table, facts.id_column) = ("irise".into(), "sid".into()),
        |facts| facts.id_column = "row_id".into(),
        |facts| change_layout(facts, |agree, _| agree[0].name.push('x')),
        |facts| change_layout(facts, |agree, _| agree[0].kind = AgreeKind::Uuid),
        |facts| change_layout(facts, |agree, _| agree.swap(0, 1)),
        |facts| change_layout(facts, |agree, _| agree.truncate(1)),
        |facts| change_layout(facts, |agree, _| agree.clear()),
        |facts| change_layout(facts, |_, shares| shares[1].name.push('x')),
        |facts| change_layout(facts, |_, shares| shares[1].len = 12),
        |facts| change_layout(facts, |_, shares| shares.swap(0, 1)),
        |facts| change_layout(facts, |_, shares| shares.truncate(1)),
        |facts| {
            change_layout(facts, |agree, shares| {
                let name = agree.remove(1).name;
                shares.insert(0, ShareColumn { name, len: 16 });
            })
        },
        |facts| {
            let [lower, higher] = &mut facts.senders;
            lower.party = party(3);
            higher.encapsulation_key = lower.encapsulation_key.take();
        },
        |facts| facts.senders[1].party = party(3),
        |facts| facts.receiver.party = party(3),
        |facts| {
            let [lower, higher] = &mut facts.senders;
            std::mem::swap(&mut lower.agreement_key, &mut higher.agreement_key);
        },
        |facts| facts.senders[0].agreement_key = other_key(),
        |facts| facts.senders[1].agreement_key = other_key(),
        |facts| {
            let [lower, higher] = &mut facts.senders;
            std::mem::swap(&mut lower.certificate_name, &mut higher.certificate_name);
        },
        |facts| facts.senders[0].certificate_name = Some("a.example".parse().expect("a name")),
        |facts| facts.receiver.certificate_name = Some("a.example".parse().expect("a name")),
        |facts| facts.receiver.recipient = Identity::generate(SealKind::Hybrid).to_public(),
        |facts| facts.ca_sha256 = Some([0xcb; 32]),
        |facts| {
            facts.ca_sha256 = None;
            facts.receiver.certificate_name = None;
            facts.senders.iter_mut().for_each(|sender| sender.certificate_name = None);
            facts.senders[0].encapsulation_key = None;
            facts.shared_key_id = Some(SharedKey::new([3; 32]).id());
        },
        |facts| facts.shared_key_id = Some(SharedKey::new([3; 32]).id()),
        |facts| {
            facts.senders[0].encapsulation_key = None;
            facts.shared_key_id = Some(SharedKey::new([3; 32]).id());
        },
        |facts| {
            let other = DecapsulationKey::generate().expect("made");
            facts.senders[0].encapsulation_key = Some(other.public_key().clone());
        },
    ];

    fn party(index: u8) -> PartyId {
        PartyId::new(index).expect("a party")
    }

    fn range(first: i64, last: i64) -> SessionIds {
        SessionIds::Range(IdRange::new(first, last).expect("in order"))
    }

    fn other_key() -> AgreementPublicKey {
        *AgreementKey::generate().expect("made").public_key()
    }

    fn change_layout(
        facts: &mut NewSession,
        change: fn(&mut Vec<AgreeColumn>, &mut Vec<ShareColumn>),
    ) {
        let (mut agree, mut shares) =
            (facts.layout.agree().to_vec(), facts.layout.shares().to_vec());
        change(&mut agree, &mut shares);
        facts.layout = Arc::new(RowLayout::new(agree, shares).expect("a layout"));
    }

    #[test]
    fn every_fact_changes_the_fingerprint_in_its_own_way() {
        let mut seen = HashMap::new();
        for (index, change) in CHANGES.iter().enumerate() {
            let mut facts = samples::facts();
            change(&mut facts);
            let session = Session::with_nonce(facts, [7; 32]).expect("valid");
            let again = Session::parse(&session.to_toml()).expect("valid");
            assert_eq!(again, session, "change {index}");
            let earlier = seen.insert(session.fingerprint(), index);
            assert_eq!(earlier, None, "change {index} has the fingerprint of another one");
        }
        let nonce = Session::with_nonce(samples::facts(), [8; 32]).expect("valid");
        assert!(!seen.contains_key(&nonce.fingerprint()));
    }

    #[test]
    fn where_the_receiver_listens_does_not_matter() {
        let mut facts = samples::facts();
        let with = Session::with_nonce(facts.clone(), [7; 32]).expect("valid");
        facts.server_url = None;
        let without = Session::with_nonce(facts, [7; 32]).expect("valid");
        assert_eq!(with.fingerprint(), without.fingerprint());
        assert_ne!(with, without);
    }
}
