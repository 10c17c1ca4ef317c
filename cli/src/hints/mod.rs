//! What to do next about errors that do not say it themselves.

mod certificate;
mod database;
mod input;
#[cfg(feature = "kms")]
mod kms;
mod ledger;
mod package;
mod target;

use std::error::Error;
use std::io;

use reshare_exchange::ClientError;
use reshare_pipeline::error::PipelineError;

pub(crate) use certificate::{certificate_hint, identity_hint};
use database::database_hint;
pub(crate) use input::inbox_hint;
use input::{merge_hint, refusal_hint, share_file_hint};
pub(crate) use kms::kms_failure;
pub(crate) use ledger::ledger_failure;
use ledger::ledger_hint;
use package::{package_hint, part_hint};
use target::target_hint;

/// What to do about a run that failed.
pub(crate) fn pipeline_hint(error: &PipelineError) -> Option<String> {
    let about_target = match error {
        PipelineError::Load(error) => target_hint(error),
        _ => None,
    };
    about_target.or_else(|| run_hint(error).map(str::to_owned))
}

fn run_hint(error: &PipelineError) -> Option<&'static str> {
    Some(match error {
        error if is_without_room(error) => {
            "make room on the disk, and run the same command again: what was finished is kept"
        }
        PipelineError::Conflict { .. } => {
            "--on-conflict replace replaces such rows; nothing has been written"
        }
        PipelineError::KeyCheck { .. } => {
            "one sender used another key or session file: compare `reshare session show` at both"
        }
        PipelineError::OtherIdentity => "give the identity whose recipient `session show` prints",
        PipelineError::InUse { .. } => {
            "another run is making this package: wait for it, or name another directory"
        }
        PipelineError::SameSender { .. } => {
            "give the other sender's package, too: `reshare inspect` says whose a package is"
        }
        PipelineError::NotListed { .. } => {
            "its sender has another list of ids: compare what --ids-from names with the list that \
             the session was made with, at all parties"
        }
        PipelineError::NoIdList => "give the list that the session was made with: --ids-from",
        PipelineError::Merge(error) => merge_hint(error),
        PipelineError::ShareFile(error) => share_file_hint(&error.defect),
        PipelineError::Ledger(error) => ledger_hint(error),
        PipelineError::PartRows { .. } => "give a smaller --batch-size",
        PipelineError::TooManyParts { .. } => "give a larger --batch-size",
        PipelineError::Package(error) => return package_hint(error),
        PipelineError::Part(part) => return part_hint(&part.defect),
        PipelineError::Export(_) | PipelineError::Load(_) | PipelineError::Compare(_) => {
            return database_hint(error);
        }
        _ => return None,
    })
}

/// What a sender does when a delivery ends.
pub(crate) fn client_hint(error: &ClientError) -> Option<&'static str> {
    Some(match error {
        error if error.is_receiver_full() => {
            "have the receiver's operator make room on the disk of its --inbox, then run the same \
             command again: it goes on where it broke"
        }
        ClientError::GaveUp { .. } => "run the same command again: it goes on where it broke",
        ClientError::Identity(error) => return identity_hint(error),
        ClientError::NotTheReceiver { .. } => {
            "check --server-url, this machine's clock, and that the receiver's certificate has its \
             session name"
        }
        ClientError::CertificateRefused { .. } => {
            "give this sender's certificate, made by the session's authority and not expired"
        }
        ClientError::Refused { reason, .. } => return refusal_hint(reason),
        ClientError::ClosedOtherwise => "what was delivered first stands: use a new session",
        _ => return None,
    })
}

/// Whether a disk of this machine is full.
fn is_without_room(error: &(dyn Error + 'static)) -> bool {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let kind = error.downcast_ref::<io::Error>().map(io::Error::kind);
        if matches!(kind, Some(io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)) {
            return true;
        }
        cause = error.source();
    }
    false
}
