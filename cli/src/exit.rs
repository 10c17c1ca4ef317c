//! Exit codes, and how a failure is told: the chain of causes and what to do next.

use std::error::Error;
use std::io;
use std::process::ExitCode;

use reshare_io::exchange::{ClientError, IdentityError, InboxError, ServerError};
use reshare_io::package::{ManifestError, PackageError, PartDefect};
use reshare_io::pipeline::error::PipelineError;
use reshare_io::postgres::compare::CompareError;
use reshare_io::postgres::connect::ConnectError;
use reshare_io::postgres::export::ExportError;
use reshare_io::postgres::fresh::NotFresh;
use reshare_io::postgres::load_error::LoadError;
use reshare_io::postgres::schema::SchemaError;

use crate::commands::{identity_hint, ledger_hint};
use crate::input_hint::{inbox_hint, merge_hint, refusal_hint, share_file_hint};
use crate::report::printable;
use crate::target_hint::target_hint;

/// What the program answers to the shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything is done.
    Done,
    /// Failed; running it again may help.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Done, but rows were left over: the report lists them.
    LeftOver,
    /// Refused: integrity, keys or session. Running it again does not help.
    Refused,
    /// Stopped by Ctrl-C.
    Interrupted,
    /// Stopped by SIGTERM.
    Terminated,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::LeftOver => 3,
            Self::Refused => 4,
            Self::Interrupted => 130,
            Self::Terminated => 143,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let error = match error {
            PipelineError::Delivery(error) => return error.into(),
            error => error,
        };
        let hint = match &error {
            PipelineError::Load(error) => target_hint(error),
            _ => None,
        };
        let hint = hint.or_else(|| hint_for(&error).map(str::to_owned));
        let failure = match &error {
            PipelineError::PartRows { .. } | PipelineError::TooManyParts { .. } => {
                Self::usage(error)
            }
            _ if error.is_refusal() => Self::refused(error),
            _ => Self::failed(error),
        };
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = match &error {
            error if error.is_receiver_full() => {
                "have the receiver's operator make room on the disk of its --inbox, then run the \
                 same command again: it goes on where it broke"
            }
            ClientError::GaveUp { .. } => "run the same command again: it goes on where it broke",
            ClientError::Identity(error) => identity_hint(error).unwrap_or_default(),
            ClientError::NotTheReceiver { .. } => {
                "check --server-url, this machine's clock, and that the receiver's certificate has \
                 its session name"
            }
            ClientError::CertificateRefused { .. } => {
                "give this sender's certificate, made by the session's authority and not expired"
            }
            ClientError::Refused { reason, .. } => refusal_hint(reason),
            ClientError::ClosedOtherwise => "what was delivered first stands: use a new session",
            _ => "",
        };
        let failure = if error.is_refusal() { Self::refused(error) } else { Self::failed(error) };
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let hint = identity_hint(&error);
        let failure = Self::refused(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        match error {
            ServerError::Identity(error) => error.into(),
            error => Self::failed(error).hint("give another address with --listen"),
        }
    }
}

impl From<InboxError> for Failure {
    fn from(error: InboxError) -> Self {
        let hint = inbox_hint(&error);
        let failure = if error.is_refusal() { Self::refused(error) } else { Self::failed(error) };
        if hint.is_empty() { failure } else { failure.hint(hint) }
    }
}

/// Ends a hint to run a command again, unless it begins anew then.
const KEPT: &str = ": what was finished is kept";

/// What to do about errors that do not say it themselves.
fn hint_for(error: &PipelineError) -> Option<&'static str> {
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
        PipelineError::Package(PackageError::AlreadyClosed { .. }) => {
            "rows were sent anew since it was closed: name another directory"
        }
        PipelineError::Package(PackageError::ExtraFile { .. }) => {
            "nothing but a package's own files may lie in its directory"
        }
        PipelineError::Package(PackageError::NotClosed { .. }) => {
            "the sender has not finished, or not everything was copied: manifest.json comes last"
        }
        PipelineError::Package(PackageError::UnfinishedFile { .. }) => {
            "the copy was interrupted: copy the package anew"
        }
        PipelineError::Package(PackageError::Manifest { source, .. }) => {
            return manifest_hint(source);
        }
        PipelineError::Package(PackageError::MissingPart { .. }) => {
            "not everything was copied: copy the package anew"
        }
        PipelineError::Package(PackageError::PartSize { .. }) => CHANGED_PART,
        PipelineError::Package(PackageError::Io { .. } | PackageError::NotADirectory { .. }) => {
            "check the path of the package's directory, that this user may read and write there, \
             and the disk; or name another directory"
        }
        PipelineError::Part(part) | PipelineError::Package(PackageError::Part(part)) => {
            return part_hint(&part.defect);
        }
        PipelineError::Export(ExportError::Schema(error))
        | PipelineError::Compare(CompareError::Export(ExportError::Schema(error)))
        | PipelineError::Load(LoadError::Schema(error)) => return schema_hint(error),
        PipelineError::Load(LoadError::LoadedRowsGone { .. }) => {
            "rows were deleted after they were loaded: to have all loaded again, delete this \
             session's rows from the table reshare_progress beside it, and give --on-conflict \
             replace"
        }
        PipelineError::Load(LoadError::TurnLost { .. }) => {
            "somebody ended it, or the server failed over; a pooler in front of the server must keep \
             sessions (pool_mode = session). Run the same command again: what was finished is kept"
        }
        PipelineError::Load(LoadError::OtherSource { .. }) => {
            "a session loads one delivery: go on with what it began with. Rows that this lacks come \
             with a session of their own (`session new --ids-from`); --fresh-table --yes-truncate \
             begins anew with an empty table"
        }
        PipelineError::Load(LoadError::NotFresh { defect, .. }) => return fresh_hint(defect),
        PipelineError::Load(LoadError::OlderDelivered { .. }) => {
            "--allow-older replaces newer rows, too; nothing of this range was written"
        }
        PipelineError::Export(
            ExportError::Database { source, .. }
            | ExportError::Connect(ConnectError::Unreachable { source, .. }),
        )
        | PipelineError::Load(
            LoadError::Database { source, .. }
            | LoadError::Connect(ConnectError::Unreachable { source, .. }),
        )
        | PipelineError::Compare(CompareError::Export(
            ExportError::Database { source, .. }
            | ExportError::Connect(ConnectError::Unreachable { source, .. }),
        )) if source.is_connection_lost() => {
            "run the same command again when the server is back: what was finished is kept"
        }
        PipelineError::Load(LoadError::Database { source, .. }) if source.is_disk_full() => {
            "make room on the server's disk, and run the same command again: what was finished is kept"
        }
        PipelineError::Export(ExportError::Database { source, .. })
        | PipelineError::Compare(CompareError::Export(ExportError::Database { source, .. }))
            if source.code() == Some(INSUFFICIENT_PRIVILEGE) =>
        {
            "the role needs USAGE on the schema and SELECT on the table"
        }
        PipelineError::Load(LoadError::Database { source, .. })
            if source.code() == Some(INSUFFICIENT_PRIVILEGE) =>
        {
            "the role needs USAGE and CREATE on the schema (for the table reshare_progress), and \
             SELECT and INSERT on both tables; --on-conflict replace needs UPDATE and DELETE, too"
        }
        PipelineError::Load(LoadError::Database { source, .. })
            if source.code() == Some(READ_ONLY_TRANSACTION) =>
        {
            "this is a standby, or default_transaction_read_only is set for the role or the server"
        }
        PipelineError::Export(ExportError::Connect(_))
        | PipelineError::Compare(CompareError::Export(ExportError::Connect(_)))
        | PipelineError::Load(LoadError::Connect(_)) => {
            "check --db-url, DATABASE_URL or the PG* variables, and whether the server runs"
        }
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

/// SQLSTATEs that have a hint of their own.
const INSUFFICIENT_PRIVILEGE: &str = "42501";
const READ_ONLY_TRANSACTION: &str = "25006";

/// What to do about a table that cannot be loaded as a fresh one.
pub(crate) fn fresh_hint(defect: &NotFresh) -> Option<&'static str> {
    Some(match defect {
        NotFresh::NotEmpty => {
            "--yes-truncate removes all its rows first, whoever wrote them; without --fresh-table a \
             load adds to them, or goes on with what this session has loaded"
        }
        NotFresh::NoRight => "grant TRUNCATE on the table to the role, or leave --fresh-table out",
        NotFresh::InUse { .. } => "run it again when nobody reads or writes the table",
        NotFresh::RolledBack => return None,
        _ => "leave --fresh-table out: nothing was changed",
    })
}

const CHANGED_PART: &str =
    "it was changed since the package was made: copy it anew, or have it made anew";

fn part_hint(defect: &PartDefect) -> Option<&'static str> {
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
        ManifestError::SignedInFuture { .. } => "compare both machines' clocks",
        _ => return None,
    })
}

fn schema_hint(error: &SchemaError) -> Option<&'static str> {
    Some(match error {
        SchemaError::NoSuchTable { .. } => {
            "check --db-url and --db-schema; the receiver's table must be there, empty or not"
        }
        SchemaError::EpochNotAgreed { .. } => {
            "make the session with --agree-column version_id --agree-column rerand_epoch"
        }
        _ => return None,
    })
}

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

impl Failure {
    /// A failure that another run may not meet.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Failed, error: error.into(), hint: None }
    }

    /// A refusal: the input is not what it must be.
    pub(crate) fn refused(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Refused, error: error.into(), hint: None }
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Usage, error: error.into(), hint: None }
    }

    /// A run that a signal ended.
    pub(crate) fn stopped(exit: Exit) -> Self {
        let error = "stopped by a signal; what was finished is kept".into();
        Self { exit, error, hint: Some("run the same command again to go on".to_owned()) }
    }

    /// Of a command that begins anew when it is run again: corrects what is said to be kept.
    pub(crate) fn begins_anew(mut self, nothing: &str) -> Self {
        if matches!(self.exit, Exit::Interrupted | Exit::Terminated) {
            self.error = format!("stopped by a signal; {nothing}").into();
            self.hint = Some("run the same command again to start over".to_owned());
        } else if let Some(hint) = &mut self.hint {
            *hint = hint.replace(KEPT, "");
        }
        self
    }

    /// Adds what to do next, unless something closer to the cause has said it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// The error and its causes, the last one at the end.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut told = vec![self.error.to_string()];
        let mut cause = self.error.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Some libraries repeat their cause in their own text: say it once.
            if !told.last().is_some_and(|last| last.contains(&text)) {
                told.push(text);
            }
            cause = error.source();
        }
        told
    }

    /// What to do next, where it is known.
    pub(crate) fn next_step(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// Prints the chain of causes and the hint to standard error.
    pub(crate) fn print(&self) {
        let mut message = format!("error: {}", self.causes().join("\n  caused by: "));
        if let Some(hint) = &self.hint {
            message.push_str("\nhint: ");
            message.push_str(hint);
        }
        eprintln!("{}", printable(&message));
    }
}
