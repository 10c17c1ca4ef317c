//! What to do about files, packages and inboxes that are not what they must be.

use std::io;

use reshare_engine::merge::MergeError;
use reshare_exchange::InboxError;
use reshare_format::share_file::ShareFileDefect;

/// What a sender does about a request that the receiver refuses.
pub(crate) fn refusal_hint(reason: &str) -> Option<&'static str> {
    Some(match reason {
        "part-missing" | "other-part" => {
            "another run delivered at the same time: run the same command again, alone"
        }
        "other-digest" => "a file of the package was changed since it was made: make it anew",
        "other-session" | "other-party" | "manifest" | "signature" | "too-large" => {
            "compare `reshare session show` with the receiver: both must have one session file"
        }
        "too-many-parts" => {
            "ask the receiver to start again with a larger --max-parts, or give a larger \
             --batch-size and make the package anew: fewer parts"
        }
        "package-too-large" => {
            "ask the receiver to start again with a larger --max-package-bytes, if its disk has the \
             room; then run the same command again: what was delivered stays"
        }
        "closed" => "what was delivered first stands: use a new session",
        _ => return None,
    })
}

/// What to do about an inbox.
pub(crate) fn inbox_hint(error: &InboxError) -> Option<&'static str> {
    Some(match error {
        InboxError::InUse { .. } => {
            "end the other `reshare receive` first, or give each its own --inbox"
        }
        InboxError::OtherSession { .. } => "give a session an --inbox of its own",
        InboxError::Extra { .. } => "move it out of the inbox, or name another --inbox",
        InboxError::Package { .. } => {
            "move this directory out of the inbox, start again, and have its sender deliver it \
             again; the other sender's package stays"
        }
        InboxError::Io { .. } => {
            "check --inbox, that this user may write there, and the disk; then start again: what \
             was delivered stays"
        }
        InboxError::NoAuthority(_) => "give the authority's certificate with --ca-file",
        _ => return None,
    })
}

/// What to do about two packages that do not fit each other.
pub(crate) fn merge_hint(error: &MergeError) -> &'static str {
    match error {
        MergeError::RowCheck { .. } => {
            "one sender's package is of another agreement key, or was made by somebody else: compare \
             `reshare session show` at both senders, and have both packages made anew in a new \
             session"
        }
        _ => {
            "this is not what `reshare send` makes: compare `reshare --version` at all parties, and \
             have the package made anew"
        }
    }
}

/// What to do about a share file.
pub(crate) fn share_file_hint(defect: &ShareFileDefect) -> &'static str {
    use ShareFileDefect as D;
    match defect {
        D::Read(error) if error.kind() == io::ErrorKind::NotFound => {
            "check the path: no file is there"
        }
        D::Read(_) => "check the path, that this user may read the file, and the disk",
        D::Write(_) => "check the path, that this user may write there, and the disk",
        D::NotRegular => "give the file itself: no directory, device or pipe",
        D::Writable { .. } => "take that right away, if nobody used it, and run the command again",
        D::Owner { .. } => {
            "if you trust whoever wrote it, make a copy of your own (cp, then chmod 600)"
        }
        D::Magic { .. } => "give a file that `reshare export` or `reshare merge` wrote",
        D::Version { .. } | D::UnknownFeatures { .. } => {
            "another version wrote it: use that one here, too (see `reshare --version`)"
        }
        D::OtherSession { .. }
        | D::OtherKind { .. }
        | D::OtherParty { .. }
        | D::OtherLayout
        | D::OtherIds { .. }
        | D::OtherRows { .. } => {
            "`reshare inspect` shows what the file is of: give the one of this session, party and \
             command"
        }
        _ => "the file is damaged or not complete: copy it anew, or write it anew",
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use reshare_engine::party::PartyId;
    use reshare_exchange::ClientError;
    use reshare_format::package::PackageError;
    use reshare_format::share_file::ShareFileError;
    use reshare_pipeline::error::PipelineError;

    use super::*;
    use crate::failure::Failure;

    fn path() -> PathBuf {
        "/somewhere".into()
    }

    fn refused(reason: &str) -> Failure {
        let (what, message) = ("PUT part".to_owned(), "no".to_owned());
        ClientError::Refused { what, status: 413, reason: reason.to_owned(), message }.into()
    }

    fn share_file(defect: ShareFileDefect) -> Failure {
        PipelineError::from(ShareFileError { path: path(), defect }).into()
    }

    fn unreadable(kind: io::ErrorKind) -> io::Error {
        kind.into()
    }

    #[test]
    fn every_defect_of_what_is_given_has_a_next_step() {
        let denied = || unreadable(io::ErrorKind::PermissionDenied);
        let io = |action| PackageError::Io { action, path: path(), source: denied() };
        let sender = PartyId::new(0).expect("a party");
        let table: [(Failure, &str); 17] = [
            (
                PipelineError::from(MergeError::RowCheck { id: 7 }).into(),
                "made anew in a new session",
            ),
            (PipelineError::from(MergeError::NotBlinded).into(), "reshare --version"),
            (PipelineError::SameSender { sender }.into(), "the other sender's"),
            (PipelineError::NotListed { id: 7 }.into(), "--ids-from"),
            (PipelineError::from(io("list")).into(), "check the path"),
            (PipelineError::from(PackageError::NotADirectory { path: path() }).into(), "directory"),
            (InboxError::Io { path: path(), source: denied() }.into(), "check --inbox"),
            (
                InboxError::Package { path: path(), source: Box::new(io("open")) }.into(),
                "have its sender deliver it again",
            ),
            (refused("too-many-parts"), "--max-parts"),
            (refused("package-too-large"), "--max-package-bytes"),
            (share_file(ShareFileDefect::Read(denied())), "may read"),
            (share_file(ShareFileDefect::Read(unreadable(io::ErrorKind::NotFound))), "no file"),
            (share_file(ShareFileDefect::NotRegular), "the file itself"),
            (share_file(ShareFileDefect::Magic { got: *b"RESHAREZ" }), "reshare export"),
            (share_file(ShareFileDefect::Version { got: 9, expected: 1 }), "reshare --version"),
            (share_file(ShareFileDefect::OtherLayout), "reshare inspect"),
            (share_file(ShareFileDefect::HeaderChecksum), "copy it anew"),
        ];
        for (failure, words) in table {
            let step = failure.next_step().unwrap_or_default();
            assert!(step.contains(words), "{:?}: {step:?}", failure.causes());
        }
    }
}
