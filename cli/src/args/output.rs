//! The flags for input and output: packages, reports, the terminal.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::certificates::AuthorityArgs;

/// What a receiver opens packages with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Packages")]
pub(crate) struct PackagesArgs {
    /// A package's directory: give it twice, once for each sender, in any order
    #[arg(long = "package", value_name = "DIR", required = true, num_args = 1)]
    pub(crate) packages: Vec<PathBuf>,

    /// The receiver's age identity: a file of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_IDENTITY")]
    pub(crate) identity: PathBuf,

    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,
}

/// Files to write the report to.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Also write the report, with every left-over row, to this file
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Write the ids of left-over rows to this file, if there are any: `session new --ids-from`
    /// takes it to make a session for these rows
    #[arg(long, value_name = "FILE")]
    pub(crate) leftover_ids: Option<PathBuf>,
}

/// What is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print the final report as JSON on standard output, and an error as JSON on standard error
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Settings file: what flags say, for every command, as `reshare config show` lists it
    /// [default: $XDG_CONFIG_HOME/reshare/reshare.toml, then ~/.config/reshare/reshare.toml]
    #[arg(long, value_name = "FILE", global = true, env = "RESHARE_CONFIG")]
    pub(crate) config: Option<PathBuf>,

    /// Show no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Log more: -v for debug, -vv for trace; RUST_LOG is honoured
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,

    /// How lines on standard error are written: as text, or each as one JSON object [default: text]
    #[arg(long, value_name = "FORMAT", global = true, env = "RESHARE_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

/// How lines on standard error are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    // Without doc comments: they would make the help of every command a long one.
    Text,
    Json,
}
