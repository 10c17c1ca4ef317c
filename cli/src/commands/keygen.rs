//! `reshare keygen`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reshare_files::durable;
use reshare_format::keys::{
    AgreementKey, AgreementKeySource, AgreementPublicKeys, DecapsulationKey, KmsKeyId, SealKind,
    SharedKey, generate_identity,
};
use reshare_format::session::SessionId;
use time::OffsetDateTime;

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::setup::agreement::public_key;
use crate::setup::session::load_session;
use crate::streams::say;

#[derive(Debug, Args)]
pub(crate) struct KeygenArgs {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// A sender's agreement keys (P-256 and ML-KEM-768): prints the public halves, PEM, for the
    /// maker of the session
    Agreement {
        /// Write the private keys, PKCS#8 PEM of mode 0600, to this new file
        #[arg(long, value_name = "FILE", required_unless_present = "session")]
        out: Option<PathBuf>,

        /// Name the new file after the session that the key is for, ID.agreement.key: one key for
        /// one session, so that it can end with it. A session file is read for its id
        #[arg(long, value_name = "ID|FILE", conflicts_with = "out")]
        session: Option<String>,

        /// The key on P-256 is in AWS KMS: only that of ML-KEM-768 is made, for --kem-key
        #[arg(long, value_name = "ARN")]
        kms_key_arn: Option<KmsKeyId>,
    },
    /// A key that both senders have, which travels by hand: prints its id, for the maker of the
    /// session
    Shared {
        /// Write the key, Base64, mode 0600, to this new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// A receiver's age identity (hybrid): prints the recipient, for `session new --receiver`
    Recipient {
        /// Write the identity, mode 0600, to this new file
        #[arg(long, value_name = "FILE")]
        out: PathBuf,

        /// X25519 alone, which age before 1.3 opens, and a large quantum computer too
        #[arg(long)]
        classic: bool,
    },
    /// The public halves of a sender's agreement keys, or the id of a shared key, printed again
    Public {
        /// The private keys' file
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
}

impl KeygenArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        match &self.kind {
            Kind::Agreement { out, session, kms_key_arn } => {
                let path = match (out, session) {
                    (Some(path), _) => path.clone(),
                    (None, Some(session)) => session_key_path(session)?,
                    (None, None) => return Err(Failure::usage("give --session or --out")),
                };
                let keys = match kms_key_arn {
                    None => {
                        AgreementKey::generate_file(&path).map_err(creation_failure)?.public_keys()
                    }
                    Some(arn) => AgreementPublicKeys {
                        agreement: public_key(&AgreementKeySource::Kms(arn.clone()))?,
                        encapsulation: {
                            let key = DecapsulationKey::generate_file(&path);
                            Some(key.map_err(creation_failure)?.public_key().clone())
                        },
                    },
                };
                print_new(output, "public_key", keys.to_pem().trim_end(), &path)?;
                if session.is_some() {
                    say!("note: the private key is in {}", path.display());
                }
                Ok(Exit::Done)
            }
            Kind::Shared { out } => {
                let key = SharedKey::generate_file(out).map_err(creation_failure)?;
                print_new(output, "shared_key_id", &key.id().to_string(), out)?;
                Ok(Exit::Done)
            }
            Kind::Recipient { out, classic } => {
                let created = OffsetDateTime::now_utc();
                let kind = if *classic { SealKind::Classic } else { SealKind::Hybrid };
                let recipient = generate_identity(out, kind, created).map_err(creation_failure)?;
                print_new(output, "recipient", &recipient.to_string(), out)?;
                Ok(Exit::Done)
            }
            Kind::Public { key } => {
                if let Ok(key) = SharedKey::load(key) {
                    let id = key.id().to_string();
                    report::line(&public_text(output, "shared_key_id", &id))?;
                    return Ok(Exit::Done);
                }
                let key =
                    AgreementKey::load(key).map_err(|error| Failure::of_file(error, "the path"))?;
                report::line(&public_text(
                    output,
                    "public_key",
                    key.public_keys().to_pem().trim_end(),
                ))?;
                Ok(Exit::Done)
            }
        }
    }
}

/// The name of the key file for a session, which is named by its id or its file.
fn session_key_path(session: &str) -> Result<PathBuf, Failure> {
    let path = Path::new(session);
    let id: SessionId = if path.is_file() {
        load_session(path)?.id().clone()
    } else {
        let hint = "give the id that the session will have, or its file";
        session.parse::<SessionId>().map_err(|error| Failure::usage(error).hint(hint))?
    };
    Ok(format!("{id}.agreement.key").into())
}

fn creation_failure(error: impl std::error::Error + Send + Sync + 'static) -> Failure {
    Failure::failed(error)
        .hint("a key file is never overwritten: give --out a new path, or another session's id")
}

/// Prints the public half of a key that was just made in `file`. A key whose public half nobody saw
/// is removed again.
fn print_new(output: &OutputArgs, name: &str, value: &str, file: &Path) -> Result<(), Failure> {
    report::line_once(&public_text(output, name, value)).map_err(|failure| {
        match durable::remove_file(file) {
            Ok(()) => failure.hint("the key was removed again: run the same command again"),
            Err(error) => failure.hint(format!("remove the key, {}: {error}", file.display())),
        }
    })
}

fn public_text(output: &OutputArgs, name: &str, value: &str) -> String {
    match output.json {
        true => serde_json::json!({ name: value }).to_string(),
        false => value.to_owned(),
    }
}
