//! Why a command failed, and how that is told: the chain of causes and what to do next.

use std::error::Error;
use std::io;

use reshare_exchange::{ClientError, IdentityError, InboxError, ServerError};
use reshare_pipeline::error::PipelineError;

use crate::exit::Exit;
use crate::hints::{client_hint, identity_hint, inbox_hint, pipeline_hint};
use crate::printable;
use crate::text::printable;

/// Ends a hint to run a command again, unless it begins anew then.
const KEPT: &str = ": what was finished is kept";

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    hint: Option<String>,
}

impl Failure {
    /// A failure that another run may not meet.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Failed, error: error.into(), hint: None }
    }

    /// A refusal: the input is not what it must be.
    pub(crate) fn refused(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { exit: Exit::Refused, error: error.into(), hint: None }
    }

    /// Of a file that `flag` names: a failure where it cannot be read, a refusal where it is not
    /// what it must be.
    pub(crate) fn of_file(error: impl Into<Box<dyn Error + Send + Sync>>, flag: &str) -> Self {
        let failure = Self::refused(error);
        if !failure.is_unreadable() {
            return failure;
        }
        let hint = format!("check {flag}, and that this user may read the file");
        Self { exit: Exit::Failed, ..failure }.hint(hint)
    }

    /// Whether the file system is the cause.
    fn is_unreadable(&self) -> bool {
        let mut cause: Option<&(dyn Error + 'static)> = Some(self.error.as_ref());
        while let Some(error) = cause {
            if error.is::<io::Error>() {
                return true;
            }
            cause = error.source();
        }
        false
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

    fn hint_if(self, hint: Option<impl Into<String>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
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

impl From<PipelineError> for Failure {
    fn from(error: PipelineError) -> Self {
        let error = match error {
            PipelineError::Delivery(error) => return error.into(),
            error => error,
        };
        let hint = pipeline_hint(&error);
        let failure = match &error {
            PipelineError::PartRows { .. } | PipelineError::TooManyParts { .. } => {
                Self::usage(error)
            }
            _ if error.is_refusal() => Self::refused(error),
            _ => Self::failed(error),
        };
        failure.hint_if(hint)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        let hint = client_hint(&error);
        let failure = if error.is_refusal() { Self::refused(error) } else { Self::failed(error) };
        failure.hint_if(hint)
    }
}

impl From<IdentityError> for Failure {
    fn from(error: IdentityError) -> Self {
        let hint = identity_hint(&error);
        let flags = "--certificate, --certificate-key and --ca-file";
        Self::of_file(error, flags).hint_if(hint)
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
        failure.hint_if(hint)
    }
}
