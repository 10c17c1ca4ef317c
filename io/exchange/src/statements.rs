//! What the parties of a session state to each other, signed, as far as the receiver has it:
//! approvals and its receipt.
//!
//! A sender leaves its own approval here, and takes the others'. Nothing here is secret, and nobody
//! believes any of it without the signature that is in it: the receiver is only where it is fetched
//! from. It is in memory only, so a sender leaves its approval again until it has the others'.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use reshare_engine::party::PartyId;
use reshare_format::session::{Approval, ApprovalError, Session, SessionTrust};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use tokio::sync::watch;

use super::refusal::Refusal;
use super::slot::Accepted;

/// The statements at a receiver.
pub struct Statements {
    session: Session,
    trust: SessionTrust,
    state: Mutex<State>,
    /// How many senders have fetched the receipt.
    fetched: watch::Sender<usize>,
}

#[derive(Default)]
struct State {
    approvals: BTreeMap<PartyId, String>,
    receipt: Option<String>,
    receipt_follows: bool,
    /// Senders that have fetched the receipt.
    told: Vec<PartyId>,
}

/// What a receiver gives to a sender: the files of other parties, as they were signed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedStatements {
    /// The approvals of other parties.
    pub approvals: Vec<String>,
    /// The receipt, once everything is loaded and compared.
    pub receipt: Option<String>,
    /// Whether the receiver is going to sign one: without it nobody need wait.
    #[serde(default)]
    pub receipt_follows: bool,
}

impl Statements {
    pub(super) fn new(session: &Session, trust: &SessionTrust) -> Self {
        let (session, trust) = (session.clone(), trust.clone());
        Self { session, trust, state: Mutex::default(), fetched: watch::Sender::new(0) }
    }

    /// Gives out an approval: the receiver's own.
    ///
    /// # Errors
    /// An [`ApprovalError`] when it is not of the documented form, or not about this session.
    pub fn publish_approval(&self, bytes: &[u8]) -> Result<(), ApprovalError> {
        let approval = self.verified(bytes)?;
        self.keep(&approval, bytes);
        Ok(())
    }

    /// Says that there is going to be a receipt.
    pub fn promise_receipt(&self) {
        self.state().receipt_follows = true;
    }

    /// Gives out the receipt.
    pub fn publish_receipt(&self, bytes: &[u8]) {
        self.state().receipt = Some(String::from_utf8_lossy(bytes).into_owned());
    }

    /// Waits until both senders have fetched the receipt.
    pub async fn both_have_the_receipt(&self) {
        // The sender of this channel is here: it cannot end first.
        let _ = self.fetched.subscribe().wait_for(|senders| *senders >= 2).await;
    }

    /// Takes the approval of the sender that brings it.
    pub(super) fn take_approval(&self, peer: PartyId, bytes: &[u8]) -> Result<Accepted, Refusal> {
        let approval = self.verified(bytes).map_err(Refusal::Approval)?;
        if approval.party() != peer {
            return Err(Refusal::OtherParty { peer });
        }
        Ok(if self.keep(&approval, bytes) { Accepted::New } else { Accepted::Same })
    }

    /// What a sender gets, as JSON.
    pub(super) fn for_sender(&self, peer: PartyId) -> Vec<u8> {
        let mut state = self.state();
        let others = state.approvals.iter().filter(|(party, _)| **party != peer);
        let approvals = others.map(|(_, text)| text.clone()).collect();
        let (receipt, receipt_follows) = (state.receipt.clone(), state.receipt_follows);
        let given = SignedStatements { approvals, receipt, receipt_follows };
        if given.receipt.is_some() && !state.told.contains(&peer) {
            state.told.push(peer);
            self.fetched.send_replace(state.told.len());
        }
        // Texts alone: there is nothing that JSON cannot write.
        serde_json::to_vec(&given).unwrap_or_default()
    }

    fn verified(&self, bytes: &[u8]) -> Result<Approval, ApprovalError> {
        let approval = Approval::parse(bytes)?;
        approval.verify(&self.session, &self.trust, OffsetDateTime::now_utc())?;
        Ok(approval)
    }

    /// Whether it was not there before.
    fn keep(&self, approval: &Approval, bytes: &[u8]) -> bool {
        let text = String::from_utf8_lossy(bytes).into_owned();
        self.state().approvals.insert(approval.party(), text.clone()) != Some(text)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
