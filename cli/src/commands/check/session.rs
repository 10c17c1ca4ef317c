//! The session, its fingerprint and its validity.

use reshare_files::timestamp::Timestamp;
use reshare_format::session::SessionIds;

use super::checklist::Checklist;
use crate::args::SessionArgs;
use crate::setup::context::Context;
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

/// Shows the fingerprint, and compares it if that is requested or if nothing else confirms it.
pub(super) fn fingerprint(list: &mut Checklist, context: &Context, expected: Option<&str>) {
    const WHAT: &str = "fingerprint";
    let session = &context.session;
    let fingerprint = session.fingerprint();
    match expected {
        None if session.ca_sha256().is_none() => {
            // Not in a form to be copied: it must come from the other parties.
            let give = "--expect-fingerprint HEX with what the other operators read to you";
            list.not_checked(WHAT, give);
        }
        None => list.ok(WHAT, fingerprint.to_string()),
        Some(_) => {
            if list.take(WHAT, check_fingerprint(session, expected)).is_some() {
                list.ok(WHAT, format!("{fingerprint}, as expected"));
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
