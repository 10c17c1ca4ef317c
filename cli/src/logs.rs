//! Logs go to standard error: data and reports have standard output to themselves.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Starts logging: warnings, or more with `-v`; `RUST_LOG` overrides both.
pub(crate) fn start(verbose: u8) {
    let level = match verbose {
        0 => "warn",
        1 => "warn,reshare=debug,reshare_io=debug,reshare_fixtures=debug",
        _ => "info,reshare=trace,reshare_io=trace,reshare_fixtures=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    logs.with_ansi(std::io::stderr().is_terminal() && !plain).init();
}
