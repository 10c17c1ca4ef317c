//! The demo's three parties: keys and certificates in files, as operators have them, and their
//! session with its approvals.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_exchange::{Inbox, TlsFiles, TlsIdentity};
use reshare_files::durable;
use reshare_format::keys::certificate::CertificateName;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::keys::pki::{
    CA_CERTIFICATE_NAME, CERTIFICATE_KEY_NAME, CERTIFICATE_NAME, CertificateAuthority, KeyKind,
};
use reshare_format::keys::{
    AgreementKey, EncapsulatedSecret, EncapsulationKey, SealKind, generate_identity, load_identity,
};
use reshare_format::network::Network;
use reshare_format::session::{
    Approval, Approvals, NewSession, Receiver, Sender, Session, SessionIds, SessionTrust,
};
use reshare_pipeline::packages::Packages;
use reshare_pipeline::sender::{Agreed, LedgeredSender, SenderCredentials, SenderKeys};
use time::{Duration, OffsetDateTime};

use crate::failure::Failure;
use crate::setup::ledger::{create_ledger, ledgered};

/// Two senders and a receiver that have agreed on a session.
pub(super) struct Parties {
    pub(super) session: Session,
    directory: PathBuf,
}

impl Parties {
    /// Makes keys and a session in a directory.
    pub(super) fn make(
        senders: &[u64],
        target: u64,
        rows: usize,
        directory: &Path,
    ) -> Result<Self, Failure> {
        let party = |index: u64| match index {
            0..PARTIES => PartyId::try_from(index).map_err(Failure::usage),
            _ => Err(Failure::usage(format!("the demo has parties 0, 1 and 2, not {index}"))),
        };
        let &[first, second] = senders else {
            return Err(Failure::usage("--senders names two parties, as in 0,2"));
        };
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).map_err(Failure::failed)?;
        let identity = directory.join(IDENTITY);
        let recipient =
            generate_identity(&identity, SealKind::Hybrid, now).map_err(Failure::failed)?;
        let year = Duration::days(365);
        let authority = CertificateAuthority::create(
            &directory.join("ca"),
            "demo",
            KeyKind::EcdsaP256,
            year,
            now,
        )
        .map_err(Failure::failed)?;
        let certified = |party: PartyId| {
            let name = name_of(party)?;
            let out = certificate_path(directory, party);
            authority.issue(&out, &name, KeyKind::EcdsaP256, year, now).map_err(Failure::failed)?;
            Ok::<_, Failure>(Some(name))
        };
        let sender = |party: PartyId| {
            let key = AgreementKey::generate_file(&key_path(directory, party));
            let keys = key.map_err(Failure::failed)?.public_keys();
            Ok::<_, Failure>(Sender {
                party,
                certificate_name: certified(party)?,
                agreement_key: keys.agreement,
                encapsulation_key: keys
                    .encapsulation
                    .filter(|_| u64::from(party.index()) == first.min(second)),
            })
        };
        let receiver = party(target)?;
        let end = i64::try_from(rows).ok().and_then(|rows| rows.checked_add(1));
        let ids = SessionIds::from_start_end(1, end)
            .ok_or_else(|| Failure::usage("--rows must be at least 1"))?;
        let session = Session::create(NewSession {
            session_id: "demo".parse().map_err(Failure::failed)?,
            environment: "demo".parse().map_err(Failure::failed)?,
            not_before: now,
            not_after: now + Duration::days(1),
            ids,
            table: "irises".to_owned(),
            id_column: "id".to_owned(),
            layout: Arc::new(RowLayout::iris()),
            max_part_bytes: Session::DEFAULT_MAX_PART_BYTES,
            senders: [sender(party(first)?)?, sender(party(second)?)?],
            receiver: Receiver {
                party: receiver,
                certificate_name: certified(receiver)?,
                recipient,
            },
            shared_key_id: None,
            ca_sha256: Some(*authority.anchor().sha256()),
            server_url: None,
        })
        .map_err(Failure::usage)?;
        let network = network(*authority.anchor().sha256())?;
        network.check(&session).map_err(Failure::refused)?;
        network.write(&directory.join("network.toml")).map_err(Failure::failed)?;
        let encapsulated = session.encapsulation_key().map(EncapsulationKey::encapsulate);
        if let Some(secret) = encapsulated.transpose().map_err(Failure::failed)? {
            let path = directory.join(SECRET);
            secret.write(&path, &session.fingerprint()).map_err(Failure::failed)?;
        }
        durable::write_whole(directory.join("session.toml"), session.to_toml().as_bytes())
            .map_err(Failure::failed)?;
        Ok(Self { session, directory: directory.to_owned() })
    }

    /// The two senders.
    pub(super) fn senders(&self) -> [PartyId; 2] {
        self.session.senders().map(|sender| sender.party)
    }

    /// A sender's key, and its ledger in its own state directory.
    pub(super) fn sender(&self, sender: PartyId) -> Result<LedgeredSender, Failure> {
        let key =
            AgreementKey::load(&key_path(&self.directory, sender)).map_err(Failure::failed)?;
        let kept = self.encapsulated()?;
        // The higher sender has kept it, the lower one takes it out of the other's approval.
        let own = key.decapsulation_key().filter(|_| sender == self.senders()[0]);
        let secret = own.map(|own| own.decapsulate(&kept.ciphertext)).transpose();
        let secret = secret.map_err(Failure::failed)?.unwrap_or(kept);
        let agreed = Agreed { encapsulated: Some(&secret), shared_key: None };
        let keys = SenderKeys::agree(&self.session, &key, agreed).map_err(Failure::failed)?;
        let keys = keys
            .with_credentials(&self.session, self.credentials(sender)?, OffsetDateTime::now_utc())
            .map_err(Failure::refused)?;
        let state = self.directory.join(format!("state-{sender}"));
        create_ledger(&self.session, sender, &state)?;
        ledgered(&self.session, keys, &state, false)
    }

    /// Where a sender's package is.
    pub(super) fn package(&self, sender: PartyId) -> PathBuf {
        self.directory.join(format!("package-{sender}"))
    }

    /// Both packages in the receiver's inbox, as it opens them.
    pub(super) fn packages(&self) -> Result<Arc<Packages>, Failure> {
        let identity = load_identity(&self.identity()).map_err(Failure::failed)?;
        let inbox = self.inbox();
        let directories = self.senders().map(|sender| Inbox::package_path(&inbox, sender));
        let trust = self.trust()?;
        let packages = Packages::open_signed(&self.session, Some(&trust), directories, identity)?;
        Ok(Arc::new(packages))
    }

    /// The file with the receiver's identity, which opens what is sealed for it.
    pub(super) fn identity(&self) -> PathBuf {
        self.directory.join(IDENTITY)
    }

    /// Where the receiver accepts deliveries.
    pub(super) fn inbox(&self) -> PathBuf {
        self.directory.join("inbox")
    }

    /// The authority that all three trust.
    pub(super) fn trust(&self) -> Result<SessionTrust, Failure> {
        let authority = self.directory.join("ca").join(CA_CERTIFICATE_NAME);
        SessionTrust::load(&self.session, &authority).map_err(Failure::refused)
    }

    /// A party's certificate for either end of a connection.
    pub(super) fn tls(&self, party: PartyId) -> Result<TlsIdentity, Failure> {
        let certificates = certificate_path(&self.directory, party);
        let files = TlsFiles {
            certificate: certificates.join(CERTIFICATE_NAME),
            certificate_key: certificates.join(CERTIFICATE_KEY_NAME),
            ca_file: self.directory.join("ca").join(CA_CERTIFICATE_NAME),
        };
        TlsIdentity::load(&files, &self.session).map_err(Failure::refused)
    }

    /// A sender's certificate, and the approvals of the two others.
    fn credentials(&self, sender: PartyId) -> Result<SenderCredentials, Failure> {
        let (trust, now) = (self.trust()?, OffsetDateTime::now_utc());
        let mut approvals = Vec::new();
        for party in self.senders().into_iter().chain([self.session.receiver().party]) {
            let certificate = self.certificate(party)?;
            let encapsulates = Approval::encapsulates(&self.session, party);
            let ciphertext = match encapsulates {
                true => Some(self.encapsulated()?.ciphertext),
                false => None,
            };
            let approval = Approval::sign(&self.session, &trust, &certificate, now, ciphertext);
            approvals.push(approval.map_err(Failure::refused)?);
        }
        let approvals = Approvals::verify(&self.session, &trust, sender, &approvals, now);
        let approvals = approvals.map_err(Failure::refused)?;
        Ok(SenderCredentials { trust, certificate: self.certificate(sender)?, approvals })
    }

    /// What the higher sender has encapsulated.
    fn encapsulated(&self) -> Result<EncapsulatedSecret, Failure> {
        let path = self.directory.join(SECRET);
        EncapsulatedSecret::load(&path, &self.session.fingerprint()).map_err(Failure::failed)
    }

    fn certificate(&self, party: PartyId) -> Result<PartyCertificate, Failure> {
        let certificates = certificate_path(&self.directory, party);
        let key = certificates.join(CERTIFICATE_KEY_NAME);
        PartyCertificate::load(&certificates.join(CERTIFICATE_NAME), &key).map_err(Failure::failed)
    }
}

const IDENTITY: &str = "receiver.age";
const SECRET: &str = "encapsulated.secret";

/// The demo's parties are 0, 1 and 2.
const PARTIES: u64 = 3;

/// Who is who: what each party would keep as its network file.
fn network(ca_sha256: [u8; 32]) -> Result<Network, Failure> {
    let mut network = Network::new(ca_sha256);
    for index in 0..PARTIES {
        let party = PartyId::try_from(index).map_err(Failure::failed)?;
        network.add(party, name_of(party)?).map_err(Failure::refused)?;
    }
    Ok(network)
}

fn name_of(party: PartyId) -> Result<CertificateName, Failure> {
    format!("spiffe://demo/{party}").parse().map_err(Failure::failed)
}

fn key_path(directory: &Path, sender: PartyId) -> PathBuf {
    directory.join(format!("sender-{sender}.key"))
}

fn certificate_path(directory: &Path, party: PartyId) -> PathBuf {
    directory.join(format!("certificate-{party}"))
}
