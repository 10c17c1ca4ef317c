//! What a run did, in words.

use std::path::Path;
use std::time::Duration;

use reshare_exchange::UploadReport;
use reshare_files::ids::{IdRange, list_ranges};
use reshare_files::leftovers::Leftovers;
use reshare_format::session::Session;
use reshare_pipeline::deliver::DeliveryReport;
use reshare_pipeline::left_out::LeftOutRow;
use reshare_pipeline::rebuild::RebuildReport;
use reshare_pipeline::sealer::PackReport;
use reshare_pipeline::workers::{Source, Target};

use crate::exit::Exit;
use crate::text::counted;

/// Ids of one kind that are listed on a terminal; the report has all.
const IDS_SHOWN: usize = 10;

/// A line with an amount of share data and the rate at which it was moved; nothing where
/// nothing was moved.
pub(crate) fn rate(rows: u64, share_bytes: u64, took: Duration) -> String {
    if rows == 0 {
        return String::new();
    }
    let seconds = took.as_secs_f64().max(1e-9);
    let (per_second, megabytes) = (rows as f64 / seconds, share_bytes as f64 / 1e6);
    format!(
        "\n{megabytes:.1} MB of shares in {seconds:.2} s: {per_second:.0} rows/s, {:.1} MB/s",
        megabytes / seconds
    )
}

/// What a sender packed.
pub(crate) fn packed(report: &PackReport, to: &Path, took: Duration) -> String {
    let PackReport { rows, sender, parts, sealed_bytes, .. } = report;
    let (to, counts) = (to.display(), rows_in_parts(*rows, *parts));
    let mut text = match report.closed_before {
        true => format!(
            "{to} is complete already, with what the ledger has recorded: {counts} of sender \
             {sender} ({sealed_bytes} bytes)"
        ),
        false => format!("packed {counts} of sender {sender} ({sealed_bytes} bytes) to {to}"),
    };
    if report.parts_kept > 0 && !report.closed_before {
        let kept = counted(report.parts_kept, "part");
        text.push_str(&format!("\nkept {kept} that an earlier run had sealed"));
    }
    if !report.closed_before {
        text.push_str(&rate(*rows, report.share_bytes, took));
    }
    text.push_str(nothing_sent(report));
    text.push_str(&snapshots(report));
    text.push_str(&added_later(report));
    text.push_str(&changed_without_version(report));
    text.push_str(&bad_rows(&report.bad_rows));
    text
}

fn rows_in_parts(rows: u64, parts: u64) -> String {
    match (rows, parts) {
        (0, 0) => "no rows".to_owned(),
        _ => format!("{} in {}", counted(rows, "row"), counted(parts, "part")),
    }
}

/// Why a package is empty; no text if it has rows, or lost them all for another reason.
fn nothing_sent(report: &PackReport) -> &'static str {
    if report.rows > 0 || exit_of_pack(report) == Exit::LeftOver {
        return "";
    }
    "\nnote: this sender has no row with an id of the session, and its empty package says so"
}

fn added_later(report: &PackReport) -> String {
    if report.rows_added_later == 0 {
        return String::new();
    }
    let rows = counted(report.rows_added_later, "row");
    format!(
        "\nnote: {rows} came into ids that an earlier run had covered: a later session sends them"
    )
}

/// Says so where not all rows are of one moment.
fn snapshots(report: &PackReport) -> String {
    match report.snapshots {
        0 | 1 => String::new(),
        more => format!("\nnote: the rows are of {more} snapshots of the table"),
    }
}

fn changed_without_version(report: &PackReport) -> String {
    let kind = "changed after being blinded and kept the version";
    left_over(kind, &report.changed_without_version)
}

/// What a sender packed and delivered in one pass.
pub(crate) fn delivered(report: &DeliveryReport, took: Duration) -> String {
    let DeliveryReport { package, parts_delivered, rows_delivered, bytes_delivered } = report;
    let PackReport { sender, rows, parts, parts_kept, .. } = package;
    let counts = rows_in_parts(*rows, *parts);
    let mut text = match package.closed_before {
        true => format!(
            "the receiver has the package of sender {sender} already, with what the ledger has \
             recorded: {counts}"
        ),
        false => format!(
            "delivered the package of sender {sender}: {counts}; {} ({bytes_delivered} bytes) in \
             this run",
            rows_in_parts(*rows_delivered, *parts_delivered)
        ),
    };
    if *parts_kept > 0 && !package.closed_before {
        text.push_str(&format!(", {} had arrived before", counted(*parts_kept, "part")));
    }
    if !package.closed_before {
        text.push_str(&rate(*rows_delivered, package.share_bytes, took));
    }
    text.push_str(nothing_sent(package));
    text.push_str(&snapshots(package));
    text.push_str(&added_later(package));
    text.push_str(&changed_without_version(package));
    text.push_str(&bad_rows(&package.bad_rows));
    text
}

/// The rows that were left out because they cannot be read.
pub(crate) fn bad_rows(rows: &[LeftOutRow]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let shown = rows.iter().take(IDS_SHOWN).map(|row| format!("id {} ({})", row.id, row.reason));
    let shown: Vec<String> = shown.collect();
    let more = if rows.len() > IDS_SHOWN { ", ..." } else { "" };
    let rows = counted(rows.len() as u64, "row");
    format!("\nleft over: {rows} that cannot be read: {}{more}", shown.join(", "))
}

/// Whether a sender had to leave rows out.
pub(crate) fn exit_of_pack(report: &PackReport) -> Exit {
    let sent_all = report.changed_without_version.is_empty() && report.bad_rows.is_empty();
    if sent_all { Exit::Done } else { Exit::LeftOver }
}

/// What was delivered.
pub(crate) fn uploaded(report: &UploadReport, took: Duration) -> String {
    let (seconds, megabytes) = (took.as_secs_f64().max(1e-9), report.sealed_bytes as f64 / 1e6);
    let mut text = format!(
        "delivered the package of sender {}: {}, {} ({megabytes:.1} MB) in {seconds:.2} s, \
         {:.1} MB/s",
        report.sender,
        counted(report.rows, "row"),
        counted(report.parts, "part"),
        megabytes / seconds
    );
    if report.parts_skipped > 0 {
        text.push_str(&format!("; {} had arrived before", counted(report.parts_skipped, "part")));
    }
    text
}

/// What was written to a table, and how fast.
pub(crate) fn loaded(rows: u64, skipped: u64, target: &Source, rate: &str) -> String {
    let mut text = format!("loaded {} into {}", counted(rows, "row"), target.table.name());
    if skipped > 0 {
        text.push_str(&format!(", skipped {skipped} that this session had loaded before"));
    }
    text.push_str(rate);
    text
}

/// What was rebuilt.
pub(crate) fn rebuilt(
    report: &RebuildReport,
    session: &Session,
    target: &Target,
    took: Duration,
) -> String {
    let rate = rate(report.rows, report.share_bytes, took);
    let loaded = loaded(report.rows, report.rows_skipped, &target.source, &rate);
    let leftovers = leftovers(session, &report.leftovers);
    let sequences = sequences(&report.sequences_behind);
    format!("{loaded}{}{}{leftovers}{sequences}", nothing_read(report), redone(report))
}

/// What to do about sequences that stand below the highest id; empty if there is none.
pub(crate) fn sequences(behind: &[String]) -> String {
    let line = |setval: &String| {
        format!(
            "
the sequence of the ids stands below the highest one: before the application inserts \
             rows, run {setval};"
        )
    };
    behind.iter().map(line).collect()
}

/// That a run in which everything was loaded before says nothing of the packages as they are now.
fn nothing_read(report: &RebuildReport) -> &'static str {
    if report.rows > 0 || report.rows_skipped == 0 {
        return "";
    }
    "
note: all of it was loaded before: no part of the packages was read, and nothing is said of what they hold \
     now. `reshare verify` with both --package compares them with the table"
}

/// Which ranges were loaded again; empty if none was to be.
fn redone(report: &RebuildReport) -> String {
    let list = |ranges: &[(i64, i64)]| {
        let ranges = ranges.iter().filter_map(|(first, last)| IdRange::new(*first, *last));
        list_ranges(&ranges.collect::<Vec<_>>())
    };
    let mut text = String::new();
    if !report.redone.is_empty() {
        text.push_str(&format!(
            "\nloaded again, in place of what was loaded: ids {}",
            list(&report.redone)
        ));
    }
    if !report.redo_kept.is_empty() {
        text.push_str(&format!("\nof these packages already: ids {}", list(&report.redo_kept)));
    }
    text
}

/// Which rows were not rebuilt; empty if all were.
pub(crate) fn leftovers(session: &Session, leftovers: &Leftovers) -> String {
    let [lower, higher] = session.senders().map(|sender| sender.party);
    let kinds = [
        (format!("only sender {lower} has"), &leftovers.only_lower_sender),
        (format!("only sender {higher} has"), &leftovers.only_higher_sender),
        ("the senders hold in different versions".to_owned(), &leftovers.disagreeing),
    ];
    kinds.iter().map(|(kind, ids)| left_over(kind, ids)).collect()
}

/// A line on rows of one kind; empty if there are none.
fn left_over(kind: &str, ids: &[i64]) -> String {
    if ids.is_empty() {
        return String::new();
    }
    let shown: Vec<String> = ids.iter().take(IDS_SHOWN).map(i64::to_string).collect();
    let more = if ids.len() > IDS_SHOWN { ", ..." } else { "" };
    let rows = counted(ids.len() as u64, "row");
    format!("\nleft over: {rows} that {kind}: {}{more}", shown.join(", "))
}

/// Whether rows were left over.
pub(crate) fn exit_of(leftovers: &Leftovers) -> Exit {
    if leftovers.is_empty() { Exit::Done } else { Exit::LeftOver }
}
