//! The report as one page: no script, no link to anything, and nothing shown that is not escaped.

use std::fmt::Display;

use super::RunsReport;
use super::facts::{differences, figures, left_over, moment, rate, rows, seconds};
use super::plot::{bars, colour, line, rates};
use crate::runs::RunRecord;
use crate::text::{human_bytes, printable};

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &RunsReport) -> String {
    let title = escape(&format!("Runs of session {}", report.session_id));
    let mut body = head(report);
    body.push_str(&times(report));
    body.push_str("<h2>Runs one by one</h2>\n");
    for (place, record) in report.runs.iter().enumerate() {
        body.push_str(&run(report, place, record));
    }
    body.push_str(&receipts(report));
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )
}

/// Text of unknown origin, as HTML shows it: nothing in it is markup, turns the direction of text, or is invisible.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in printable(text).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}' => {
                out.extend(character.escape_unicode());
            }
            usual => out.push(usual),
        }
    }
    out
}

/// A list of names and values.
fn list<N: AsRef<str>, V: Display>(facts: impl IntoIterator<Item = (N, V)>) -> String {
    let fact = |(name, value): (N, V)| {
        format!("<dt>{}</dt><dd>{}</dd>\n", escape(name.as_ref()), escape(&value.to_string()))
    };
    let facts: String = facts.into_iter().map(fact).collect();
    format!("<dl>\n{facts}</dl>\n")
}

/// A table; cells are HTML already.
fn table(names: &[&str], lines: &[Vec<String>]) -> String {
    let head: String = names.iter().map(|name| format!("<th scope=\"col\">{name}</th>")).collect();
    let line = |cells: &Vec<String>| {
        let cells = names.iter().zip(cells);
        let cells: String =
            cells.map(|(name, cell)| format!("<td data-label=\"{name}\">{cell}</td>")).collect();
        format!("<tr>{cells}</tr>\n")
    };
    let lines: String = lines.iter().map(line).collect();
    format!("<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}</tbody>\n</table>\n")
}

/// Which session, and all its runs in short.
fn head(report: &RunsReport) -> String {
    let [lower, higher] = report.senders;
    let facts = [
        ("session", report.session_id.clone()),
        ("fingerprint", report.fingerprint.clone()),
        ("environment", report.environment.clone()),
        ("senders", format!("party {lower} and party {higher}")),
        ("receiver", format!("party {}", report.receiver)),
    ];
    let line = |(place, record): (usize, &RunRecord)| {
        vec![
            format!("<a href=\"#run-{0}\">{0}</a>", place + 1),
            escape(&report.role(record.party)),
            escape(&record.command),
            outcome(record),
            escape(&moment(record.started_at)),
            escape(&seconds(record.seconds)),
            rows(record).map_or_else(String::new, |rows| rows.to_string()),
            escape(&rate(record)),
            escape(&record.program),
        ]
    };
    let names = ["run", "party", "command", "outcome", "began", "took", "rows", "rate", "version"];
    let lines: Vec<_> = report.runs.iter().enumerate().map(line).collect();
    format!("{}<h2>All runs</h2>\n{}", list(facts), table(&names, &lines))
}

fn outcome(record: &RunRecord) -> String {
    let class = if record.exit_code == 0 { "good" } else { "bad" };
    let code = record.exit_code;
    format!("<span class=\"outcome {class}\">{} ({code})</span>", escape(record.outcome()))
}

/// All runs and their stages, over one time.
fn times(report: &RunsReport) -> String {
    let began = report.runs.iter().map(|record| record.started_at).min();
    let ended = report.runs.iter().map(|record| record.ended_at).max();
    let (Some(began), Some(ended)) = (began, ended) else { return String::new() };
    let total = (ended - began).as_seconds_f64().max(0.001);
    let lanes = report.runs.iter().enumerate().map(|(place, record)| {
        let offset = (record.started_at - began).as_seconds_f64();
        format!(
            "<div class=\"lane\">{}. {}: {}, {}{}</div>\n",
            place + 1,
            escape(&report.role(record.party)),
            escape(&record.command),
            escape(record.outcome()),
            bars(record, offset, total)
        )
    });
    let lanes: String = lanes.collect();
    let ends = format!(
        "<div class=\"ends\"><span>{}</span><span>{}</span></div>\n",
        escape(&moment(began)),
        escape(&moment(ended))
    );
    format!("<h2>Stages over time</h2>\n{lanes}{ends}")
}

/// All that is known of one run.
fn run(report: &RunsReport, place: usize, record: &RunRecord) -> String {
    let number = place + 1;
    let mut facts = vec![
        ("outcome".to_owned(), format!("{} (exit code {})", record.outcome(), record.exit_code)),
        ("began".to_owned(), moment(record.started_at)),
        ("ended".to_owned(), moment(record.ended_at)),
        ("took".to_owned(), seconds(record.seconds)),
        ("version".to_owned(), record.program.clone()),
    ];
    let retries =
        record.retries.map(|count| ("requests tried again".to_owned(), count.to_string()));
    facts.extend(retries);
    facts.extend(figures(record));
    let heading = escape(&format!("{number}. {}: {}", report.role(record.party), record.command));
    let mut html = format!("<section class=\"run\" id=\"run-{number}\">\n<h3>{heading}</h3>\n");
    html.push_str(&list(facts));
    html.push_str(&error(record));
    html.push_str(&rows_left_over(report, record));
    html.push_str(&found_different(record));
    html.push_str(&stages(record));
    html.push_str(&rates_over_time(record));
    html + "</section>\n"
}

fn error(record: &RunRecord) -> String {
    let Some(error) = &record.error else { return String::new() };
    let causes = error.causes.iter().map(|cause| ("caused by", cause));
    let rest = error.note.iter().map(|note| ("note", note));
    let rest = rest.chain(error.hint.iter().map(|hint| ("hint", hint)));
    let facts = std::iter::once(("error", &error.message)).chain(causes).chain(rest);
    format!("<h3 class=\"bad\">Why it ended</h3>\n{}", list(facts))
}

fn rows_left_over(report: &RunsReport, record: &RunRecord) -> String {
    let kinds = left_over(record, report.senders);
    if kinds.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = kinds
        .iter()
        .map(|kind| vec![kind.count.to_string(), escape(&kind.why), escape(&kind.ids)])
        .collect();
    format!("<h3 class=\"bad\">Rows left over</h3>\n{}", table(&["rows", "why", "ids"], &lines))
}

fn found_different(record: &RunRecord) -> String {
    let found = differences(record);
    if found.is_empty() {
        return String::new();
    }
    let items: String = found.iter().map(|text| format!("<li>{}</li>\n", escape(text))).collect();
    format!("<h3 class=\"bad\">Differences</h3>\n<ul>\n{items}</ul>\n")
}

fn stages(record: &RunRecord) -> String {
    if record.stages.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = record
        .stages
        .iter()
        .enumerate()
        .map(|(place, stage)| {
            let swatch = format!(
                "<svg class=\"swatch\" width=\"12\" height=\"12\" aria-hidden=\"true\"><rect width=\"12\" height=\"12\" \
                 fill=\"{}\"/></svg>",
                colour(place)
            );
            vec![
                format!("{swatch}{}", escape(&stage.name)),
                seconds(stage.begin),
                seconds(stage.end - stage.begin),
                stage.rows.to_string(),
                stage.rows_skipped.to_string(),
                human_bytes(stage.bytes),
            ]
        })
        .collect();
    let names = ["stage", "after", "took", "rows", "rows done before", "bytes"];
    format!("<h3>Stages</h3>\n{}", table(&names, &lines))
}

fn rates_over_time(record: &RunRecord) -> String {
    let Some((svg, highest)) = line(&rates(&record.samples), record.seconds) else {
        return String::new();
    };
    format!(
        "<h3>Rows a second over time</h3>\n<div class=\"ends\"><span>{highest:.0} rows/s at the top</span></div>\n{svg}\n\
         <div class=\"ends\"><span>0 s</span><span>{}</span></div>\n",
        seconds(record.seconds)
    )
}

/// Which receipts there are, and how each is checked.
fn receipts(report: &RunsReport) -> String {
    let receipts = report.runs.iter().filter_map(|record| {
        let path = record.receipt.as_ref()?;
        Some((report.role(record.party), path))
    });
    let receipts: Vec<_> = receipts.collect();
    let found = match receipts.is_empty() {
        true => "<p>None of these runs has signed a receipt.</p>\n".to_owned(),
        false => list(receipts),
    };
    format!(
        "<h2>Receipt</h2>\n{found}<p>This page proves nothing by itself: it shows what each party's own run reports say. The \
         receiver's signed receipt can be checked with the session and the authority's certificate:</p>\n\
         <pre>reshare receipt check receipt.json --session session.toml --ca-file ca.pem</pre>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup_or_hidden() {
        let hostile = "<script>alert('x')</script>&\"\u{1b}[31m\u{202e}gpj.\u{200b}";
        let shown = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&amp;&quot;\\u{1b}[31m\\u{202e}gpj.\\u{200b}";
        assert_eq!(escape(hostile), shown);
    }
}
