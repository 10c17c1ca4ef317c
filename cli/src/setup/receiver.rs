//! Who receives in a session without certificates: its number is what the operator says, and what
//! this party's state directory remembers.

use reshare_engine::party::PartyId;
use reshare_format::session::Session;
use reshare_pipeline::receivers::{
    Acquaintance, Receivers, ReceiversDefect, ReceiversError, UnknownReceiver,
};

use crate::args::StateArgs;
use crate::failure::Failure;

/// Checks that the receiver of a session without certificates is the party that the operator says,
/// and no party under a second number. A session with certificates is compared with the network
/// file instead.
///
/// `new_party` is the number that the operator says is a new party's.
pub(crate) fn check_known(
    session: &Session,
    target: Option<u64>,
    state: &StateArgs,
    new_party: Option<PartyId>,
) -> Result<Option<Acquaintance>, Failure> {
    if session.ca_sha256().is_some() {
        return Ok(None);
    }
    check_target(session, target)?;
    let receivers = load(state)?;
    receivers.check(session, new_party).map(Some).map_err(unknown)
}

/// Checks that a sender has the number it had in all earlier sessions without certificates.
pub(crate) fn check_own(session: &Session, own: PartyId, state: &StateArgs) -> Result<(), Failure> {
    if session.ca_sha256().is_some() {
        return Ok(());
    }
    load(state)?.check_own(own).map_err(unknown)
}

/// Has a sender's state directory remember who receives.
pub(crate) fn remember(session: &Session, own: PartyId, state: &StateArgs) -> Result<(), Failure> {
    load(state)?.record(session, own).map_err(receivers_failure)
}

/// Compares the receiver's number with the operator's, which cannot be left out here.
fn check_target(session: &Session, target: Option<u64>) -> Result<(), Failure> {
    let Some(target) = target else {
        let error = "this session uses no certificates: --target-party-id is needed";
        return Err(Failure::usage(error).hint(
            "give the number of the party that receives, as its operator says it and not as the \
             session file does: under another number it would get shares at a second evaluation \
             point",
        ));
    };
    let target = PartyId::try_from(target).map_err(Failure::usage)?;
    session.check_receiver(target).map_err(|error| {
        Failure::refused(error).hint(
            "do not approve this session and do not send in it: under another number the receiver \
             would get shares at a second evaluation point. Ask the operator who made it",
        )
    })
}

fn load(state: &StateArgs) -> Result<Receivers, Failure> {
    Receivers::load(&state.directory()?).map_err(receivers_failure)
}

fn receivers_failure(error: ReceiversError) -> Failure {
    let hint = match &error.defect {
        ReceiversDefect::Permissions { .. } => "chmod 600",
        ReceiversDefect::Io(_) => "check the disk and the permissions of the state directory",
        _ => {
            "it says which number each receiver has had: find out who changed it. Without it each \
             receiver has to be confirmed again with `reshare session approve --new-party`"
        }
    };
    Failure::of(error).hint(hint)
}

fn unknown(error: UnknownReceiver) -> Failure {
    let hint = match &error {
        UnknownReceiver::NeverSeen { party } => format!(
            "if party {party} receives for the first time, and its operator has read the \
             fingerprint to you, run `reshare session approve` with --new-party {party}, once"
        ),
        UnknownReceiver::SecondNumber { party, known } => format!(
            "do not send: this is how party {known} would get everything. Ask the operators of \
             both parties; only if the recipient was party {party}'s all along, run `reshare \
             session approve` with --new-party {party}, once"
        ),
        _ => {
            "do not approve this session; parties on one machine need a --state-dir each".to_owned()
        }
    };
    Failure::refused(error).hint(hint)
}
