//! `reshare keygen`.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use reshare_format::keys::{AgreementKey, SealKind, generate_identity};
use time::OffsetDateTime;

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// A sender's agreement key (P-256): prints the public half, PEM, for `session new --sender`
    Agreement {
        /// Write the private key, PKCS#8 PEM of mode 0600, to this new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// A receiver's age identity (ML-KEM-768 and X25519): prints the recipient, for `session new
    /// --receiver`
    Recipient {
        /// Write the identity, mode 0600, to this new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,

        /// X25519 alone, which age before 1.3 opens, and a large quantum computer too
        #[arg(long)]
        classic: bool,
    },
    /// The public half of a sender's agreement key, printed again
    Public {
        /// The private key's file
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

impl KeygenArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        match &self.kind {
            Kind::Agreement { out } => {
                let key = AgreementKey::generate_file(out).map_err(creation_failure)?;
                print_public(output, "public_key", key.public_key().to_pem().trim_end())
            }
            Kind::Recipient { out, classic } => {
                let created = OffsetDateTime::now_utc();
                let kind = if *classic { SealKind::Classic } else { SealKind::Hybrid };
                let recipient = generate_identity(out, kind, created).map_err(creation_failure)?;
                print_public(output, "recipient", &recipient.to_string())
            }
            Kind::Public { key } => {
                let key =
                    AgreementKey::load(key).map_err(|error| Failure::of_file(error, "the path"))?;
                print_public(output, "public_key", key.public_key().to_pem().trim_end())
            }
        }
    }
}

fn creation_failure(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::failed(error).hint("a key file is never overwritten: give --out a new path")
}

fn print_public(output: &OutputArgs, name: &str, value: &str) -> Outcome {
    if output.json {
        report::line(&serde_json::json!({ name: value }).to_string())?;
    } else {
        report::line(value)?;
    }
    Ok(Exit::Done)
}
