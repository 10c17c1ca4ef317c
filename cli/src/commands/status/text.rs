//! The findings of `reshare status` as text: one line for each, in three columns.

use super::figures::{
    InboxStatus, LedgerStatus, LoadStatus, PackageState, PackageStatus, StatusReport,
};
use crate::text::number_of;

impl StatusReport {
    pub(super) fn text(&self) -> String {
        let mut lines: Vec<[String; 3]> = vec![];
        if let Some(ledgers) = &self.ledgers {
            lines.extend(ledgers.iter().map(LedgerStatus::line));
            if ledgers.is_empty() {
                lines.push(none("ledger"));
            }
        }
        lines.extend(self.packages.iter().map(|package| package.line("package")));
        lines.extend(self.inbox.iter().flat_map(InboxStatus::lines));
        lines.extend(self.load.iter().flat_map(LoadStatus::lines));
        let [first, second] =
            [0, 1].map(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
        let mut text = format!(
            "session {}, fingerprint {}\nas of {}; what runs now may be further",
            self.session, self.fingerprint, self.read_at
        );
        for [what, state, figures] in &lines {
            let line = format!("\n{what:<first$}  {state:<second$}  {figures}");
            text.push_str(line.trim_end_matches(' '));
        }
        text
    }
}

fn none(what: &str) -> [String; 3] {
    [what.to_owned(), "none".to_owned(), String::new()]
}

impl LedgerStatus {
    fn line(&self) -> [String; 3] {
        let mut figures = format!("{} blinded", number_of(self.rows_blinded, "row"));
        if let (Some(first), Some(last)) = (self.first_id, self.last_id) {
            let Self { rows_sealed, parts, .. } = self;
            figures.push_str(&format!(
                "; {} in {} recorded, ids {first} to {last}",
                number_of(*rows_sealed, "row"),
                number_of(*parts, "part")
            ));
        }
        if let Some(exported) = self.last_exported_at {
            figures.push_str(&format!("; last read {exported}"));
        }
        if self.rows_left_out > 0 {
            figures.push_str(&format!("; {} left out", number_of(self.rows_left_out, "row")));
        }
        let state = if self.rows_blinded == 0 { "empty" } else { "there" };
        [format!("ledger of sender {}", self.sender), state.to_owned(), figures]
    }
}

impl PackageStatus {
    fn line(&self, what: &str) -> [String; 3] {
        let what = match self.sender {
            Some(sender) => format!("{what} of sender {sender}"),
            None => format!("{what} {}", self.directory.display()),
        };
        let Self { parts, bytes, unfinished_files, extra_files, .. } = self;
        let state = match self.state {
            PackageState::None => return none(&what),
            PackageState::Open => "open",
            PackageState::Closed => "closed",
        };
        let (parts, bytes) = (number_of(*parts, "part"), number_of(*bytes, "byte"));
        let rows = self.rows.map(|rows| number_of(rows, "row"));
        let mut figures = match (rows, self.parts_missing) {
            (Some(rows), Some(0)) if self.parts_loaded.is_some() => {
                format!("{parts}, {bytes}, of {rows}")
            }
            (Some(rows), Some(0)) => format!("all {parts}, {bytes}, {rows}"),
            (Some(rows), Some(missing)) => {
                let missing = number_of(missing, "part");
                format!("{parts}, {bytes}; {missing} MISSING of {rows}")
            }
            _ => format!("{parts}, {bytes}"),
        };
        if let Some(closed) = self.closed_at {
            figures.push_str(&format!(", closed {closed}"));
        }
        if let Some(parts) = self.parts_loaded {
            figures.push_str(&format!("; {} loaded", number_of(parts, "part")));
        }
        if let Some(id) = self.loaded_up_to {
            figures.push_str(&format!(", all up to id {id}"));
        }
        for (count, kind) in [(unfinished_files, "unfinished"), (extra_files, "unexpected")] {
            if *count > 0 {
                figures.push_str(&format!("; {}", number_of(*count, &format!("{kind} file"))));
            }
        }
        [what, state.to_owned(), figures]
    }
}

impl InboxStatus {
    fn lines(&self) -> Vec<[String; 3]> {
        if !self.exists && self.packages.iter().all(|one| one.state == PackageState::None) {
            return vec![none("inbox")];
        }
        self.packages.iter().map(|package| package.line("inbox")).collect()
    }
}

/// How many spans of ids are shown.
const SHOWN_SPANS: usize = 3;

impl LoadStatus {
    fn shown_ids(&self) -> String {
        let span = |[first, last]: &[i64; 2]| format!("{first} to {last}");
        let shown: Vec<_> = self.ids.iter().take(SHOWN_SPANS).map(span).collect();
        let more = match self.ids.len().saturating_sub(SHOWN_SPANS) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        format!("ids {}{more}", shown.join(", "))
    }

    fn lines(&self) -> Vec<[String; 3]> {
        let Self { table, ranges, rows, .. } = self;
        let what = format!("load into {table}");
        let Some(last) = self.last_loaded_at else { return vec![none(&what)] };
        let state = self.percent.map_or_else(|| "begun".to_owned(), |done| format!("{done} %"));
        let mut figures =
            format!("{rows} rows in {ranges} ranges, {}, last {last}", self.shown_ids());
        let Self { only_lower_sender, only_higher_sender, disagreeing, .. } = self;
        if only_lower_sender + only_higher_sender + disagreeing > 0 {
            figures.push_str(&format!(
                "; left over: {only_lower_sender} and {only_higher_sender} that only the lower and \
                 the higher sender has, {disagreeing} that disagree"
            ));
        }
        let verified = match &self.verified {
            Some(verified) => {
                let figures = format!(
                    "{} rows equal to the {}, {}",
                    verified.rows, verified.against, verified.at
                );
                ["verified".to_owned(), "yes".to_owned(), figures]
            }
            None => ["verified".to_owned(), "no".to_owned(), String::new()],
        };
        vec![[what, state, figures], verified]
    }
}
