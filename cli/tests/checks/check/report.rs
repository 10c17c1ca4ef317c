//! `reshare check` of a network, and what it prints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use reshare_fixtures::network::{Flags, Network, Run, files_in};
use serde_json::Value;

/// One line of a report.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) detail: String,
    hint: String,
}

impl Line {
    #[track_caller]
    pub(crate) fn says(self, words: &str) -> Self {
        assert!(self.detail.contains(words), "{words:?} is not in {:?}", self.detail);
        self
    }

    #[track_caller]
    pub(crate) fn hints(self, words: &str) -> Self {
        assert!(self.hint.contains(words), "{words:?} is not in the hint {:?}", self.hint);
        self
    }
}

/// The one line about a thing, which must be in this state.
#[track_caller]
pub(crate) fn line(report: &Value, what: &str, state: &str) -> Line {
    let checks = report["checks"].as_array().expect("checks");
    let all: Vec<&Value> = checks.iter().filter(|check| check["what"] == what).collect();
    let found = all.iter().find(|check| check["state"] == state);
    let found = found.unwrap_or_else(|| panic!("{what} is not {state}: {all:#?} in {report:#}"));
    let text = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    Line { detail: text("detail"), hint: text("hint") }
}

/// What is not ok.
pub(crate) fn not_ok(report: &Value) -> Vec<String> {
    let checks = report["checks"].as_array().expect("checks").iter();
    let not_ok = checks.filter(|check| check["state"] == "not_ok");
    not_ok.map(|check| check["what"].as_str().expect("text").to_owned()).collect()
}

/// What these tests do with a network.
pub(crate) trait Checked {
    /// Runs `check` with JSON for its report, as the party whose flags these are.
    fn check(&self, flags: &Flags) -> Run;

    /// Runs a check that must find just these things not ok.
    fn finds(&self, flags: &Flags, expected: &[&str]) -> Value;

    /// All files with their size, mode and when they were written, and all tables with their
    /// rights, columns and rows.
    fn everything(&self) -> (BTreeMap<PathBuf, String>, Vec<String>);
}

impl Checked for Network {
    fn check(&self, flags: &Flags) -> Run {
        let role = if flags.party() == "2" { "receiver" } else { "sender" };
        self.run_as(flags.party(), &[&["check"], &flags.command(role)[..], &["--json"]].concat())
    }

    #[track_caller]
    fn finds(&self, flags: &Flags, expected: &[&str]) -> Value {
        let report = self.check(flags).ends_with(4).report();
        assert_eq!(not_ok(&report), expected, "{report:#}");
        assert_eq!(report["ok"], false);
        report
    }

    fn everything(&self) -> (BTreeMap<PathBuf, String>, Vec<String>) {
        let files = files_in(self.directory());
        let catalog = "SELECT string_agg(concat_ws(' ', n.nspname, n.nspacl, c.relname, c.relkind, \
            c.relacl, a.attname, a.atttypid), ';' ORDER BY n.nspname, c.relname, a.attnum) \
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            JOIN pg_attribute a ON a.attrelid = c.oid";
        let databases = (0..3).map(|party| {
            let rows =
                format!("SELECT md5(string_agg(r::text, ';')) FROM \"SMPC_dev_{party}\".irises r");
            self.sql_at(party, catalog) + &self.sql_at(party, &rows)
        });
        (files, databases.collect())
    }
}
