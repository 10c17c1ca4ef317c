//! Flags that several commands share.

use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use reshare_engine::party::PartyId;
use reshare_exchange::{ClientOptions, DeliveryTarget, TlsFiles, TlsIdentity, UploadOptions};
use reshare_format::package::Compression;
use reshare_format::session::Session;
use reshare_pipeline::sender::LedgeredSender;
use reshare_postgres::load::{LoadOptions, OnConflict};

use crate::commands::AgreementKeyArgs;
use crate::failure::Failure;

/// Which session, and the facts that may be repeated to be checked against it.
#[derive(Debug, Args)]
pub(crate) struct SessionArgs {
    /// The session file that all three parties hold
    #[arg(long, value_name = "FILE", env = "RESHARE_SESSION")]
    pub(crate) session: PathBuf,

    /// The list of ids, where the session was made with --ids-from
    #[arg(long, value_name = "FILE")]
    pub(crate) ids_from: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) checks: CrossChecks,
}

/// Facts of the session, given once more: a flag that differs is refused, never obeyed.
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

/// Where the table lies.
#[derive(Debug, Args)]
#[command(next_help_heading = "Database")]
pub(crate) struct DatabaseArgs {
    /// URL of the database, or env:NAME for the variable that holds it [default: DATABASE_URL,
    /// then the libpq variables and .pgpass]
    #[arg(long, value_name = "URL")]
    pub(crate) db_url: Option<String>,

    /// Schema of the table [default: SMPC_{environment}_{party}]
    #[arg(long, value_name = "SCHEMA")]
    pub(crate) db_schema: Option<String>,

    #[command(flatten)]
    pub(crate) connections: ConnectionArgs,
}

/// How many connections.
#[derive(Debug, Args)]
pub(crate) struct ConnectionArgs {
    /// Database connections that work at the same time [default: RAYON_NUM_THREADS, then one a
    /// core; at most 4]
    #[arg(short = 'j', long, value_name = "N", value_parser = hands)]
    connections: Option<NonZeroUsize>,
}

impl ConnectionArgs {
    /// The number asked for, or the default.
    pub(crate) fn count(&self) -> usize {
        let default = || reshare_pipeline::default_threads().min(4);
        self.connections.map_or_else(default, NonZeroUsize::get)
    }
}

/// The work on rows.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct WorkArgs {
    /// The most rows of a part, or of one transaction of a load; few rows are cut smaller, so that
    /// all threads work. Smaller parts take less memory, and more of them are worked on at once
    #[arg(long, value_name = "ROWS", default_value = "512", value_parser = within::<NonZeroUsize>(1..=MAX_BATCH))]
    pub(crate) batch_size: NonZeroUsize,

    /// Threads that seal, open and merge parts [default: RAYON_NUM_THREADS, then one a core]; what
    /// only moves rows between a file and a database works with -j alone
    #[arg(long, value_name = "N", value_parser = hands)]
    pub(crate) threads: Option<NonZeroUsize>,
}

/// How a sender writes parts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Work")]
pub(crate) struct PackingArgs {
    /// Compress ids and agree columns: auto, off, or a level of zstd from 1 to 19; shares are
    /// blinded and stored as they are
    #[arg(long, value_name = "HOW", default_value = "auto", allow_negative_numbers = true)]
    compression: Compression,
}

impl PackingArgs {
    /// The sender, told how to compress.
    pub(crate) fn told(&self, sender: LedgeredSender) -> LedgeredSender {
        sender.compressing(self.compression)
    }
}

/// What a sender blinds with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct SenderKeyArgs {
    #[command(flatten)]
    pub(crate) agreement: AgreementKeyArgs,

    /// The session's fingerprint, as the operators read it to each other (see `session show`):
    /// needed where the session uses no certificates
    #[arg(long, value_name = "HEX")]
    pub(crate) expect_fingerprint: Option<String>,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

/// The authority that vouches for all parties' certificates.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Certificates (where the session uses them)")]
pub(crate) struct AuthorityArgs {
    /// The certificate of the session's authority, PEM: the session holds its SHA-256
    #[arg(long, value_name = "FILE", alias = "ca-root-file-path", env = "RESHARE_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// This party's certificate.
#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates (where the session uses them)")]
pub(crate) struct CertificateArgs {
    /// This party's certificate, PEM, with those of intermediate authorities after it
    #[arg(long, value_name = "FILE", env = "RESHARE_CERTIFICATE")]
    pub(crate) certificate: Option<PathBuf>,

    /// Its private key: a PEM file of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_CERTIFICATE_KEY")]
    pub(crate) certificate_key: Option<PathBuf>,
}

/// What a sender needs before it blinds anything, where the session uses certificates.
#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates (where the session uses them)")]
pub(crate) struct CredentialArgs {
    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,

    #[command(flatten)]
    pub(crate) certificate: CertificateArgs,

    /// An approval that `session approve` wrote: the receiver's and the other sender's are needed
    #[arg(long = "approval", value_name = "FILE", num_args = 1)]
    pub(crate) approvals: Vec<PathBuf>,
}

/// What a party proves its name with, and whom it believes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates")]
pub(crate) struct TlsArgs {
    /// This party's certificate in PEM, with the intermediate ones after it
    #[arg(long, value_name = "FILE", env = "RESHARE_CERTIFICATE")]
    pub(crate) certificate: PathBuf,

    /// Its private key: PKCS#8 PEM of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_CERTIFICATE_KEY")]
    pub(crate) certificate_key: PathBuf,

    /// The session's certificate authority in PEM
    #[arg(long, value_name = "FILE", env = "RESHARE_CA_FILE")]
    pub(crate) ca_file: PathBuf,
}

impl TlsArgs {
    /// Loads the files and checks them against the session.
    pub(crate) fn identity(&self, session: &Session) -> Result<TlsIdentity, Failure> {
        let files = TlsFiles {
            certificate: self.certificate.clone(),
            certificate_key: self.certificate_key.clone(),
            ca_file: self.ca_file.clone(),
        };
        Ok(TlsIdentity::load(&files, session)?)
    }
}

/// Where and how patiently a sender delivers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(crate) struct DeliveryArgs {
    /// The receiver's URL [default: the session's transport.server_url]
    #[arg(long, value_name = "URL", env = "RESHARE_SERVER_URL")]
    pub(crate) server_url: Option<String>,

    /// Parts on their way at the same time [default: 4]
    #[arg(long, value_name = "N", alias = "parts-at-once", value_parser = hands)]
    pub(crate) uploads: Option<NonZeroUsize>,

    /// Seconds for which a request is tried again before the delivery ends [default: 600]
    #[arg(long, value_name = "SECONDS", value_parser = within::<u64>(0..=MAX_SECONDS))]
    pub(crate) retry_for: Option<u64>,

    /// Seconds that it may take to connect, and to be answered once all is sent; then the request
    /// is tried again [default: 60]
    #[arg(long, value_name = "SECONDS", value_parser = within::<u64>(1..=MAX_SECONDS))]
    pub(crate) answer_timeout: Option<u64>,
}

/// Unless `--uploads` says otherwise.
const UPLOADS: NonZeroUsize = NonZeroUsize::new(4).expect("four is not zero");

impl DeliveryArgs {
    /// A flag of these that is on the command line: the URL may just be in the environment.
    pub(crate) fn given(&self) -> Option<&'static str> {
        let from_environment = std::env::var("RESHARE_SERVER_URL").ok();
        if self.server_url.is_some() && self.server_url != from_environment {
            return Some("--server-url");
        }
        let others = [
            (self.uploads.is_some(), "--uploads"),
            (self.retry_for.is_some(), "--retry-for"),
            (self.answer_timeout.is_some(), "--answer-timeout"),
        ];
        others.into_iter().find_map(|(is_given, flag)| is_given.then_some(flag))
    }

    /// One sender's place at the receiver.
    pub(crate) fn target(
        &self,
        session: &Session,
        sender: PartyId,
        identity: &TlsIdentity,
    ) -> Result<DeliveryTarget, Failure> {
        let url = self.server_url.as_deref().or(session.server_url()).ok_or_else(|| {
            Failure::usage("the session names no server_url")
                .hint("give the receiver's URL with --server-url")
        })?;
        let mut options = ClientOptions::default();
        if let Some(seconds) = self.retry_for {
            options.give_up_after = Duration::from_secs(seconds);
        }
        if let Some(seconds) = self.answer_timeout {
            options.timeout = Duration::from_secs(seconds);
        }
        Ok(DeliveryTarget::new(session, sender, url, identity, options)?)
    }

    /// How parts are uploaded.
    pub(crate) fn options(&self) -> UploadOptions {
        UploadOptions { parts_at_once: self.uploads.unwrap_or(UPLOADS) }
    }
}

/// What a receiver opens packages with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Packages")]
pub(crate) struct PackagesArgs {
    /// A package's directory: given twice, one of each sender, in any order
    #[arg(long = "package", value_name = "DIR", required = true, num_args = 1)]
    pub(crate) packages: Vec<PathBuf>,

    /// The receiver's age identity: a file of mode 0600
    #[arg(long, value_name = "FILE", env = "RESHARE_IDENTITY")]
    pub(crate) identity: PathBuf,

    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,
}

/// Where to write what was done, beside the terminal.
#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Write the report, with every row left over, to this file too
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,

    /// Write the ids of the rows left over to this file, if there are any: what `session new
    /// --ids-from` takes for the session that brings them
    #[arg(long, value_name = "FILE")]
    pub(crate) leftover_ids: Option<PathBuf>,
}

/// What to do about rows that are in the target already.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rows that are in the table already")]
pub(crate) struct ConflictArgs {
    /// Refuse before anything is written, or replace the rows whole: columns that are not
    /// delivered take their defaults
    #[arg(long, value_name = "HOW", value_enum, default_value_t = ConflictRule::Error)]
    on_conflict: ConflictRule,

    /// With `--on-conflict replace`: replace rows of a higher version, too
    #[arg(long)]
    allow_older: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ConflictRule {
    Error,
    Replace,
}

impl ConflictArgs {
    /// The same, as the load takes it.
    pub(crate) fn options(&self) -> Result<LoadOptions, Failure> {
        let on_conflict = match (self.on_conflict, self.allow_older) {
            (ConflictRule::Error, false) => OnConflict::Error,
            (ConflictRule::Error, true) => {
                let error = "--allow-older says something about --on-conflict replace only";
                return Err(Failure::usage(error));
            }
            (ConflictRule::Replace, allow_older) => OnConflict::Replace { allow_older },
        };
        Ok(LoadOptions { on_conflict, ..LoadOptions::default() })
    }
}

/// What is printed.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print the final report as JSON on standard output
    #[arg(long, global = true)]
    pub(crate) json: bool,

    /// Show no progress
    #[arg(long, short, global = true)]
    pub(crate) quiet: bool,

    /// Log more: -v for debug, -vv for trace; RUST_LOG is honoured
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
}

/// The most connections or threads of one run: more only fill the memory.
const MAX_HANDS: u64 = 1000;
/// The most rows of a part: no part that a session allows has as many.
const MAX_BATCH: u64 = 1_000_000;
/// The longest time that is waited for anything, a year: what is added to the clock stays a time.
pub(crate) const MAX_SECONDS: u64 = 365 * 86_400;

/// Reads how many work at the same time.
fn hands(text: &str) -> Result<NonZeroUsize, String> {
    within(1..=MAX_HANDS)(text)
}

/// Reads a number that must lie within a range, both ends included.
pub(crate) fn within<T: FromStr>(
    range: RangeInclusive<u64>,
) -> impl Fn(&str) -> Result<T, String> + Clone {
    move |text| {
        let is_within = text.parse::<u64>().is_ok_and(|number| range.contains(&number));
        let number = is_within.then(|| text.parse().ok()).flatten();
        let (least, most) = (range.start(), range.end());
        number.ok_or_else(|| format!("a number from {least} to {most} is expected"))
    }
}

impl WorkArgs {
    /// Threads for sealing and opening.
    pub(crate) fn threads(&self) -> usize {
        self.threads.map_or_else(reshare_pipeline::default_threads, NonZeroUsize::get)
    }
}
