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

/// Makes the ledger with which a sender may blind in a session; `false` when it was there.
///
/// Called where an operator approves a session, and nowhere else. `evidence` is what may show that
/// the sender had a ledger before.
pub(crate) fn create_ledger(
    session: &Session,
    sender: PartyId,
    state_dir: &Path,
    evidence: &[PathBuf],
) -> Result<bool, Failure> {
    let fingerprint = session.fingerprint();
    if !Ledger::path_in(state_dir, &fingerprint, sender).exists() {
        for path in evidence {
            if let Some(evidence) = find_evidence(session, sender, path)? {
                let error = format!("{} {evidence}: its ledger is not here", path.display());
                return Err(Failure::refused(error).hint(LOST_LEDGER));
            }
        }
    }
    Ledger::create(state_dir, &fingerprint, sender).map_err(Failure::from)
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
