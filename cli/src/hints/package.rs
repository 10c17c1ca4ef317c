//! What to do about packages, their manifests and their parts.

use reshare_engine::merge::MergeError;
use reshare_format::package::{
    ManifestError, PackageDefect, PackageError, PartDefect, PartRecordError,
};
use reshare_format::session::StatementError;

/// What to do about a package that cannot be read or made.
pub(super) fn package_hint(error: &PackageError) -> Option<&'static str> {
    match error {
        PackageError::File(_) => Some(CHECK_PATH),
        PackageError::Part(part) => part_hint(&part.defect),
        PackageError::Manifest { source, .. } => manifest_hint(source),
        PackageError::Defect { defect, .. } => defect_hint(defect),
        PackageError::Record { source: PartRecordError::Damaged, .. } => {
            Some("the copy was damaged: copy the package again")
        }
        PackageError::Record { .. } => Some(NOT_ITS_SENDERS),
        _ => None,
    }
}

fn defect_hint(defect: &PackageDefect) -> Option<&'static str> {
    Some(match defect {
        PackageDefect::AlreadyClosed => {
            "rows were sent again since it was closed: name another directory"
        }
        PackageDefect::ExtraFile => {
            "move it away: a package's directory holds nothing but the package's own files"
        }
        PackageDefect::NotClosed => {
            "the sender has not finished, or not everything was copied: manifest.json comes last"
        }
        PackageDefect::UnfinishedFile => "the copy was interrupted: copy the package again",
        PackageDefect::MissingPart => "not everything was copied: copy the package again",
        PackageDefect::PartSize { .. } => CHANGED_PART,
        PackageDefect::RecordMissing { .. }
        | PackageDefect::RecordDiffers { .. }
        | PackageDefect::RecordExtra { .. }
        | PackageDefect::RecordsNotSettled => {
            "the file part-records is not that of this package: copy it again, or ask the sender"
        }
        PackageDefect::NotADirectory => CHECK_PATH,
        _ => return None,
    })
}

const CHECK_PATH: &str = "check the path of the package's directory, that this user may read and write there, and the \
     disk; or name another directory";

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

/// What to do about a document from the future.
pub(crate) const CLOCKS: &str = "compare both machines' clocks, and set the one that is wrong: if it is this one, run the same command again; if \
     the signer's was ahead, what it signed counts from that time on, or has to be signed again";

const NOT_ITS_SENDERS: &str =
    "nothing shows that the sender made this package: do not use it, ask the sender";

fn manifest_hint(error: &ManifestError) -> Option<&'static str> {
    Some(match error {
        ManifestError::OtherSessionId { .. } | ManifestError::OtherSession { .. } => {
            "it is a package of another session, or was made with another session file: compare \
             `reshare session show` at all parties"
        }
        ManifestError::Signature { .. } | ManifestError::NotSigned => NOT_ITS_SENDERS,
        ManifestError::Statement(StatementError::InFuture { .. }) => CLOCKS,
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
