//! What to do about packages, their manifests and their parts.

use reshare_engine::merge::MergeError;
use reshare_format::package::{ManifestError, PackageError, PartDefect};
use reshare_format::session::StatementError;

/// What to do about a package that cannot be read or made.
pub(super) fn package_hint(error: &PackageError) -> Option<&'static str> {
    Some(match error {
        PackageError::AlreadyClosed { .. } => {
            "rows were sent again since it was closed: name another directory"
        }
        PackageError::ExtraFile { .. } => {
            "move it away: a package's directory holds nothing but the package's own files"
        }
        PackageError::NotClosed { .. } => {
            "the sender has not finished, or not everything was copied: manifest.json comes last"
        }
        PackageError::UnfinishedFile { .. } => "the copy was interrupted: copy the package again",
        PackageError::Manifest { source, .. } => {
            return manifest_hint(source);
        }
        PackageError::MissingPart { .. } => "not everything was copied: copy the package again",
        PackageError::PartSize { .. } => CHANGED_PART,
        PackageError::File(_) | PackageError::NotADirectory { .. } => {
            "check the path of the package's directory, that this user may read and write there, \
             and the disk; or name another directory"
        }
        PackageError::Part(part) => return part_hint(&part.defect),
        _ => return None,
    })
}

const CHANGED_PART: &str =
    "it was changed since the package was made: copy it again, or have it made again";

pub(super) fn part_hint(defect: &PartDefect) -> Option<&'static str> {
    Some(match defect {
        PartDefect::SealedSize { .. } | PartDefect::SealedDigest { .. } => CHANGED_PART,
        PartDefect::OtherRecipient => {
            "give the identity whose recipient `session show` prints, of this package's session"
        }
        _ => return None,
    })
}

fn manifest_hint(error: &ManifestError) -> Option<&'static str> {
    Some(match error {
        ManifestError::OtherSessionId { .. } | ManifestError::OtherSession { .. } => {
            "it is a package of another session, or was made with another session file: compare \
             `reshare session show` at all parties"
        }
        ManifestError::Signature { .. } | ManifestError::NotSigned => {
            "nothing shows that the sender made this package: do not use it, ask the sender"
        }
        ManifestError::Statement(StatementError::InFuture { .. }) => {
            "compare both machines' clocks"
        }
        _ => return None,
    })
}

/// What to do about two packages that do not fit each other.
pub(super) fn merge_hint(error: &MergeError) -> &'static str {
    match error {
        MergeError::RowCheck { .. } => {
            "one sender's package has another agreement key, or somebody else made it: compare \
             `reshare session show` at both senders, and have both packages made again in a new \
             session"
        }
        _ => {
            "`reshare send` makes no such package: compare `reshare --version` at all parties, \
             and have the package made again"
        }
    }
}
