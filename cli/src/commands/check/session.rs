//! The session, its fingerprint and its validity.

use reshare_files::timestamp::Timestamp;
use reshare_format::keys::SealKind;
use reshare_format::session::{SessionIds, fingerprint_groups};
use reshare_pipeline::receivers::Acquaintance;

use super::checklist::Checklist;
use crate::args::{NetworkArgs, SessionArgs, StateArgs};
use crate::report;
use crate::setup::context::Context;
use crate::setup::receiver::check_known;
use crate::setup::session::check_fingerprint;

/// Reads the session; nothing else can be checked without it.
pub(super) fn open(list: &mut Checklist, args: &SessionArgs) -> Option<Context> {
    let context = list.take("session", Context::open(args))?;
    let session = &context.session;
    let [lower, higher] = session.senders().map(|sender| sender.party);
    let (id, receiver) = (session.id(), session.receiver().party);
    let ids = match session.ids() {
        SessionIds::Range(range) if range.last() == i64::MAX => {
            format!("ids from {} on", range.first())
        }
        SessionIds::Range(range) => format!("ids {} to {}", range.first(), range.last()),
        SessionIds::List { count, .. } => format!("a list of {count} ids"),
    };
    list.ok("session", format!("{id}: {lower} and {higher} send, {receiver} receives, {ids}"));
    Some(context)
}

/// Says what the seal of the session's parts rests on.
pub(super) fn seal(list: &mut Checklist, context: &Context) {
    const WHAT: &str = "seal";
    match context.session.receiver().recipient.kind() {
        SealKind::Hybrid => list.ok(WHAT, "hybrid: ML-KEM-768 and X25519"),
        SealKind::Classic => list.warning(
            WHAT,
            "classic: the session's recipient is X25519 alone, which a large quantum computer opens",
            "who stores the parts can wait for one: make a session with a hybrid recipient, as \
             `reshare keygen recipient` makes it without --classic",
        ),
    }
}

/// Says what the blinding of both senders rests on.
pub(super) fn blinding(list: &mut Checklist, context: &Context) {
    list.ok("blinding", report::blinding(&context.session));
}

/// Shows the fingerprint, and compares it if that is requested or if nothing else confirms it.
pub(super) fn fingerprint(list: &mut Checklist, context: &Context, expected: Option<&str>) {
    const WHAT: &str = "fingerprint";
    let session = &context.session;
    let fingerprint = session.fingerprint();
    match expected {
        None if session.ca_sha256().is_none() => {
            // Not in a form to be copied: it must come from the other parties.
            let give = "--expect-fingerprint TEXT with what the other operators read to you";
            list.not_checked(WHAT, give);
        }
        None => list.ok(WHAT, fingerprint_groups(&fingerprint)),
        Some(_) => {
            if list.take(WHAT, check_fingerprint(session, expected)).is_some() {
                list.ok(WHAT, format!("{}, as expected", fingerprint_groups(&fingerprint)));
            }
        }
    }
}

/// Checks that the session is valid now.
pub(super) fn period(list: &mut Checklist, context: &Context) {
    const WHAT: &str = "period";
    if list.take(WHAT, context.check_time()).is_some() {
        let session = &context.session;
        let [begin, end] = [session.not_before(), session.not_after()].map(Timestamp::from);
        list.ok(WHAT, format!("from {begin} to {end}"));
    }
}

/// Checks that each party has the number that it has in the network file.
pub(super) fn network(list: &mut Checklist, context: &Context, args: &NetworkArgs) {
    const WHAT: &str = "network";
    match list.take(WHAT, context.check_network(args)) {
        Some(Some(path)) => {
            list.ok(WHAT, format!("all three parties are as in {}", path.display()))
        }
        Some(None) => {
            list.ok(WHAT, "this session uses no certificates, and there is no network file")
        }
        None => {}
    }
}

/// Checks the receiver's number where no network file can: without certificates.
pub(super) fn receiver(
    list: &mut Checklist,
    context: &Context,
    target: Option<u64>,
    state: &StateArgs,
) {
    const WHAT: &str = "receiver's number";
    if context.session.ca_sha256().is_some() {
        return;
    }
    if target.is_none() {
        return list
            .not_checked(WHAT, "--target-party-id PARTY, as the receiver's operator says it");
    }
    let party = context.session.receiver().party;
    let known = list.take(WHAT, check_known(&context.session, target, state, None));
    if let Some(known) = known.flatten() {
        list.ok(
            WHAT,
            match known {
                Acquaintance::NewRecipient => {
                    format!("party {party}'s, with a recipient that is new")
                }
                _ => format!("party {party}'s"),
            },
        );
    }
}
