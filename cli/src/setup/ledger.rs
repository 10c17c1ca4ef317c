//! A sender's ledger: made where a session is approved, opened by each run.

use std::path::Path;

use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::ledger::Ledger;
use reshare_pipeline::sender::{LedgeredSender, SenderKeys};

use crate::failure::Failure;

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

/// Opens the ledger of the sender whose keys these are, in a directory.
pub(crate) fn ledgered(
    session: &Session,
    keys: SenderKeys,
    state_dir: &Path,
) -> Result<LedgeredSender, Failure> {
    let ledger = Ledger::open(state_dir, &session.fingerprint(), keys.sender());
    let ledgered = ledger.and_then(|ledger| LedgeredSender::new(session, keys, ledger));
    ledgered.map_err(Failure::from)
}
