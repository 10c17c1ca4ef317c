//! The receiver's inbox: its content, and whether there is space for more.

use std::path::Path;

use reshare_exchange::{Inbox, InboxDefect, InboxError, InboxFigures, Limits};
use reshare_format::session::{Session, SessionIds, SessionTrust};
use reshare_pipeline::preflight::{Filesystem, Place};

use super::checklist::Checklist;
use crate::failure::Failure;
use crate::text::{counted, human_bytes};

/// Examines the inbox as `receive` does when it begins.
pub(super) fn check(
    list: &mut Checklist,
    session: &Session,
    trust: &SessionTrust,
    directory: &Path,
    limits: &Limits,
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
    let there = examined.flatten();
    let held = there.map_or(0, |figures| figures.iter().map(|sender| sender.bytes).sum());
    let both = both_packages(session, there);
    if let Some(limit) = limits.inbox_bytes {
        limit_line(list, limit, &both);
    }
    room(list, directory, both.without(held).within(limits.inbox_bytes), limits.keep_free_bytes);
}

/// Says how far ahead a sender may be while rows are loaded as they arrive, and what would take all
/// of one sender before the other one begins.
fn limit_line(list: &mut Checklist, limit: u64, needed: &Needed) {
    let ahead = human_bytes(limit / 2);
    let mut detail = format!("a sender may be {ahead} ahead of the other one, then it waits");
    match needed {
        Needed::About(both) | Needed::AtMost(both) if *both > limit => detail.push_str(&format!(
            "; --inbox-limit {both} takes all of one sender before the other one begins"
        )),
        Needed::About(_) | Needed::AtMost(_) => {
            detail.push_str("; it has less");
        }
        Needed::Unknown => {}
    }
    list.ok("inbox limit", detail);
}

fn said(figures: &InboxFigures) -> String {
    let InboxFigures { sender, closed, parts, bytes: there } = figures;
    match (closed, parts) {
        (false, 0) => format!("nothing of sender {sender}"),
        (true, _) => format!("the whole package of sender {sender}, {}", human_bytes(*there)),
        (false, _) => {
            format!("{} of sender {sender}, {}", counted(*parts, "part"), human_bytes(*there))
        }
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
fn room(list: &mut Checklist, directory: &Path, needed: Needed, keep_free: u64) {
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
    match needed {
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
            list.ok(WHAT, format!("{detail}; {} at most will be needed", human_bytes(needed)));
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

impl Needed {
    /// What is still to come.
    fn without(self, held: u64) -> Self {
        match self {
            Self::About(needed) => Self::About(needed.saturating_sub(held)),
            Self::AtMost(needed) => Self::AtMost(needed.saturating_sub(held)),
            Self::Unknown => Self::Unknown,
        }
    }

    /// The same where no more than `limit` may wait at once.
    fn within(self, limit: Option<u64>) -> Self {
        match (self, limit) {
            (Self::About(needed), Some(limit)) => Self::About(needed.min(limit)),
            (Self::AtMost(needed), Some(limit)) => Self::AtMost(needed.min(limit)),
            (Self::Unknown, Some(limit)) => Self::AtMost(limit),
            (needed, None) => needed,
        }
    }
}

/// Bytes of two packages: by the one that is complete, or by the session's ids.
fn both_packages(session: &Session, there: Option<[InboxFigures; 2]>) -> Needed {
    let whole = there.and_then(|figures| {
        figures.iter().filter(|sender| sender.closed).map(|sender| sender.bytes).max()
    });
    if let Some(whole) = whole {
        return Needed::About(whole.saturating_mul(2));
    }
    let ids = match session.ids() {
        SessionIds::Range(range) => range.last().abs_diff(range.first()).checked_add(1),
        SessionIds::List { count, .. } => Some(*count),
    };
    let row = session.layout().row_share_bytes() as u64 + super::delivery::ROW_OVERHEAD_BYTES;
    let both = ids.and_then(|ids| ids.checked_mul(row)?.checked_mul(2));
    both.map_or(Needed::Unknown, Needed::AtMost)
}
