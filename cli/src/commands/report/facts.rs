//! What a run's report says, in words, whatever the command.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::runs::RunRecord;
use crate::text::{counted, human_bytes};

/// Ids of one kind that are shown; `--json` has all.
const IDS_SHOWN: usize = 50;

/// Rows of one kind that a run has left over.
pub(super) struct LeftOver {
    pub(super) why: String,
    pub(super) count: u64,
    /// The first of them.
    pub(super) ids: String,
}

/// A moment, to the second.
pub(super) fn moment(at: OffsetDateTime) -> String {
    let at = at.replace_nanosecond(0).unwrap_or(at);
    at.format(&Rfc3339).unwrap_or_default()
}

/// A time of some seconds.
pub(super) fn seconds(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 60.0 => format!("{seconds:.1} s"),
        seconds if seconds < 3600.0 => {
            format!("{:.0} min {:.0} s", (seconds / 60.0).floor(), seconds % 60.0)
        }
        seconds => {
            format!("{:.0} h {:.0} min", (seconds / 3600.0).floor(), seconds % 3600.0 / 60.0)
        }
    }
}

/// The rows that a run moved or compared.
pub(super) fn rows(record: &RunRecord) -> Option<u64> {
    ["rows_delivered", "rows", "rows_equal"].iter().find_map(|name| record.number(name))
}

/// How fast it was; empty where nothing was moved.
pub(super) fn rate(record: &RunRecord) -> String {
    match rows(record) {
        Some(rows) if rows > 0 && record.seconds > 0.0 => {
            format!("{:.0} rows/s", rows as f64 / record.seconds)
        }
        _ => String::new(),
    }
}

/// Every figure of the report that is a number, a text or a switch, with its name.
pub(super) fn figures(record: &RunRecord) -> Vec<(String, String)> {
    let Some(Value::Object(report)) = &record.report else { return Vec::new() };
    let figures = report.iter().filter_map(|(name, value)| {
        let shown = match value {
            Value::Number(bytes) if name.ends_with("bytes") || name.starts_with("bytes") => {
                human_bytes(bytes.as_u64()?)
            }
            Value::Number(number) => number.to_string(),
            Value::String(text) => text.clone(),
            Value::Bool(switch) => (if *switch { "yes" } else { "no" }).to_owned(),
            _ => return None,
        };
        Some((name.replace('_', " "), shown))
    });
    figures.collect()
}

/// Rows that were left over, by reason.
pub(super) fn left_over(record: &RunRecord, senders: [u8; 2]) -> Vec<LeftOver> {
    let Some(report) = &record.report else { return Vec::new() };
    let [lower, higher] = senders;
    let lists = [
        (format!("only sender {lower} has them"), &report["leftovers"]["only_lower_sender"]),
        (format!("only sender {higher} has them"), &report["leftovers"]["only_higher_sender"]),
        ("the senders hold different versions".to_owned(), &report["leftovers"]["disagreeing"]),
        (
            "changed after being blinded, and kept the version".to_owned(),
            &report["changed_without_version"],
        ),
    ];
    let mut kinds: Vec<LeftOver> = lists
        .into_iter()
        .filter_map(|(why, ids)| LeftOver::of(why, ids.as_array()?.iter()))
        .collect();
    let bad: &[Value] = report["bad_rows"].as_array().map_or(&[], Vec::as_slice);
    let mut reasons: Vec<&str> = bad.iter().filter_map(|row| row["reason"].as_str()).collect();
    reasons.sort_unstable();
    reasons.dedup();
    kinds.extend(reasons.iter().filter_map(|reason| {
        let rows = bad.iter().filter(|row| row["reason"].as_str() == Some(reason));
        LeftOver::of(format!("cannot be read: {reason}"), rows.map(|row| &row["id"]))
    }));
    kinds
}

impl LeftOver {
    fn of<'a>(why: String, ids: impl Iterator<Item = &'a Value>) -> Option<Self> {
        let ids: Vec<String> = ids.map(Value::to_string).collect();
        let more = if ids.len() > IDS_SHOWN { ", ..." } else { "" };
        let shown = ids.iter().take(IDS_SHOWN).cloned().collect::<Vec<_>>().join(", ");
        (!ids.is_empty()).then(|| Self {
            why,
            count: ids.len() as u64,
            ids: format!("{shown}{more}"),
        })
    }

    pub(super) fn text(&self) -> String {
        format!("{}: {} ({})", counted(self.count, "row"), self.why, self.ids)
    }
}

/// What a comparison found different.
pub(super) fn differences(record: &RunRecord) -> Vec<String> {
    let list = record.report.as_ref().and_then(|report| report["first_differences"].as_array());
    let text = |found: &Value| {
        format!("id {}: {}", found["id"], found["difference"].as_str().unwrap_or(""))
    };
    list.map_or_else(Vec::new, |list| list.iter().map(text).collect())
}
