//! What to do about a share file.

use std::io;

use reshare_format::share_file::ShareFileDefect;

/// What to do about a share file.
pub(super) fn share_file_hint(defect: &ShareFileDefect) -> &'static str {
    use ShareFileDefect as D;
    match defect {
        D::Read(error) if error.kind() == io::ErrorKind::NotFound => {
            "check the path: no file is there"
        }
        D::Read(_) => "check the path, that this user may read the file, and the disk",
        D::Write(_) => "check the path, that this user may write there, and the disk",
        D::NotRegular => "give the file itself: no directory, device or pipe",
        D::Writable { .. } => {
            "remove that permission, check that no one used it, and run the command again"
        }
        D::Owner { .. } => "if you trust its owner, make a copy of your own (cp, then chmod 600)",
        D::Magic { .. } => "give a file that `reshare export` or `reshare merge` wrote",
        D::Version { .. } | D::UnknownFeatures { .. } => {
            "another version of reshare wrote it: use that version here (see `reshare --version`)"
        }
        D::OtherSession { .. }
        | D::OtherKind { .. }
        | D::OtherParty { .. }
        | D::OtherLayout
        | D::OtherIds { .. }
        | D::OtherRows { .. } => {
            "`reshare inspect` shows the file's session, party and kind: give the one of this \
             session, party and command"
        }
        _ => "the file is damaged or incomplete: copy it again, or write it again",
    }
}
