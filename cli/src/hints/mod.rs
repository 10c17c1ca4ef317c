//! Turns errors of the io crates into failures: their exit code, and what to do next if they do not
//! say it themselves.

mod certificate;
mod database;
mod delivery;
#[cfg(feature = "kms")]
mod kms;
mod ledger;
mod package;
mod pipeline;
mod share_file;
mod target;

pub(crate) use certificate::certificate_hint;
pub(crate) use ledger::LOST_LEDGER;
pub(crate) use package::CLOCKS;

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::PathBuf;

    use reshare_engine::merge::MergeError;
    use reshare_engine::party::PartyId;
    use reshare_exchange::{ClientError, InboxError};
    use reshare_files::file_error::FileError;
    use reshare_format::package::{PackageDefect, PackageError};
    use reshare_format::share_file::{ShareFileDefect, ShareFileError};
    use reshare_pipeline::error::PipelineError;

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
        let io = |action| FileError::new(action, path(), denied());
        let sender = PartyId::new(0).expect("a party");
        let table: [(Failure, &str); 17] = [
            (
                PipelineError::from(MergeError::RowCheck { id: 7 }).into(),
                "made again in a new session",
            ),
            (PipelineError::from(MergeError::NotBlinded).into(), "reshare --version"),
            (PipelineError::SameSender { sender }.into(), "the other sender's"),
            (PipelineError::NotListed { id: 7 }.into(), "--ids-from"),
            (PipelineError::from(PackageError::from(io("list"))).into(), "check the path"),
            (PipelineError::from(PackageDefect::NotADirectory.at(path())).into(), "directory"),
            (InboxError::from(io("use the inbox at")).into(), "check --inbox"),
            (
                InboxError::Package { path: path(), source: Box::new(io("open").into()) }.into(),
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
            (share_file(ShareFileDefect::HeaderChecksum), "copy it again"),
        ];
        for (failure, words) in table {
            let step = failure.next_step().unwrap_or_default();
            assert!(step.contains(words), "{:?}: {step:?}", failure.causes());
        }
    }
}
