//! Logs go to standard error: data and reports have standard output to themselves.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::streams::{self, LossyStderr};

/// What is logged of AWS, HTTP and TLS: little even where we log all, since what passes
/// through them is not ours to show.
const QUIET: &str = "aws=warn,h2=warn,hyper=warn,rustls=warn,tower=warn";

/// Starts logging: warnings, or more with `-v`; `RUST_LOG` overrides both.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        // Warnings of AWS name each place without credentials: the error says it once.
        0 => "warn,aws=error".to_owned(),
        1 => format!("warn,reshare=debug,{QUIET}"),
        _ => format!("info,reshare=trace,{QUIET}"),
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LossyStderr)
        .with_target(false);
    if streams::lines_are_json() {
        logs.json().flatten_event(true).with_current_span(false).with_span_list(false).init();
        return;
    }
    logs.with_ansi(std::io::stderr().is_terminal() && !plain).init();
}
