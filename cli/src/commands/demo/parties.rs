//! The demo's three parties: keys in files, as operators have them, and their session.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_io::durable;
use reshare_io::keys::{AgreementKey, generate_identity, load_identity};
use reshare_io::pipeline::packages::Packages;
use reshare_io::pipeline::sender::{LedgeredSender, SenderKeys};
use reshare_io::session::{NewSession, Receiver, Sender, Session, SessionIds};
use time::{Duration, OffsetDateTime};

use crate::commands::ledger::{create_ledger, ledgered};
use crate::exit::Failure;

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
            0..3 => PartyId::try_from(index).map_err(Failure::usage),
            _ => Err(Failure::usage(format!("the demo has parties 0, 1 and 2, not {index}"))),
        };
        let &[first, second] = senders else {
            return Err(Failure::usage("--senders names two parties, as in 0,2"));
        };
        let sender = |party: PartyId| {
            let key = AgreementKey::generate_file(&key_path(directory, party));
            let agreement_key = *key.map_err(Failure::failed)?.public_key();
            Ok::<_, Failure>(Sender { party, certificate_name: None, agreement_key })
        };
        let now = OffsetDateTime::now_utc().replace_nanosecond(0).map_err(Failure::failed)?;
        let recipient =
            generate_identity(&directory.join(IDENTITY), now).map_err(Failure::failed)?;
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
            receiver: Receiver { party: party(target)?, certificate_name: None, recipient },
            ca_sha256: None,
            server_url: None,
        })
        .map_err(Failure::usage)?;
        durable::write_whole(directory.join("session.toml"), session.to_toml().as_bytes())
            .map_err(Failure::failed)?;
        Ok(Self { session, directory: directory.to_owned() })
    }

    /// The two senders.
    pub(super) fn senders(&self) -> [PartyId; 2] {
        self.session.senders().map(|sender| sender.party)
    }

    /// What a sender blinds with: its key, and its ledger in a state directory of its own.
    pub(super) fn sender(&self, sender: PartyId) -> Result<LedgeredSender, Failure> {
        let key =
            AgreementKey::load(&key_path(&self.directory, sender)).map_err(Failure::failed)?;
        let keys = SenderKeys::agree(&self.session, &key).map_err(Failure::failed)?;
        let state = self.directory.join(format!("state-{sender}"));
        create_ledger(&self.session, sender, &state)?;
        ledgered(&self.session, keys, &state)
    }

    /// Where a sender's package lies.
    pub(super) fn package(&self, sender: PartyId) -> PathBuf {
        self.directory.join(format!("package-{sender}"))
    }

    /// Both packages, as the receiver opens them.
    pub(super) fn packages(&self) -> Result<Arc<Packages>, Failure> {
        let identity = load_identity(&self.directory.join(IDENTITY)).map_err(Failure::failed)?;
        let directories = self.senders().map(|sender| self.package(sender));
        Ok(Arc::new(Packages::open(&self.session, directories, identity)?))
    }
}

const IDENTITY: &str = "receiver.age";

fn key_path(directory: &Path, sender: PartyId) -> PathBuf {
    directory.join(format!("sender-{sender}.key"))
}
