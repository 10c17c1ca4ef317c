//! `reshare pki`: a certificate authority for parties that have none.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use reshare_format::keys::certificate::CertificateName;
use reshare_format::keys::pki::{
    CA_CERTIFICATE_NAME, CA_KEY_NAME, CertificateAuthority, KeyKind, PkiError,
};

use time::{Duration, OffsetDateTime};

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;

#[derive(Debug, Args)]
pub(crate) struct PkiArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a certificate authority: DIR/ca.pem to give to all parties, DIR/ca.key to keep secret
    Ca {
        /// Write certificate and key, mode 0600, into this directory
        #[arg(long, value_name = "DIR")]
        out: PathBuf,

        /// The authority's name
        #[arg(long, value_name = "TEXT", default_value = "reshare CA")]
        common_name: String,

        /// Days that the authority is valid
        #[arg(long, value_name = "DAYS", default_value_t = 3650)]
        valid_days: u16,

        #[command(flatten)]
        key: KeyArgs,
    },
    /// Make a party's certificate and key: DIR/certificate.pem and DIR/certificate.key
    Issue {
        /// The directory of the authority
        #[arg(long, value_name = "DIR")]
        ca: PathBuf,

        /// The party's name in the session: a DNS name, or a URI such as spiffe://mpc.example/0
        #[arg(long, value_name = "NAME")]
        name: String,

        /// Write certificate and key, mode 0600, into this directory
        #[arg(long, value_name = "DIR")]
        out: PathBuf,

        /// Days that the certificate is valid
        #[arg(long, value_name = "DAYS", default_value_t = 365)]
        valid_days: u16,

        #[command(flatten)]
        key: KeyArgs,
    },
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// Kind of the new key
    #[arg(long, value_name = "KIND", value_enum, default_value_t = KeyName::P256)]
    key_kind: KeyName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum KeyName {
    /// ECDSA on NIST P-256
    P256,
    /// ECDSA on NIST P-384
    P384,
    /// Ed25519
    Ed25519,
}

impl PkiArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let now = OffsetDateTime::now_utc();
        let days = |days: &u16| Duration::days(i64::from(*days));
        let facts = match &self.action {
            Action::Ca { out, common_name, valid_days, key } => {
                let (kind, life) = (key.kind(), days(valid_days));
                let authority = CertificateAuthority::create(out, common_name, kind, life, now)
                    .map_err(creation_failure)?;
                [
                    ("certificate", out.join(CA_CERTIFICATE_NAME).display().to_string()),
                    ("key", out.join(CA_KEY_NAME).display().to_string()),
                    ("sha256", hex::encode(authority.anchor().sha256())),
                ]
            }
            Action::Issue { ca, name, out, valid_days, key } => {
                let name: CertificateName = name.parse().map_err(Failure::usage)?;
                let authority = CertificateAuthority::load(ca)
                    .map_err(|error| Failure::of_file(error, "--ca"))?;
                let issued = authority
                    .issue(out, &name, key.kind(), days(valid_days), now)
                    .map_err(creation_failure)?;
                [
                    ("certificate", issued.certificate.display().to_string()),
                    ("key", issued.key.display().to_string()),
                    ("name", name.to_string()),
                ]
            }
        };
        if output.json {
            let facts: serde_json::Map<_, _> =
                facts.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
            report::line(&format!("{:#}", serde_json::Value::Object(facts)))?;
        } else {
            report::line(&facts.map(|(name, value)| format!("{name:<12} {value}")).join("\n"))?;
        }
        Ok(Exit::Done)
    }
}

impl KeyArgs {
    fn kind(&self) -> KeyKind {
        match self.key_kind {
            KeyName::P256 => KeyKind::EcdsaP256,
            KeyName::P384 => KeyKind::EcdsaP384,
            KeyName::Ed25519 => KeyKind::Ed25519,
        }
    }
}

fn creation_failure(error: PkiError) -> Failure {
    match error {
        PkiError::Authority(_) => Failure::refused(error),
        _ => Failure::failed(error).hint("nothing is ever overwritten: give --out a new directory"),
    }
}
