//! The receiver's receipt: how `verify` signs it, and how a sender's `purge` reads it.

use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::receipt::{Compared, Receipt, ReceiptError, UnverifiedReceipt, check_signer};
use reshare_format::session::{Session, SessionTrust, StatementError};
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::purge::{NotReceived, Purge, check_ledger};
use time::OffsetDateTime;

use super::credentials::{certificate, trust};
use crate::args::{AuthorityArgs, CertificateArgs, StateArgs};
use crate::failure::Failure;
use crate::hints::{CLOCKS, certificate_hint};

/// What the receiver signs with, found to be fit before anything is compared.
pub(crate) struct ReceiptSigner {
    path: PathBuf,
    trust: SessionTrust,
    certificate: PartyCertificate,
}

impl ReceiptSigner {
    pub(crate) fn open(
        session: &Session,
        path: &Path,
        authority: &AuthorityArgs,
        own: &CertificateArgs,
    ) -> Result<Self, Failure> {
        let trust = trust_of(session, authority)?;
        let certificate = certificate(own)?;
        let now = OffsetDateTime::now_utc();
        check_signer(session, &trust, &certificate, now).map_err(|error| {
            let hint = match &error {
                ReceiptError::Statement(StatementError::Own { source, .. }) => {
                    certificate_hint(source)
                }
                _ => "only the receiver has compared anything: give its certificate and key",
            };
            Failure::refused(error).hint(hint)
        })?;
        let path = path.to_owned();
        Ok(Self { path, trust, certificate })
    }

    /// The receipt, once it is written.
    pub(crate) fn written(&self) -> std::io::Result<Vec<u8>> {
        std::fs::read(&self.path)
    }

    /// Signs what was found equal, and says where.
    pub(crate) fn write(&self, session: &Session, compared: Compared) -> Result<&Path, Failure> {
        let (now, path) = (OffsetDateTime::now_utc(), &self.path);
        let signed =
            UnverifiedReceipt::sign(session, &self.trust, &self.certificate, compared, now);
        let bytes = signed.and_then(|receipt| receipt.to_bytes()).map_err(Failure::refused)?;
        durable::write_whole(path, &bytes).on("write", path).map_err(Failure::failed)?;
        Ok(path)
    }
}

/// What a sender is about to remove, and what its receipt is checked with.
pub(crate) struct Removal<'a> {
    pub(crate) session: &'a Session,
    pub(crate) purge: &'a Purge,
    /// The party that this sender says it is.
    pub(crate) claimed: Option<PartyId>,
    pub(crate) authority: &'a AuthorityArgs,
    pub(crate) state: &'a StateArgs,
    /// What the receipt is checked for.
    pub(crate) aim: Aim,
}

/// What a receipt is checked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Aim {
    /// To find out what it is about.
    Know,
    /// To remove what it is about.
    Remove,
}

impl Aim {
    /// What to do, and that nothing was done so far.
    fn hint(self, text: &str) -> String {
        match self {
            Self::Know => text.to_owned(),
            Self::Remove => format!("{text}; nothing was removed"),
        }
    }
}

/// Reads a receipt, and checks that it is about what is to be removed. Also returns the sender whose ledger it was compared
/// with, if it was.
pub(crate) fn check(
    path: &Path,
    removal: &Removal<'_>,
) -> Result<(Receipt, Option<PartyId>), Failure> {
    let Removal { session, purge, claimed, authority, state, aim } = *removal;
    let trust = trust_of(session, authority)?;
    let receipt = Receipt::load(path, session, &trust, OffsetDateTime::now_utc());
    let receipt = receipt.map_err(|error| {
        let hint = receipt_hint(&error, aim);
        Failure::of(error).hint(hint)
    })?;
    let sender = purge.check_received(&receipt, claimed);
    let sender = sender.map_err(|error| not_received(error, aim))?;
    let sender = match sender {
        None if purge.things().is_empty() && purge.missing().is_empty() => {
            Some(sender_with_ledger(session, &state.directory()?)?)
        }
        sender => sender,
    };
    let of_ledger = sender.filter(|_| !purge.has_package());
    if let Some(sender) = of_ledger {
        let figures = Ledger::glance(&state.directory()?, &session.fingerprint(), sender);
        let figures = figures.map_err(|error| {
            Failure::refused(error).hint(aim.hint(
                "a receipt is checked against this sender's package or its ledger: also name the \
                 package, or give the --state-dir of the ledger",
            ))
        })?;
        let checked = check_ledger(&receipt, sender, &figures.parts);
        checked.map_err(|error| not_received(error, aim))?;
    }
    Ok((receipt, of_ledger))
}

/// The one sender of a session that has a ledger in a state directory.
fn sender_with_ledger(session: &Session, state: &Path) -> Result<PartyId, Failure> {
    let senders = session.senders().map(|sender| sender.party);
    let has_ledger =
        |sender: &PartyId| Ledger::path_in(state, &session.fingerprint(), *sender).is_file();
    let found: Vec<PartyId> = senders.into_iter().filter(has_ledger).collect();
    match found[..] {
        [sender] => Ok(sender),
        _ => {
            let error = format!(
                "{} ledgers of this session are in {}: which sender is this?",
                found.len(),
                state.display()
            );
            Err(Failure::usage(error).hint("give --party-id and the --state-dir of its ledger"))
        }
    }
}

/// The authority of a session that has receipts at all.
fn trust_of(session: &Session, authority: &AuthorityArgs) -> Result<SessionTrust, Failure> {
    if session.ca_sha256().is_some()
        && let Some(trust) = trust(session, authority)?
    {
        return Ok(trust);
    }
    let error = "this session uses no certificates: it has no receipts";
    Err(Failure::usage(error).hint(
        "the operators tell each other that `verify` succeeded, and a sender gives \
         --receiver-verified",
    ))
}

fn receipt_hint(error: &ReceiptError, aim: Aim) -> String {
    let hint = match error {
        ReceiptError::File { source, .. } => return receipt_hint(source, aim),
        ReceiptError::Statement(StatementError::InFuture { .. }) => return CLOCKS.to_owned(),
        ReceiptError::Unreadable(_) if aim == Aim::Remove => "check --receipt",
        ReceiptError::Unreadable(_) => "check the path of the receipt",
        ReceiptError::OtherSession { .. } => {
            "give the receipt of this session, or the session file of that receipt"
        }
        ReceiptError::NotTheReceiver { .. }
        | ReceiptError::OtherSenders { .. }
        | ReceiptError::Statement(StatementError::Signature { .. }) => {
            "nothing shows that the receiver has signed this: ask it"
        }
        ReceiptError::BeforeSession { .. } => "compare both machines' clocks",
        _ => {
            "it is truncated, changed or no receipt: get the file that `reshare verify --receipt` \
             wrote from the receiver again"
        }
    };
    aim.hint(hint)
}

fn not_received(error: NotReceived, aim: Aim) -> Failure {
    let hint = match (&error, aim) {
        (NotReceived::Receivers { .. }, _) => {
            return Failure::refused(error).hint("give --db-url: the record of `verify`");
        }
        (NotReceived::OtherParty { .. } | NotReceived::NoSender { .. }, Aim::Remove) => {
            "each sender removes what is its own"
        }
        (NotReceived::OtherParty { .. } | NotReceived::NoSender { .. }, Aim::Know) => {
            "check --party-id, and name a package of that sender"
        }
        (NotReceived::OtherPackage { .. }, _) => {
            "the receiver has to rebuild from this package and verify it, if it is the one that \
             counts"
        }
        (NotReceived::OtherLedger { .. }, _) => {
            "more was sent since, or the ledger is another one: check --state-dir, or have the \
             receiver verify what was sent last"
        }
        (_, Aim::Remove) => {
            "it holds rows that the receiver does not have: if that is meant, give \
             --receiver-verified"
        }
        (_, Aim::Know) => "it holds rows that the receiver does not have",
    };
    Failure::refused(error).hint(aim.hint(hint))
}
