//! The flags of certificates.

use std::path::PathBuf;

use clap::Args;
use reshare_exchange::{TlsFiles, TlsIdentity};
use reshare_format::session::Session;

use super::network::NetworkArgs;
use crate::failure::Failure;

/// The authority that issued all parties' certificates.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Certificates (if the session uses them)")]
pub(crate) struct AuthorityArgs {
    /// The certificate of the session's authority, PEM: the session holds its SHA-256
    #[arg(long, value_name = "FILE", alias = "ca-root-file-path", env = "RESHARE_CA_FILE")]
    pub(crate) ca_file: Option<PathBuf>,
}

/// This party's certificate.
#[derive(Debug, Args)]
#[command(next_help_heading = "Certificates (if the session uses them)")]
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
#[command(next_help_heading = "Certificates (if the session uses them)")]
pub(crate) struct CredentialArgs {
    #[command(flatten)]
    pub(crate) authority: AuthorityArgs,

    #[command(flatten)]
    pub(crate) certificate: CertificateArgs,

    #[command(flatten)]
    pub(crate) network: NetworkArgs,

    /// An approval that `session approve` wrote: the receiver's and the other sender's are needed
    #[arg(long = "approval", value_name = "FILE", num_args = 1)]
    pub(crate) approvals: Vec<PathBuf>,
}

/// A party's certificate and key, and the authority that it trusts.
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
