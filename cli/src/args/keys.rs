//! The flags of keys, and of a sender's ledger.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use reshare_format::keys::{AgreementKeySource, KmsKeyId};

use super::certificates::CredentialArgs;
use super::value::user_directory;
use crate::failure::Failure;

/// What a sender blinds with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys")]
pub(crate) struct SenderKeyArgs {
    #[command(flatten)]
    pub(crate) agreement: AgreementKeyArgs,

    /// The session's fingerprint, in digits or words, as the operators read it to each other (see
    /// `session show`): required if the session uses no certificates
    #[arg(long, value_name = "TEXT")]
    pub(crate) expect_fingerprint: Option<String>,

    #[command(flatten)]
    pub(crate) credentials: CredentialArgs,
}

/// Where the agreement key is.
#[derive(Debug, Args)]
#[command(next_help_heading = "Keys", group = ArgGroup::new("own_key").required(true))]
pub(crate) struct AgreementKeyArgs {
    /// This sender's agreement key: file:PATH, a PKCS#8 PEM file of mode 0600, or kms:ARN, a key
    /// in AWS KMS
    #[arg(long, value_name = "KEY", env = "RESHARE_AGREEMENT_KEY", group = "own_key")]
    agreement_key: Option<AgreementKeySource>,

    /// The same as --agreement-key kms:ARN
    #[arg(long, value_name = "ARN", group = "own_key")]
    my_kms_key_arn: Option<KmsKeyId>,

    /// The other sender's key in AWS KMS: refused unless it is the one in the session
    #[arg(long, value_name = "ARN")]
    pub(crate) other_kms_key_arn: Option<KmsKeyId>,

    /// The key of ML-KEM-768 of the sender with the lower party id, where its agreement key is in AWS
    /// KMS: what `keygen agreement --kms-key-arn` wrote
    #[arg(long, value_name = "FILE", env = "RESHARE_KEM_KEY")]
    pub(crate) kem_key: Option<PathBuf>,

    /// The key that both senders have in a file: required if the session names one
    #[arg(long, value_name = "FILE", env = "RESHARE_SHARED_KEY")]
    pub(crate) shared_key: Option<PathBuf>,
}

impl AgreementKeyArgs {
    /// The key that is named; the command line of `check` may name none.
    pub(crate) fn source(&self) -> Option<AgreementKeySource> {
        let by_arn = || self.my_kms_key_arn.clone().map(AgreementKeySource::Kms);
        self.agreement_key.clone().or_else(by_arn)
    }
}

/// The public key that this party gave to the operator who made the session file.
#[derive(Debug, Args)]
pub(crate) struct OwnKeyArgs {
    /// This party's own public key, as `keygen` or `kms public-key` printed it, or its public file,
    /// as
    /// `party init` made it: a file, or the receiver's age1...; refused unless the session has it
    /// for this party
    #[arg(long, value_name = "FILE|age1...")]
    pub(crate) own_public_key: String,
}

/// The ledger that a sender blinds with.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ledger")]
pub(crate) struct LedgerArgs {
    #[command(flatten)]
    pub(crate) state: StateArgs,

    /// Take a ledger that was moved here, once: rows that another copy of it has blinded since are
    /// not in it, and if their shares have changed, the receiver learns the difference
    #[arg(long)]
    pub(crate) adopt_ledger: bool,
}

/// What shows that a sender has blinded rows of a session before.
#[derive(Debug, Args)]
#[command(next_help_heading = "Ledger")]
pub(crate) struct EvidenceArgs {
    /// A package, receipt or inbox of this session, wherever one may be: if it shows that this sender
    /// has blinded rows before, its ledger is lost, and no second one is made. May be given several
    /// times
    #[arg(long = "evidence", value_name = "PATH", num_args = 1)]
    pub(crate) evidence: Vec<PathBuf>,
}

/// Where a party keeps what it must remember: a sender its ledgers, each party its run reports.
#[derive(Debug, Args)]
#[command(next_help_heading = "State")]
pub(crate) struct StateArgs {
    /// Directory of this party's run reports and, of a sender, its ledgers, which are never copied
    /// [default: $XDG_STATE_HOME/reshare, then ~/.local/state/reshare]
    #[arg(long, value_name = "DIR", env = "RESHARE_STATE_DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

impl StateArgs {
    /// The directory asked for, or the default one.
    pub(crate) fn directory(&self) -> Result<PathBuf, Failure> {
        if let Some(directory) = &self.state_dir {
            return Ok(directory.clone());
        }
        let state = user_directory("XDG_STATE_HOME", ".local/state");
        state.map(|state| state.join("reshare")).ok_or_else(|| {
            Failure::usage("there is no home directory for the ledger")
                .hint("give --state-dir DIR or set RESHARE_STATE_DIR")
        })
    }
}
