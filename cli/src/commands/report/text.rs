//! The report as text.

use super::RunsReport;
use super::facts::{differences, left_over, moment, rate, rows, seconds};
use crate::runs::RunRecord;
use crate::text::counted;

/// A summary: the session, then some lines a run.
pub(super) fn text(report: &RunsReport) -> String {
    let mut lines = vec![
        format!("session      {}", report.session_id),
        format!("fingerprint  {}", report.fingerprint),
        format!("environment  {}", report.environment),
        format!("runs         {}", report.runs.len()),
    ];
    for record in &report.runs {
        lines.push(String::new());
        lines.extend(run(report, record));
    }
    lines.join("\n")
}

fn run(report: &RunsReport, record: &RunRecord) -> Vec<String> {
    let (began, party) = (moment(record.started_at), report.role(record.party));
    let mut facts = vec![seconds(record.seconds)];
    facts.extend(rows(record).map(|rows| counted(rows, "row")));
    facts.extend(Some(rate(record)).filter(|rate| !rate.is_empty()));
    facts.extend(record.retries.filter(|count| *count > 0).map(|count| format!("{count} retries")));
    facts.push(format!("reshare {}", record.program));
    let mut lines = vec![
        format!(
            "{began}  {party}  {}: {} ({})",
            record.command,
            record.outcome(),
            record.exit_code
        ),
        format!("  {}", facts.join(", ")),
    ];
    if let Some(error) = &record.error {
        lines.push(format!("  error: {}", error.message));
        lines.extend(error.causes.iter().map(|cause| format!("    caused by: {cause}")));
        lines.extend(error.hint.iter().map(|hint| format!("    hint: {hint}")));
    }
    let kinds = left_over(record, report.senders);
    lines.extend(kinds.iter().map(|kind| format!("  left over: {}", kind.text())));
    lines.extend(differences(record).iter().map(|found| format!("  differs: {found}")));
    lines.extend(record.receipt.iter().map(|path| format!("  receipt: {path}")));
    lines
}
