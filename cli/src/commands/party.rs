//! `reshare party init`: the keys, the certificate request and the settings of a party, all at
//! once.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reshare_engine::party::PartyId;
use reshare_files::durable;
use reshare_files::file_error::OnFile;
use reshare_format::keys::certificate::CertificateName;
use reshare_format::keys::pki::{CERTIFICATE_KEY_NAME, create_request};
use reshare_format::keys::{AgreementKey, SealKind, generate_identity};
use reshare_format::party::PublicParty;
use reshare_format::session::fingerprint_groups;
use serde_json::json;
use time::OffsetDateTime;

use super::pki::KeyArgs;
use crate::args::OutputArgs;
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::report;

#[derive(Debug, Args)]
pub(crate) struct PartyCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a party's keys, the request for its certificate and its settings file, in a new
    /// directory
    Init(InitArgs),
}

#[derive(Debug, Args)]
struct InitArgs {
    /// The new directory, mode 0700: nothing in it but party-N.public.json is for others
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The party's number, which it keeps for good
    #[arg(long, value_name = "PARTY")]
    party_id: u64,

    /// The party's name in its certificate: a DNS name, or a URI such as spiffe://mpc.example/0
    #[arg(long, value_name = "NAME")]
    name: CertificateName,

    #[command(flatten)]
    key: KeyArgs,
}

/// The private keys for the other sender to agree on a key with.
const AGREEMENT_KEY_NAME: &str = "agreement.key";
/// The private key that opens what is sealed for this party.
const IDENTITY_NAME: &str = "identity.age";
/// The settings of all commands.
const SETTINGS_NAME: &str = "reshare.toml";

impl PartyCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        let Action::Init(args) = &self.action;
        let party = PartyId::try_from(args.party_id).map_err(Failure::usage)?;
        check_empty(&args.directory)?;
        let partial = Partial::create(&args.directory)?;
        let public = args.fill(&partial.0, party)?;
        partial.finish(&args.directory)?;
        let file = args.directory.join(PublicParty::file_name(party));
        let settings = args.directory.join(SETTINGS_NAME);
        if output.json {
            let report = json!({
                "party": party.index(),
                "name": public.name().as_str(),
                "fingerprint": public.fingerprint().to_string(),
                "public": file,
                "settings": settings,
            });
            report::line(&format!("{report:#}"))?;
        } else {
            report::line(&format!(
                "party        {party}, {}\npublic       {}, for the others\nsettings     {}\nfingerprint  {}",
                public.name(),
                file.display(),
                settings.display(),
                fingerprint_groups(&public.fingerprint()),
            ))?;
        }
        Ok(Exit::Done)
    }
}

impl InitArgs {
    /// Makes all files in a directory.
    fn fill(&self, directory: &Path, party: PartyId) -> Result<PublicParty, Failure> {
        let keys = AgreementKey::generate_file(&directory.join(AGREEMENT_KEY_NAME));
        let keys = keys.map_err(Failure::failed)?.public_keys();
        let identity = directory.join(IDENTITY_NAME);
        let recipient = generate_identity(&identity, SealKind::Hybrid, OffsetDateTime::now_utc());
        let recipient = recipient.map_err(Failure::failed)?;
        let key = directory.join(CERTIFICATE_KEY_NAME);
        let request = create_request(&key, &self.name, self.key.kind()).map_err(Failure::failed)?;
        let public = PublicParty::sign(party, keys, recipient, request, &key);
        let public = public.map_err(Failure::failed)?;
        let write = |name: &str, bytes: &[u8]| {
            let path = directory.join(name);
            durable::write_whole(&path, bytes).on("write", &path).map_err(Failure::failed)
        };
        write(&PublicParty::file_name(party), &public.to_bytes())?;
        write(SETTINGS_NAME, settings_of(party).as_bytes())?;
        Ok(public)
    }
}

fn check_empty(directory: &Path) -> Result<(), Failure> {
    let hint = "a party is made once: name a new directory";
    match fs::read_dir(directory).map(Iterator::count) {
        Ok(0) => Ok(()),
        Ok(_) => Err(Failure::usage(format!("{} is not empty", directory.display())).hint(hint)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => {
            let error = reshare_files::file_error::FileError::new("read", directory, error);
            Err(Failure::usage(error).hint(hint))
        }
    }
}

/// A directory that gets its name when everything is in it, and is removed otherwise.
struct Partial(PathBuf);

impl Partial {
    /// Makes it next to the directory to be. What a killed run has left there is removed.
    fn create(directory: &Path) -> Result<Self, Failure> {
        let path = std::path::absolute(directory).on("find", directory).map_err(Failure::failed)?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(".partial");
        let partial = path.with_file_name(name);
        if let Some(parent) = partial.parent() {
            fs::create_dir_all(parent).on("create", parent).map_err(Failure::failed)?;
        }
        if partial.symlink_metadata().is_ok() {
            fs::remove_dir_all(&partial).on("remove", &partial).map_err(Failure::failed)?;
        }
        DirBuilder::new()
            .mode(0o700)
            .create(&partial)
            .on("create", &partial)
            .map_err(Failure::failed)?;
        Ok(Self(partial))
    }

    /// Gives it its name.
    fn finish(self, directory: &Path) -> Result<(), Failure> {
        let named = fs::rename(&self.0, directory).and_then(|()| {
            let path = std::path::absolute(directory)?;
            path.parent().map_or(Ok(()), durable::sync_directory)
        });
        named.on("create", directory).map_err(Failure::failed)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Once it has its name, there is nothing to remove.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The settings file of a new party, with the names of what it is going to have.
fn settings_of(party: PartyId) -> String {
    let public = PublicParty::file_name(party);
    format!(
        r#"# Settings of party {party}, for every reshare command: docs/settings.md. Flags and variables go before them.
# Paths are relative to this file. `reshare config show COMMAND` says what holds.
party_id = {party}

# Private keys: they never leave this machine.
agreement_key = "file:{AGREEMENT_KEY_NAME}"
identity = "{IDENTITY_NAME}"
certificate_key = "{CERTIFICATE_KEY_NAME}"

# What the others get.
own_public_key = "{public}"

# What comes from the authority, for {public}: with the first session, or by itself.
certificate = "certificate.pem"
ca_file = "ca.pem"

# Who is who, as `reshare network new` writes it down.
network = "network.toml"

# A sender's ledgers: never copy or remove them.
state_dir = "state"

# The session that all three parties have agreed on, and what `reshare session approve` makes of it here.
session = "session.toml"
own_approval = "approval-{party}.json"

# The database: a URL without a password, env:NAME, or file:PATH of a file of mode 0600.
# db_url = "env:DATABASE_URL"

# Where the receiver listens, what the senders call it, and where it keeps what is delivered.
# listen = "0.0.0.0:8443"
# server_url = "https://receiver.mpc.example:8443"
inbox = "inbox"

[session-approve]
out = "approval-{party}.json"

[send]
wait_receipt = "receipt.json"

[receive]
rebuild = true
receipt = "receipt.json"
"#
    )
}
