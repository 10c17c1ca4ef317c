//! `reshare network`: make, extend and show this party's network file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use reshare_engine::party::PartyId;
use reshare_format::keys::certificate::{CertificateChain, CertificateName, TrustAnchor, names_in};
use reshare_format::network::Network;
use reshare_format::session::{FingerprintMismatch, parse_fingerprint};
use serde::Serialize;

use crate::args::{NetworkArgs, OutputArgs, WordsArgs, split_party};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome};
use crate::hints::certificate_hint;
use crate::report;
use crate::setup::network::{network_failure, write_network};
use crate::setup::public_party::load_parties;

#[derive(Debug, Args)]
pub(crate) struct NetworkCommand {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make this party's network file, once: who is who, for all sessions to come
    New(NewArgs),
    /// Add a party to the network file; no party gets a second number, and no number a second party
    Add(AddArgs),
    /// Show the network file and its fingerprint, which the operators read to each other
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct NewArgs {
    #[command(flatten)]
    network: NetworkArgs,

    /// The certificate of the authority that issues all parties' certificates, PEM
    #[arg(long, value_name = "FILE", env = "RESHARE_CA_FILE")]
    ca_file: PathBuf,

    /// A party: its number, and the one name in its certificate, a URI or a DNS name; give it once
    /// for each party, or add parties later
    #[arg(long = "certificate-name", value_name = "PARTY=NAME")]
    certificate_names: Vec<String>,

    /// A party's public file, as `party init` made it, in place of number and name; may be given
    /// several times
    #[arg(long = "party", value_name = "FILE", num_args = 1)]
    parties: Vec<PathBuf>,

    #[command(flatten)]
    words: WordsArgs,
}

#[derive(Debug, Args)]
struct AddArgs {
    #[command(flatten)]
    network: NetworkArgs,

    /// The new party's number, which it keeps for good
    #[arg(long, value_name = "PARTY")]
    party_id: u64,

    /// The one name in its certificate, a URI or a DNS name
    #[arg(long, value_name = "NAME", required_unless_present = "certificate")]
    name: Option<CertificateName>,

    /// Take the name from this certificate, PEM
    #[arg(long, value_name = "FILE", conflicts_with = "name")]
    certificate: Option<PathBuf>,

    #[command(flatten)]
    words: WordsArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    network: NetworkArgs,

    /// The fingerprint of another operator's network file, to be compared
    #[arg(long, value_name = "TEXT")]
    expect_fingerprint: Option<String>,

    #[command(flatten)]
    words: WordsArgs,
}

/// A network in words.
#[derive(Debug, Serialize)]
struct NetworkSummary {
    file: String,
    ca_sha256: String,
    /// Certificate names by party.
    parties: BTreeMap<u8, String>,
    fingerprint: String,
}

impl NetworkCommand {
    pub(crate) fn run(&self, output: &OutputArgs) -> Outcome {
        match &self.action {
            Action::New(args) => args.run(output),
            Action::Add(args) => args.run(output),
            Action::Show(args) => args.run(output),
        }
    }
}

impl NewArgs {
    fn run(&self, output: &OutputArgs) -> Outcome {
        let path = self.network.path()?;
        if path.exists() {
            let error = format!("{} exists already", path.display());
            let hint = "it is made once and for all sessions: `reshare network add` adds a party, \
                        `reshare network show` shows it";
            return Err(Failure::usage(error).hint(hint));
        }
        let anchor = TrustAnchor::load(&self.ca_file, None)
            .map_err(|error| Failure::of_file(error, "--ca-file"))?;
        let mut network = Network::new(*anchor.sha256());
        for text in &self.certificate_names {
            let (party, name) = split_party(text)?;
            let name = name.parse().map_err(Failure::usage)?;
            if !add(&mut network, party, name)? {
                return Err(Failure::usage(format!(
                    "--certificate-name: party {party} is given twice"
                )));
            }
        }
        for public in load_parties(&self.parties)? {
            let party = public.party();
            if !add(&mut network, party, public.name().clone())? {
                return Err(Failure::usage(format!("--party: party {party} is given twice")));
            }
        }
        let fit = anchor.check_names(network.parties().map(|(_, name)| name));
        fit.map_err(|error| {
            let hint = certificate_hint(&error);
            Failure::refused(error).hint(hint)
        })?;
        write_network(&path, &network)?;
        show(output, &path, &network, self.words)
    }
}

impl AddArgs {
    fn run(&self, output: &OutputArgs) -> Outcome {
        let path = self.network.path()?;
        let mut network = load_existing(&path)?;
        let party = PartyId::try_from(self.party_id).map_err(Failure::usage)?;
        if add(&mut network, party, self.name()?)? {
            network.write(&path).map_err(network_failure)?;
        }
        show(output, &path, &network, self.words)
    }

    fn name(&self) -> Result<CertificateName, Failure> {
        match (&self.name, &self.certificate) {
            (Some(name), _) => Ok(name.clone()),
            (None, Some(path)) => name_in_certificate(path),
            (None, None) => Err(Failure::usage("--name or --certificate is needed")),
        }
    }
}

impl ShowArgs {
    fn run(&self, output: &OutputArgs) -> Outcome {
        let path = self.network.path()?;
        let network = load_existing(&path)?;
        let expected = self.expect_fingerprint.as_deref().map(parse_fingerprint);
        let expected = expected.transpose().map_err(Failure::usage)?;
        show(output, &path, &network, self.words)?;
        if let Some(expected) = expected {
            let compared =
                FingerprintMismatch::check("network file", expected, network.fingerprint());
            compared.map_err(|error| {
                Failure::refused(error).hint(
                    "compare the lines above with the other operator: a number, a name or the \
                     authority differs",
                )
            })?;
        }
        Ok(Exit::Done)
    }
}

fn load_existing(path: &Path) -> Result<Network, Failure> {
    Network::load(path).map_err(|error| match error.is_missing() {
        true => Failure::of(error).hint(
            "`reshare network new --ca-file FILE --certificate-name PARTY=NAME` makes it; --network \
             names another one",
        ),
        false => network_failure(error),
    })
}

fn add(network: &mut Network, party: PartyId, name: CertificateName) -> Result<bool, Failure> {
    network.add(party, name).map_err(|error| {
        Failure::refused(error).hint(
            "a party keeps its number for good, and its certificates keep its name; if the file is \
             wrong about this, make a new one with all other operators",
        )
    })
}

/// The one name that can be a party's in a certificate.
fn name_in_certificate(path: &Path) -> Result<CertificateName, Failure> {
    let failure = |error| {
        let hint = certificate_hint(&error);
        Failure::of_file(error, "--certificate").hint(hint)
    };
    let chain = CertificateChain::load(path).map_err(failure)?;
    let names = names_in(chain.leaf()).map_err(failure)?;
    match &names[..] {
        [name] => name.parse().map_err(Failure::refused),
        _ => {
            let error = format!(
                "{} has {} alternative names: {}",
                path.display(),
                names.len(),
                names.join(", ")
            );
            Err(Failure::refused(error).hint("give the one that sessions name with --name"))
        }
    }
}

fn show(output: &OutputArgs, path: &Path, network: &Network, words: WordsArgs) -> Outcome {
    let fingerprint = network.fingerprint();
    let summary = NetworkSummary {
        file: path.display().to_string(),
        ca_sha256: hex::encode(network.ca_sha256()),
        parties: network.parties().map(|(party, name)| (party.index(), name.to_string())).collect(),
        fingerprint: fingerprint.to_string(),
    };
    if output.json {
        report::line(&serde_json::to_string_pretty(&summary).map_err(Failure::failed)?)?;
        return Ok(Exit::Done);
    }
    let mut lines = vec![
        format!("network      {}", summary.file),
        format!("authority    {}", summary.ca_sha256),
    ];
    for (party, name) in &summary.parties {
        lines.push(format!("{:<12} {name}", format!("party {party}")));
    }
    if summary.parties.is_empty() {
        lines.push("parties      none yet: `reshare network add` adds them".to_owned());
    }
    lines.extend(report::fingerprint(&fingerprint, words));
    report::line(&lines.join("\n"))?;
    Ok(Exit::Done)
}
