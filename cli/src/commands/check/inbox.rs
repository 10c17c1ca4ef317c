//! The receiver's inbox: its content, and whether there is space for more.

use std::path::Path;

use reshare_exchange::{Inbox, InboxDefect, InboxError, InboxFigures};
use reshare_format::session::{Session, SessionIds, SessionTrust};
use reshare_pipeline::preflight::{Filesystem, Place};

use super::checklist::Checklist;
use crate::failure::Failure;
use crate::text::human_bytes;

/// Examines the inbox as `receive` does when it begins.
pub(super) fn check(
    list: &mut Checklist,
    session: &Session,
    trust: &SessionTrust,
    directory: &Path,
    keep_free: u64,
) {
    let examined = Inbox::examine(directory, session, trust).map_err(|error| {
        let hint = inbox_hint(&error);
        Failure::refused(error).hint(hint)
    });
    let examined = list.take("inbox", examined);
    let shown = directory.display();
    match &examined {
        Some(None) => list.ok("inbox", format!("{shown} will be made")),
        Some(Some(figures)) => {
            let said = figures.map(|sender| said(&sender)).join(", ");
            list.ok("inbox", format!("{shown}: {said}"));
        }
        None => {}
    }
    room(list, session, directory, examined.flatten(), keep_free);
}

fn said(figures: &InboxFigures) -> String {
    let InboxFigures { sender, closed, parts, bytes: there } = figures;
    match (closed, parts) {
        (false, 0) => format!("nothing of sender {sender}"),
        (true, _) => format!("the whole package of sender {sender}, {}", human_bytes(*there)),
        (false, _) => format!("{parts} parts of sender {sender}, {}", human_bytes(*there)),
    }
}

fn inbox_hint(error: &InboxError) -> &'static str {
    match error {
        InboxError::InUse { .. } => "a receiver runs already: end it first",
        InboxError::Defect { defect: InboxDefect::Extra, .. } => {
            "move it away: an inbox holds nothing else"
        }
        InboxError::Defect { .. } => "give every session an inbox of its own",
        InboxError::Package { .. } => "let the sender deliver it again, into another inbox",
        _ => "name a directory that this user can write, or that can be made",
    }
}

/// Compares the bytes that may come with the free space.
fn room(
    list: &mut Checklist,
    session: &Session,
    directory: &Path,
    there: Option<[InboxFigures; 2]>,
    keep_free: u64,
) {
    const WHAT: &str = "inbox's disk";
    let place = match Place::of(directory) {
        Ok(place) => place,
        Err(error) => {
            let detail = format!("{} cannot be written: {error}", directory.display());
            return list.not_ok(WHAT, detail, "name a directory that this user can write");
        }
    };
    let free = place.free_bytes.saturating_sub(keep_free);
    let mut detail = format!(
        "{} free in addition to the {} that are kept",
        human_bytes(free),
        human_bytes(keep_free)
    );
    match place.filesystem {
        Filesystem::Local(name) | Filesystem::Network(name) => {
            detail.push_str(&format!(", on {name}"));
        }
        Filesystem::Memory => {
            let hint = "parts that senders know to be durable would be lost in a restart: name a \
                        directory on a disk";
            return list.warning(WHAT, format!("{detail}, in memory"), hint);
        }
    }
    let larger = "name a directory on a larger disk, or make room";
    match needed(session, there) {
        Needed::About(needed) if needed > free => {
            list.not_ok(
                WHAT,
                format!("{detail}; about {} more will come", human_bytes(needed)),
                larger,
            );
        }
        Needed::About(needed) => {
            list.ok(WHAT, format!("{detail}; about {} more will come", human_bytes(needed)));
        }
        Needed::AtMost(needed) if needed <= free => {
            list.ok(WHAT, format!("{detail}; two packages have {} at most", human_bytes(needed)));
        }
        Needed::AtMost(_) | Needed::Unknown => {
            let hint = "`reshare check sender` shows the bytes of one package: there are two";
            list.warning(WHAT, format!("{detail}; how much comes is not known here"), hint);
        }
    }
}

enum Needed {
    About(u64),
    AtMost(u64),
    Unknown,
}

/// Bytes that are still to come: by the package that is complete, or by the session's ids.
fn needed(session: &Session, there: Option<[InboxFigures; 2]>) -> Needed {
    let held = there.map_or(0, |figures| figures.iter().map(|sender| sender.bytes).sum());
    let whole = there.and_then(|figures| {
        figures.iter().filter(|sender| sender.closed).map(|sender| sender.bytes).max()
    });
    if let Some(whole) = whole {
        return Needed::About(whole.saturating_mul(2).saturating_sub(held));
    }
    let ids = match session.ids() {
        SessionIds::Range(range) => range.last().abs_diff(range.first()).checked_add(1),
        SessionIds::List { count, .. } => Some(*count),
    };
    let row = session.layout().row_share_bytes() as u64 + super::delivery::ROW_OVERHEAD_BYTES;
    let both = ids.and_then(|ids| ids.checked_mul(row)?.checked_mul(2));
    both.map_or(Needed::Unknown, |both| Needed::AtMost(both.saturating_sub(held)))
}
