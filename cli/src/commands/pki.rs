//! `reshare pki`: a certificate authority for parties that have none.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::keys::certificate::{CertificateName, CertificateRequest};
use reshare_format::keys::pki::{
    CA_CERTIFICATE_NAME, CA_KEY_NAME, CERTIFICATE_NAME, CertificateAuthority, KeyKind, PkiError,
};
use time::{Duration, OffsetDateTime};

use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;
use crate::setup::public_party::{certificate_path, load_parties};
use crate::setup::text_file::read_text;

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
    /// Make a party's certificate: for a request, so that its key stays at home, or with a new key
    Issue(IssueArgs),
}

#[derive(Debug, Args)]
struct IssueArgs {
    /// The directory of the authority
    #[arg(long, value_name = "DIR")]
    ca: PathBuf,

    /// The party's name in the session: a DNS name, or a URI such as spiffe://mpc.example/0. With
    /// --csr: refuse a request for another name
    #[arg(long, value_name = "NAME", required_unless_present_any = ["csr", "parties"])]
    name: Option<CertificateName>,

    /// A certificate request, PKCS#10 in PEM, with the party's name as its one alternative name:
    /// writes DIR/certificate.pem
    #[arg(long, value_name = "FILE")]
    csr: Option<PathBuf>,

    /// A party's public file, as `party init` made it: writes DIR/party-N.pem; may be given several
    /// times
    #[arg(long = "party", value_name = "FILE", num_args = 1, conflicts_with_all = ["csr", "name"])]
    parties: Vec<PathBuf>,

    /// Write DIR/certificate.pem and DIR/certificate.key, mode 0600, or what the flags above say
    #[arg(long, value_name = "DIR")]
    out: PathBuf,

    /// Days that the certificate is valid
    #[arg(long, value_name = "DAYS", default_value_t = 365)]
    valid_days: u16,

    /// Kind of the new key [default: p256]
    #[arg(long, value_name = "KIND", value_enum, conflicts_with_all = ["csr", "parties"])]
    key_kind: Option<KeyName>,
}

#[derive(Debug, Args)]
pub(super) struct KeyArgs {
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

/// What was made, in the order in which it is printed.
type Facts = Vec<(&'static str, String)>;

impl PkiArgs {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let now = OffsetDateTime::now_utc();
        let made = match &self.action {
            Action::Ca { out, common_name, valid_days, key } => {
                let (kind, life) = (key.kind(), days(*valid_days));
                let authority = CertificateAuthority::create(out, common_name, kind, life, now)
                    .map_err(creation_failure)?;
                vec![vec![
                    ("certificate", out.join(CA_CERTIFICATE_NAME).display().to_string()),
                    ("key", out.join(CA_KEY_NAME).display().to_string()),
                    ("sha256", hex::encode(authority.anchor().sha256())),
                ]]
            }
            Action::Issue(args) => args.issue(now)?,
        };
        let object = |facts: &Facts| {
            let facts =
                facts.iter().map(|(name, value)| ((*name).to_owned(), value.clone().into()));
            serde_json::Value::Object(facts.collect())
        };
        let text = |facts: &Facts| {
            let lines = facts.iter().map(|(name, value)| format!("{name:<12} {value}"));
            lines.collect::<Vec<_>>().join("\n")
        };
        report::line(&match (output.json, made.as_slice()) {
            (true, [facts]) => format!("{:#}", object(facts)),
            (true, all) => format!("{:#}", all.iter().map(object).collect::<serde_json::Value>()),
            (false, all) => all.iter().map(text).collect::<Vec<_>>().join("\n\n"),
        })?;
        Ok(Exit::Done)
    }
}

impl IssueArgs {
    fn issue(&self, now: OffsetDateTime) -> Result<Vec<Facts>, Failure> {
        let authority = CertificateAuthority::load(&self.ca)
            .map_err(|error| Failure::of_file(error, "--ca"))?;
        if !self.parties.is_empty() {
            return self.issue_for_parties(&authority, now);
        }
        if let Some(path) = &self.csr {
            return self.issue_for_request(&authority, path, now).map(|facts| vec![facts]);
        }
        let name = self.name.as_ref().ok_or_else(|| Failure::usage("--name is missing"))?;
        let kind = self.key_kind.unwrap_or(KeyName::P256).kind();
        let issued = authority
            .issue(&self.out, name, kind, days(self.valid_days), now)
            .map_err(creation_failure)?;
        Ok(vec![vec![
            ("certificate", issued.certificate.display().to_string()),
            ("key", issued.key.display().to_string()),
            ("name", name.to_string()),
        ]])
    }

    fn issue_for_request(
        &self,
        authority: &CertificateAuthority,
        path: &Path,
        now: OffsetDateTime,
    ) -> Result<Facts, Failure> {
        let request =
            CertificateRequest::from_pem(&read_text(path, "--csr")?).map_err(|error| {
                let refused = format!("--csr {}: {error}", path.display());
                Failure::refused(refused).hint("have the party make its request again")
            })?;
        if let Some(name) = self.name.as_ref().filter(|name| *name != request.name()) {
            let error =
                format!("--csr {} asks for {}, not for {name}", path.display(), request.name());
            return Err(
                Failure::refused(error).hint("issue no certificate for another party's name")
            );
        }
        let file = self.out.join(CERTIFICATE_NAME);
        let certificate = authority.issue_for(&request, days(self.valid_days), now);
        write_new(&[(file.clone(), certificate.map_err(creation_failure)?)])?;
        let name = request.name().to_string();
        Ok(vec![("certificate", file.display().to_string()), ("name", name)])
    }

    /// Issues all certificates before one is written.
    fn issue_for_parties(
        &self,
        authority: &CertificateAuthority,
        now: OffsetDateTime,
    ) -> Result<Vec<Facts>, Failure> {
        let (mut files, mut facts) = (Vec::new(), Vec::new());
        for public in load_parties(&self.parties)? {
            let file = certificate_path(&self.out, public.party());
            let certificate = authority.issue_for(public.request(), days(self.valid_days), now);
            facts.push(vec![
                ("party", public.party().to_string()),
                ("certificate", file.display().to_string()),
                ("name", public.name().to_string()),
                ("fingerprint", public.fingerprint().to_string()),
            ]);
            files.push((file, certificate.map_err(creation_failure)?));
        }
        write_new(&files)?;
        Ok(facts)
    }
}

/// Writes new files, none if one of them is there already.
fn write_new(files: &[(PathBuf, String)]) -> Result<(), Failure> {
    for (path, _) in files {
        if path.symlink_metadata().is_ok() {
            let error = format!("{} exists already", path.display());
            return Err(Failure::failed(error)
                .hint("nothing is ever overwritten: give --out a new directory"));
        }
    }
    for (path, certificate) in files {
        let directory = path.parent().unwrap_or(Path::new("."));
        durable::create_directory(directory).on("create", directory).map_err(Failure::failed)?;
        durable::write_whole(path, certificate.as_bytes())
            .on("write", path)
            .map_err(Failure::failed)?;
    }
    Ok(())
}

fn days(days: u16) -> Duration {
    Duration::days(i64::from(days))
}

impl KeyArgs {
    pub(super) fn kind(&self) -> KeyKind {
        self.key_kind.kind()
    }
}

impl KeyName {
    fn kind(self) -> KeyKind {
        match self {
            Self::P256 => KeyKind::EcdsaP256,
            Self::P384 => KeyKind::EcdsaP384,
            Self::Ed25519 => KeyKind::Ed25519,
        }
    }
}

fn creation_failure(error: PkiError) -> Failure {
    match error {
        PkiError::Authority(_) => Failure::refused(error),
        _ => Failure::failed(error).hint("nothing is ever overwritten: give --out a new directory"),
    }
}
