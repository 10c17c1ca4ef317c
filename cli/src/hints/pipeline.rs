//! What to do about a run that failed.

use std::error::Error;
use std::io;

use reshare_files::causes::causes;
use reshare_pipeline::error::PipelineError;

use super::database::database_hint;
use super::ledger::{UNKNOWN_PART, ledger_hint};
use super::package::{merge_hint, package_hint, part_hint};
use super::share_file::share_file_hint;
use super::target::target_hint;
use crate::failure::{Failure, Hint};

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let error = match error {
            PipelineError::Delivery(error) => return error.into(),
            PipelineError::Inbox(error) => return error.into(),
            error => error,
        };
        let hint = pipeline_hint(&error);
        let failure = match &error {
            PipelineError::PartRows { .. } | PipelineError::TooManyParts { .. } => {
                Self::usage(error)
            }
            _ => Self::of(error),
        };
        failure.hint_if(hint)
    }
}

/// What to do about a run that failed.
fn pipeline_hint(error: &PipelineError) -> Option<Hint> {
    let about_target = match error {
        PipelineError::Load(error) => target_hint(error),
        _ => None,
    };
    about_target.map(Hint::from).or_else(|| run_hint(error))
}

fn run_hint(error: &PipelineError) -> Option<Hint> {
    let hint = match error {
        error if is_without_room(error) => {
            return Some(Hint::run_again("make room on the disk, and run the same command again"));
        }
        PipelineError::Conflict { .. } => {
            "--on-conflict replace replaces such rows; none of them has been changed"
        }
        PipelineError::NotCovered { .. } => {
            return Some(Hint::run_again(
                "nothing has been changed; when both packages are complete, run the same command \
                 again",
            ));
        }
        PipelineError::RowsChanged { .. } => {
            "nothing of these ranges has been changed. If the application's changes are to go, put \
             the loaded rows back first; if they are to stay, bring what else is needed in a \
             session of its own (`session new --ids-from`)"
        }
        PipelineError::KeyCheck { .. } => {
            "one sender used another key or session file: compare `reshare session show` at both \
             senders"
        }
        PipelineError::OtherIdentity { .. } => {
            "give the identity whose recipient `session show` prints"
        }
        PipelineError::InUse { .. } => {
            "another run is making this package: wait for it, or name another directory"
        }
        PipelineError::UnknownPart { .. } => UNKNOWN_PART,
        PipelineError::SameSender { .. } => {
            "give the other sender's package as well: `reshare inspect` shows whose a package is"
        }
        PipelineError::NotListed { .. } => {
            "its sender has another list of ids: compare what --ids-from names with the list that \
             the session was made with, at all parties"
        }
        PipelineError::NoIdList => "give the list that the session was made with: --ids-from",
        PipelineError::Merge(error) => merge_hint(error),
        PipelineError::ShareFile(error) => share_file_hint(&error.defect),
        PipelineError::Ledger(error) => ledger_hint(error),
        PipelineError::PartGone { .. } => {
            "was the database restored from an older state? Bring these ids in a new session"
        }
        PipelineError::PartRows { .. } => "give a smaller --batch-size",
        PipelineError::TooManyParts { .. } => "give a larger --batch-size",
        PipelineError::Package(error) => package_hint(error)?,
        PipelineError::Part(part) => part_hint(&part.defect)?,
        PipelineError::Export(_) | PipelineError::Load(_) | PipelineError::Compare(_) => {
            return database_hint(error);
        }
        _ => return None,
    };
    Some(hint.into())
}

/// Whether a disk of this machine is full.
fn is_without_room(error: &(dyn Error + 'static)) -> bool {
    causes(error).filter_map(|cause| cause.downcast_ref::<io::Error>()).any(|error| {
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    })
}
