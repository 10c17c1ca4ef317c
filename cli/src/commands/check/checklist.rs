//! The checks of one role, and their results.

use std::time::Instant;

use clap::Args;
use reshare_pipeline::error::PipelineError;
use serde::Serialize;

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::text::printable;

/// When to fail.
#[derive(Debug, Args)]
pub(super) struct StrictArgs {
    /// Exit with 4 unless everything is ok: warnings and what was skipped or not checked count, too
    #[arg(long)]
    strict: bool,
}

/// The result of one check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it must be.
    Ok,
    /// A run would be refused, or fail.
    NotOk,
    /// A run can succeed, and may still fail because of this.
    Warning,
    /// It needs something that is not ok.
    Skipped,
    /// It needs a flag that was not given.
    NotChecked,
}

impl State {
    const fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NotOk => "NOT OK",
            Self::Warning => "warning",
            Self::Skipped => "skipped",
            Self::NotChecked => "not checked",
        }
    }
}

/// One line of the table.
#[derive(Debug, Serialize)]
struct Item {
    state: State,
    what: &'static str,
    detail: String,
    hint: Option<String>,
}

/// All checks of one role, in the order in which they were made.
#[derive(Debug)]
pub(super) struct Checklist {
    role: &'static str,
    started: Instant,
    items: Vec<Item>,
}

/// The same, as it is printed.
#[derive(Serialize)]
struct Report<'a> {
    role: &'a str,
    /// Whether everything is ok.
    ok: bool,
    checks: &'a [Item],
}

impl Checklist {
    pub(super) fn new(role: &'static str) -> Self {
        Self { role, started: Instant::now(), items: Vec::new() }
    }

    pub(super) fn ok(&mut self, what: &'static str, detail: impl Into<String>) {
        self.push(State::Ok, what, detail.into(), None);
    }

    pub(super) fn warning(
        &mut self,
        what: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(State::Warning, what, detail.into(), Some(hint.into()));
    }

    pub(super) fn not_ok(
        &mut self,
        what: &'static str,
        detail: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.push(State::NotOk, what, detail.into(), Some(hint.into()));
    }

    /// A failure that a command would end with, in the command's words.
    pub(super) fn failed(&mut self, what: &'static str, failure: &Failure) {
        self.push(State::NotOk, what, failure.causes().join(": "), failure.next_step());
    }

    /// The same for a query of the database. It is not the export or load that would fail, so the
    /// first line of their message is left out.
    pub(super) fn take_found<T>(
        &mut self,
        what: &'static str,
        result: Result<T, impl Into<PipelineError>>,
        usual_hint: &str,
    ) -> Option<T> {
        let error = match result {
            Ok(found) => return Some(found),
            Err(error) => error.into(),
        };
        let failure = Failure::from(error).hint(usual_hint);
        let causes = failure.causes();
        let found = if causes.len() > 1 { &causes[1..] } else { &causes };
        self.push(State::NotOk, what, found.join(": "), failure.next_step());
        None
    }

    /// A check that depends on something that is not ok.
    pub(super) fn skipped(&mut self, what: &'static str, needed: &str) {
        self.push(State::Skipped, what, format!("cannot be checked without {needed}"), None);
    }

    /// A check that needs a flag.
    pub(super) fn not_checked(&mut self, what: &'static str, flags: &str) {
        self.push(State::NotChecked, what, format!("give {flags}"), None);
    }

    /// Returns what a check found, or records how it failed.
    pub(super) fn take<T>(&mut self, what: &'static str, result: Result<T, Failure>) -> Option<T> {
        result.map_err(|failure| self.failed(what, &failure)).ok()
    }

    /// Returns an answer of the server, or records that there was none.
    pub(super) fn take_answer<T, E>(
        &mut self,
        what: &'static str,
        result: Result<T, E>,
    ) -> Option<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let hint = "the server did not answer the question: see what it says";
        self.take(what, result.map_err(|error| Failure::failed(error).hint(hint)))
    }

    fn push(&mut self, state: State, what: &'static str, detail: String, hint: Option<String>) {
        self.items.push(Item { state, what, detail, hint });
    }

    fn count(&self, state: State) -> usize {
        self.items.iter().filter(|item| item.state == state).count()
    }

    /// Prints everything, and returns the exit code.
    pub(super) fn finish(self, output: &OutputArgs, strict: &StrictArgs) -> Outcome {
        let ok = self.count(State::NotOk) == 0;
        let report = Report { role: self.role, ok, checks: &self.items };
        report::print(output, &report, self.started.elapsed(), || self.text())?;
        let all = self.count(State::Ok) == self.items.len();
        let fails = if strict.strict { !all } else { !ok };
        Ok(if fails { Exit::Refused } else { Exit::Done })
    }

    fn text(&self) -> String {
        let width = self.items.iter().map(|item| item.what.len()).max().unwrap_or(0);
        let mut text = String::new();
        for Item { state, what, detail, hint } in &self.items {
            let detail = one_line(detail);
            text.push_str(&format!("{:<STATE_WIDTH$}  {what:<width$}  {detail}\n", state.text()));
            if let Some(hint) = hint {
                let hint = one_line(hint);
                text.push_str(&format!("{:<STATE_WIDTH$}  {:<width$}  hint: {hint}\n", "", ""));
            }
        }
        let counts = [State::Ok, State::NotOk, State::Warning, State::Skipped, State::NotChecked]
            .map(|state| (self.count(state), state.text()));
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, state)| format!("{count} {state}"))
            .collect();
        text.push_str(&counts.join(", "));
        text
    }
}

/// The width of the longest state.
const STATE_WIDTH: usize = State::NotChecked.text().len();

/// Text of servers and files, made harmless for a terminal and the table.
fn one_line(text: &str) -> String {
    printable(text).replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_aligned_and_hints_stand_below() {
        let mut list = Checklist::new("sender");
        list.ok("session", "\"run\"");
        list.not_checked("database", "--db-url URL");
        list.not_ok("table", "a\nb\x1b", "make it");
        let text = list.text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ok           session   \"run\"");
        assert_eq!(lines[1], "not checked  database  give --db-url URL");
        assert_eq!(lines[2], "NOT OK       table     a b\\u{1b}");
        assert_eq!(lines[3], "                       hint: make it");
        assert_eq!(lines[4], "1 ok, 1 NOT OK, 1 not checked");
    }
}
