//! A sender's ledger: made where a session is approved, opened by each run.

use std::path::{Path, PathBuf};

use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::evidence::find_evidence;
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::sender::{LedgeredSender, SenderKeys};

use crate::failure::Failure;
use crate::hints::LOST_LEDGER;
use crate::streams::say;

/// Refuses to go on where something shows that a sender had a ledger, and none is here. Changes nothing.
pub(crate) fn check_evidence(
    session: &Session,
    sender: PartyId,
    state_dir: &Path,
    evidence: &[PathBuf],
) -> Result<(), Failure> {
    if Ledger::path_in(state_dir, &session.fingerprint(), sender).exists() {
        return Ok(());
    }
    for path in evidence {
        if let Some(evidence) = find_evidence(session, sender, path)? {
            let error = format!("{} {evidence}: its ledger is not here", path.display());
            return Err(Failure::refused(error).hint(LOST_LEDGER));
        }
    }
    Ok(())
}

/// Makes the ledger with which a sender may blind in a session; `false` when it was there.
///
/// Called where an operator approves a session, and nowhere else.
pub(crate) fn create_ledger(
    session: &Session,
    sender: PartyId,
    state_dir: &Path,
) -> Result<bool, Failure> {
    Ledger::create(state_dir, &session.fingerprint(), sender).map_err(Failure::from)
}

/// Opens the ledger of the sender whose keys these are, or adopts one that was moved here.
pub(crate) fn ledgered(
    session: &Session,
    keys: SenderKeys,
    state_dir: &Path,
    adopt: bool,
) -> Result<LedgeredSender, Failure> {
    let (fingerprint, sender) = (session.fingerprint(), keys.sender());
    let open = if adopt { Ledger::adopt } else { Ledger::open };
    let ledger = open(state_dir, &fingerprint, sender);
    if adopt && let Ok(ledger) = &ledger {
        let path = ledger.path().display();
        say!(
            "note: {path} is at home here now. Rows that another copy of it has blinded since it was \
             copied are not in it: never use that copy again"
        );
    }
    let ledgered = ledger.and_then(|ledger| LedgeredSender::new(session, keys, ledger));
    ledgered.map_err(Failure::from)
}
