//! The flags that name a session, and those that repeat its facts.

use std::path::PathBuf;

use clap::Args;

/// The session, and facts of it that may be repeated as a check.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The session file that all three parties hold
    #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
    pub(crate) session: PathBuf,

    /// The list of ids: needed if the session was made with --ids-from
    #[arg(long, value_name = "FILE")]
    pub(crate) ids_from: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) checks: CrossChecks,
}

/// Facts of the session, repeated: a flag that differs from the session is refused, never obeyed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Cross-checks against the session (refused if they differ)")]
pub(crate) struct CrossChecks {
    /// This party
    #[arg(long, value_name = "PARTY", env = "RESHARE_PARTY_ID")]
    pub(crate) party_id: Option<u64>,

    /// The other sender
    #[arg(long, value_name = "PARTY")]
    pub(crate) other_party_id: Option<u64>,

    /// The receiver, whose share is rebuilt
    #[arg(long, value_name = "PARTY")]
    pub(crate) target_party_id: Option<u64>,

    /// The environment in the schema's name
    #[arg(long, value_name = "NAME")]
    pub(crate) environment: Option<String>,

    /// The first id
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub(crate) db_start: Option<i64>,

    /// The id after the last one
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    pub(crate) db_end: Option<i64>,

    /// The session id
    #[arg(long, value_name = "ID")]
    pub(crate) reshare_run_session_id: Option<String>,
}
