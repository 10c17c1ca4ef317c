//! A session of three parties with certificates.

use std::path::Path;
use std::sync::Arc;

use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::keys::pki::{CA_CERTIFICATE_NAME, CertificateAuthority, KeyKind};
use reshare_format::keys::{AgreementKey, EncapsulatedSecret, Identity, SealKind};
use reshare_format::session::{
    Approval, NewSession, Receiver, Sender, Session, SessionIds, SessionTrust,
};
use reshare_pipeline::sender::{Agreed, SenderKeys};
use time::{Duration, OffsetDateTime};

pub(crate) const NAMES: [&str; 3] =
    ["spiffe://mpc.example/party/0", "spiffe://mpc.example/party/1", "receiver.mpc.example"];

/// Parties 0 and 1 send to party 2.
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) authority: CertificateAuthority,
    pub(crate) session: Session,
    pub(crate) trust: SessionTrust,
    pub(crate) identity: Identity,
    pub(crate) keys: [AgreementKey; 2],
    /// What sender 1 has encapsulated for sender 0.
    pub(crate) encapsulated: EncapsulatedSecret,
}

pub(crate) fn party(index: u8) -> PartyId {
    PartyId::new(index).expect("a party")
}

pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc().replace_nanosecond(0).expect("a moment")
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (ten, old) = (Duration::days(10), now() - Duration::days(5));
        let authority = CertificateAuthority::create(
            &directory.path().join("ca"),
            "test",
            KeyKind::default(),
            ten,
            old,
        )
        .expect("made");
        let identity = Identity::generate(SealKind::Hybrid);
        let keys = [(); 2].map(|()| AgreementKey::generate().expect("made"));
        let session = session(&authority, &identity, &keys);
        let trust = SessionTrust::new(&session, authority.anchor().clone()).expect("its authority");
        let encapsulated = session.encapsulation_key().expect("of sender 0").encapsulate();
        let encapsulated = encapsulated.expect("made");
        Self { directory, authority, session, trust, identity, keys, encapsulated }
    }

    /// A party's approval of the session.
    pub(crate) fn approve(&self, index: usize) -> Approval {
        let ciphertext = (index == 1).then(|| self.encapsulated.ciphertext.clone());
        let certificate = self.certificate(index);
        Approval::sign(&self.session, &self.trust, &certificate, now(), ciphertext).expect("signed")
    }

    /// A sender's keys of the session.
    pub(crate) fn sender_keys(&self, index: usize) -> SenderKeys {
        let agreed = Agreed { encapsulated: Some(&self.encapsulated), shared_key: None };
        SenderKeys::agree(&self.session, &self.keys[index], agreed).expect("a sender")
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn ca_file(&self) -> std::path::PathBuf {
        self.path().join("ca").join(CA_CERTIFICATE_NAME)
    }

    /// A party's certificate, made a day ago for two days.
    pub(crate) fn certificate(&self, index: usize) -> PartyCertificate {
        self.issue(NAMES[index], now() - Duration::days(1), Duration::days(2), KeyKind::EcdsaP256)
    }

    pub(crate) fn issue(
        &self,
        name: &str,
        from: OffsetDateTime,
        lifetime: Duration,
        kind: KeyKind,
    ) -> PartyCertificate {
        let out = tempfile::tempdir_in(self.path()).expect("a directory");
        let name = name.parse().expect("a name");
        let issued = self.authority.issue(out.path(), &name, kind, lifetime, from);
        let issued = issued.expect("issued");
        PartyCertificate::load(&issued.certificate, &issued.key).expect("loaded")
    }

    /// The same session, but for the nonce.
    pub(crate) fn another_session(&self) -> Session {
        session(&self.authority, &self.identity, &self.keys)
    }
}

fn session(
    authority: &CertificateAuthority,
    identity: &Identity,
    keys: &[AgreementKey; 2],
) -> Session {
    let name = |index: usize| Some(NAMES[index].parse().expect("a name"));
    let sender = |index: usize| Sender {
        party: party(index as u8),
        certificate_name: name(index),
        agreement_key: *keys[index].public_key(),
        encapsulation_key: keys[index].encapsulation_key().cloned().filter(|_| index == 0),
    };
    let agree = AgreeColumn { name: "version_id".into(), kind: AgreeKind::Integer };
    let share = ShareColumn { name: "code".into(), len: 16 };
    Session::create(NewSession {
        session_id: "trust".parse().expect("an id"),
        environment: "test".parse().expect("an environment"),
        not_before: now() - Duration::days(3),
        not_after: now() + Duration::days(3),
        ids: SessionIds::from_start_end(1, Some(101)).expect("a range"),
        table: "irises".into(),
        id_column: "id".into(),
        layout: Arc::new(RowLayout::new(vec![agree], vec![share]).expect("a layout")),
        max_part_bytes: Session::DEFAULT_MAX_PART_BYTES,
        senders: [sender(0), sender(1)],
        receiver: Receiver {
            party: party(2),
            certificate_name: name(2),
            recipient: identity.to_public(),
        },
        shared_key_id: None,
        ca_sha256: Some(*authority.anchor().sha256()),
        server_url: None,
    })
    .expect("valid")
}
