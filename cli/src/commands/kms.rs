//! `reshare kms`.

use clap::{Args, Subcommand};
use reshare_format::keys::KmsKeyId;
use reshare_kms::KmsKey;

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::run::block_on;

#[derive(Debug, Args)]
pub(crate) struct KmsCommand {
    #[command(subcommand)]
    kind: Kind,
}

#[derive(Debug, Subcommand)]
enum Kind {
    /// Make an agreement key (KEY_AGREEMENT, ECC_NIST_P256): prints its ARN and public half
    CreateKey {
        /// Description of the key in the AWS console
        #[arg(long, value_name = "TEXT", default_value = "Agreement key of a reshare sender")]
        description: String,
    },
    /// Print the public half of an agreement key, PEM, for `session new --sender`
    PublicKey {
        /// The key: its ARN, or an alias' ARN, a key id or alias/NAME
        #[arg(value_name = "ARN")]
        key: KmsKeyId,
    },
}

impl KmsCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let key = block_on(async {
            let key = match &self.kind {
                Kind::CreateKey { description } => KmsKey::create(Some(description)).await,
                Kind::PublicKey { key } => KmsKey::open(key).await,
            };
            key.map_err(Failure::from)
        })?;
        let (arn, pem) = (key.arn().as_str(), key.public_key().to_pem());
        let public_key = pem.trim_end();
        let text = match (&self.kind, output.json) {
            (_, true) => serde_json::json!({ "arn": arn, "public_key": public_key }).to_string(),
            (Kind::CreateKey { .. }, false) => format!("{arn}\n{public_key}"),
            (Kind::PublicKey { .. }, false) => public_key.to_owned(),
        };
        // A key that was made and whose name nobody saw costs money for nothing.
        report::line(&text).map_err(|failure| {
            failure.hint(format!("the key is {arn}: `reshare kms public-key {arn}` prints it"))
        })?;
        Ok(Exit::Done)
    }
}
