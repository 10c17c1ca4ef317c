//! Why a command failed: its exit code, the chain of causes, and what to do next.

use std::error::Error;
use std::process::ExitCode;

use reshare_exchange::progress::Progress;
use reshare_files::causes::causes;
use reshare_files::fault::Refusable;
use reshare_files::output_file::{OutputDefect, OutputError};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::streams::{self, say};
use crate::text::{counted, printable};

/// What every command returns.
pub(crate) type Outcome = Result<Exit, Failure>;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    error: Box<dyn Error + Send + Sync>,
    /// What the failure has left, if that is worth a line.
    note: Option<String>,
    hint: Option<Hint>,
    rerun: Rerun,
}

/// What the same command does when it is run again. Each command knows this of itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Rerun {
    /// It continues: what was finished is kept.
    #[default]
    Continues,
    /// It starts over; the text says what an interrupted run leaves.
    StartsOver(&'static str),
}

/// The stages in which ranges are committed.
const LOADING: [&str; 4] = ["load", "rebuild", "load again", "receive and rebuild"];

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hint {
    text: String,
    /// Whether the text ends with running the same command again.
    is_rerun: bool,
}

impl Hint {
    /// A hint that ends with running the same command again, which may continue or start over.
    pub(crate) fn run_again(text: impl Into<String>) -> Self {
        Self { text: text.into(), is_rerun: true }
    }
}

impl From<&str> for Hint {
    fn from(text: &str) -> Self {
        text.to_owned().into()
    }
}

impl From<String> for Hint {
    fn from(text: String) -> Self {
        Self { text, is_rerun: false }
    }
}

impl Failure {
    fn new(exit: Exit, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let (hint, note) = (None, None);
        Self { exit, error: error.into(), note, hint, rerun: Rerun::default() }
    }

    /// A failure that may not happen again in another run.
    pub(crate) fn failed(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Failed, error)
    }

    /// A refusal: the input is not what it must be.
    pub(crate) fn refused(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Refused, error)
    }

    /// A command line that makes no sense.
    pub(crate) fn usage(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::new(Exit::Usage, error)
    }

    /// A run that a signal ended.
    pub(crate) fn stopped(exit: Exit, rerun: Rerun) -> Self {
        let (left, purpose) = match rerun {
            Rerun::Continues => ("what was finished is kept", "go on"),
            Rerun::StartsOver(left) => (left, "start over"),
        };
        Self::new(exit, format!("stopped by a signal; {left}"))
            .hint(format!("run the same command again to {purpose}"))
            .rerun(rerun)
    }

    /// Of an error that is a refusal or a failure.
    pub(crate) fn of(error: impl Refusable + Send + Sync) -> Self {
        if error.is_refusal() { Self::refused(error) } else { Self::failed(error) }
    }

    /// Of a file that `flag` names.
    pub(crate) fn of_file(error: impl Refusable + Send + Sync, flag: &str) -> Self {
        let failure = Self::of(error);
        match failure.exit {
            Exit::Failed => {
                failure.hint(format!("check {flag}, and that this user may read the file"))
            }
            _ => failure,
        }
    }

    /// Of a file that `flag` names to be written, and that cannot be.
    pub(crate) fn of_output(error: OutputError, flag: &str) -> Self {
        let hint = match &error.defect {
            OutputDefect::Unwritable(cause) => {
                use std::io::ErrorKind::{QuotaExceeded, ResourceBusy, StorageFull};
                let hint = format!("check {flag}, and that this user may write to its directory");
                return match cause.kind() {
                    QuotaExceeded | ResourceBusy | StorageFull => Self::failed(error).hint(hint),
                    _ => Self::usage(error).hint(hint),
                };
            }
            OutputDefect::NoReader => format!("start the reader of {flag} first"),
            OutputDefect::NoDirectory(_) => {
                format!("make the directory, mount its disk, or check {flag}")
            }
            _ => format!("give {flag} the path of a new file"),
        };
        Self::usage(error).hint(hint)
    }

    /// Adds what to do next, unless something closer to the cause has added it.
    pub(crate) fn hint(mut self, hint: impl Into<Hint>) -> Self {
        self.hint.get_or_insert_with(|| hint.into());
        self
    }

    /// Adds what to do next, if it is known.
    pub(crate) fn hint_if(self, hint: Option<impl Into<Hint>>) -> Self {
        match hint {
            Some(hint) => self.hint(hint),
            None => self,
        }
    }

    /// Its cause is on the command line, in this flag, which the hint then names. A flag may be
    /// followed by the variable that gave it, in parentheses.
    pub(crate) fn of_the_command_line(mut self, flag: &str) -> Self {
        let said = || format!("check {flag}, and that this user may read the file");
        let hint = match self.hint.take() {
            Some(hint) if hint.text.contains(flag.split(" (").next().unwrap_or(flag)) => hint,
            Some(Hint { text, is_rerun }) => Hint { text: format!("{flag}: {text}"), is_rerun },
            None => said().into(),
        };
        Self { exit: Exit::Usage, hint: Some(hint), ..self }
    }

    /// Says what a load that failed midway has loaded.
    pub(crate) fn after_loading(self, progress: &Progress) -> Self {
        let now = progress.snapshot();
        let loaded = now.rows_done + now.rows_skipped;
        if !LOADING.contains(&now.stage) || loaded == 0 {
            return self;
        }
        let rows = counted(loaded, "row");
        let note = format!(
            "{rows} are loaded and stay: all of a range is checked before it is committed. \
             `reshare status --db-url` shows which ids"
        );
        Self { note: Some(note), ..self }
    }

    /// Adds a line that explains the failure.
    pub(crate) fn with_note(mut self, note: String) -> Self {
        self.note = Some(match self.note.take() {
            Some(before) => format!("{before}\nnote: {note}"),
            None => note,
        });
        self
    }

    /// Notes what the command does when it is run again.
    pub(crate) fn rerun(self, rerun: Rerun) -> Self {
        Self { rerun, ..self }
    }

    /// The error and its causes, the last one at the end.
    pub(crate) fn causes(&self) -> Vec<String> {
        let mut messages: Vec<String> = Vec::new();
        for message in causes(self.error.as_ref()).map(ToString::to_string) {
            // Some libraries repeat their cause in their own text: print it once.
            if !messages.last().is_some_and(|last| last.contains(&message)) {
                messages.push(message);
            }
        }
        messages
    }

    /// What to do next, if it is known.
    pub(crate) fn next_step(&self) -> Option<String> {
        let Hint { text, is_rerun } = self.hint.as_ref()?;
        Some(match (is_rerun, self.rerun) {
            (true, Rerun::Continues) => format!("{text}: what was finished is kept"),
            _ => text.clone(),
        })
    }

    /// Prints it, and ends the program with its exit code.
    pub(crate) fn end(&self) -> ExitCode {
        self.print();
        self.exit.into()
    }

    /// The same for programs: what a run report and `--json` have of it.
    pub(crate) fn document(&self) -> Value {
        let mut causes = self.causes().into_iter();
        json!({
            "code": self.exit.failure_name(),
            "message": causes.next().unwrap_or_default(),
            "causes": causes.collect::<Vec<_>>(),
            "note": self.note,
            "hint": self.next_step(),
            "exit_code": self.exit.code(),
        })
    }

    /// Prints the chain of causes and the hint to standard error.
    fn print(&self) {
        if streams::say_error(self.document()) {
            return;
        }
        let mut message = format!("error: {}", self.causes().join("\n  caused by: "));
        if let Some(note) = &self.note {
            message.push_str("\nnote: ");
            message.push_str(note);
        }
        if let Some(hint) = self.next_step() {
            message.push_str("\nhint: ");
            message.push_str(&hint);
        }
        say!("{}", printable(&message));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_command_that_continues_says_that_work_is_kept() {
        let failure = || Failure::failed("no room").hint(Hint::run_again("run it again"));
        let kept = "run it again: what was finished is kept";
        assert_eq!(failure().next_step().as_deref(), Some(kept));
        let starts_over = failure().rerun(Rerun::StartsOver("nothing is left"));
        assert_eq!(starts_over.next_step().as_deref(), Some("run it again"));
    }

    #[test]
    fn a_load_that_fails_says_what_it_has_loaded() {
        let progress = Progress::default();
        let failure = || Failure::refused("wrong").after_loading(&progress);
        progress.begin("check", 0);
        progress.add(1, 1);
        assert_eq!(failure().note, None);
        progress.begin("rebuild", 9);
        assert_eq!(failure().note, None);
        progress.add(1, 1);
        progress.skip(4);
        assert!(failure().note.is_some_and(|note| note.starts_with("5 rows are loaded and stay")));
    }

    #[test]
    fn the_hint_that_is_closest_to_the_cause_stays() {
        let failure = Failure::refused("wrong").hint("the cause").hint("something else");
        assert_eq!(failure.next_step().as_deref(), Some("the cause"));
    }
}
