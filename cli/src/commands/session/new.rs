//! `reshare session new`: a session file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use reshare_engine::layout::{AgreeColumn, AgreeKind, RowLayout, ShareColumn};
use reshare_engine::party::PartyId;
use reshare_files::causes::causes;
use reshare_files::durable;
use reshare_format::keys::certificate::{CertificateChain, CertificateName, Purpose, TrustAnchor};
use reshare_format::keys::{AgreementPublicKeys, SealKind, SharedKeyId, parse_recipient};
use reshare_format::session::{
    CarriedCertificates, IdList, NewSession, Receiver, Sender, Session, SessionIds, SessionTrust,
};
use reshare_postgres::iris_mpc::RERAND_EPOCH;
use reshare_postgres::schema::has_rerand_epoch;
use reshare_postgres::table::TableName;
use time::format_description::well_known::Rfc3339;
use time::{Duration, OffsetDateTime};

use crate::args::{AuthorityArgs, NetworkArgs, OutputArgs, WordsArgs, split_party};
use crate::exit::Exit;
use crate::failure::{Failure, Outcome, Rerun};
use crate::hints::certificate_hint;
use crate::report;
use crate::run::run;
use crate::setup::database::database;
use crate::setup::network::{check_network, compare_network_if_there};
use crate::setup::own_key::recipient_text;
use crate::setup::public_party::{certificate_path, load_parties};
use crate::setup::text_file::read_text;
use crate::streams::say;

#[derive(Debug, Args)]
pub(super) struct NewArgs {
    /// Write the session to this new file
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Name of the run, unique among the parties
    #[arg(long, value_name = "ID")]
    session_id: String,

    /// The environment in the schema's name, SMPC_{environment}_{party}
    #[arg(long, value_name = "NAME")]
    environment: String,

    /// A party's public file, as `party init` made it: its number, keys and name. Give it for all
    /// three parties, and the receiver's number with --receiver
    #[arg(long = "party", value_name = "FILE", num_args = 1, requires = "ca_file", conflicts_with_all = ["senders", "certificate_names"])]
    parties: Vec<PathBuf>,

    /// Let the certificates travel with the session: those that `pki issue` wrote to this directory
    /// for the parties, and the authority's. `session approve` puts them in their places
    #[arg(long, value_name = "DIR", requires = "parties")]
    certificates: Option<PathBuf>,

    /// A sender: its party id and the file with its public agreement key; give it twice
    #[arg(long = "sender", value_name = "PARTY=FILE", required_unless_present = "parties")]
    senders: Vec<String>,

    /// The key that both senders have in a file: its id, as `keygen shared` printed it. Required
    /// without certificates
    #[arg(long, value_name = "ID")]
    shared_key_id: Option<SharedKeyId>,

    /// The receiver: its party id and its age recipient, or the file with that; with --party its
    /// party id alone
    #[arg(long, value_name = "PARTY=FILE|age1...")]
    receiver: String,

    /// The one name in a party's certificate, a URI or a DNS name; give it for all three parties,
    /// or for none
    #[arg(long = "certificate-name", value_name = "PARTY=NAME", requires = "ca_file")]
    certificate_names: Vec<String>,

    /// The first id
    #[arg(long, value_name = "ID", default_value_t = 1, allow_negative_numbers = true)]
    db_start: i64,

    /// The id after the last one [default: no end]
    #[arg(long, value_name = "ID", allow_negative_numbers = true)]
    db_end: Option<i64>,

    /// Only these ids: a file with one id per line, ascending, which every party needs
    #[arg(long, value_name = "FILE", conflicts_with_all = ["db_start", "db_end"])]
    ids_from: Option<PathBuf>,

    /// The table
    #[arg(long, value_name = "NAME", default_value = "irises")]
    table: String,

    /// Its id column
    #[arg(long, value_name = "NAME", default_value = "id")]
    id_column: String,

    /// A column that says which content a row holds; NAME:uuid for a UUID [default: version_id, and
    /// rerand_epoch if --db-url shows that the table has it]
    #[arg(long = "agree-column", value_name = "NAME[:KIND]")]
    agree_columns: Vec<String>,

    /// A column of shares and its length in u16 [default: the four of an iris table]
    #[arg(long = "share-column", value_name = "NAME=LEN")]
    share_columns: Vec<String>,

    /// The largest sealed part, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = Session::DEFAULT_MAX_PART_BYTES)]
    max_part_bytes: u64,

    /// Time from which the session is valid, RFC 3339 in UTC [default: now]
    #[arg(long, value_name = "TIME")]
    not_before: Option<String>,

    /// Days that the session is valid
    #[arg(long, value_name = "DAYS", default_value_t = 30)]
    valid_days: u16,

    /// A party's database, to see whether its table has the column rerand_epoch
    #[arg(long, value_name = "URL")]
    db_url: Option<String>,

    /// Schema of that table [default: SMPC_{environment}_{party} of the first sender]
    #[arg(long, value_name = "SCHEMA", requires = "db_url")]
    db_schema: Option<String>,

    /// Where the receiver listens; not part of what the parties agree on
    #[arg(long, value_name = "URL")]
    server_url: Option<String>,

    #[command(flatten)]
    authority: AuthorityArgs,

    #[command(flatten)]
    network: NetworkArgs,

    #[command(flatten)]
    words: WordsArgs,
}

impl NewArgs {
    pub(super) fn run(&self, output: &OutputArgs) -> Outcome {
        if self.out.exists() {
            let error = format!("{} exists already", self.out.display());
            return Err(Failure::usage(error).hint("a session is never reused: name a new file"));
        }
        let (senders, receiver) = match self.parties.as_slice() {
            [] => self.parties_of_flags()?,
            files => self.parties_of_files(files)?,
        };
        self.check_hybrid(&senders)?;
        let names = senders.iter().map(|sender| &sender.certificate_name);
        let names: Vec<_> = names.chain([&receiver.certificate_name]).flatten().collect();
        let ca_sha256 = self.ca_sha256(names.into_iter())?;
        let layout = Arc::new(self.layout(output, senders[0].party)?);
        let not_before = self.begin()?;
        let not_after = not_before.checked_add(Duration::days(i64::from(self.valid_days)));
        let facts = NewSession {
            session_id: self.session_id.parse().map_err(Failure::usage)?,
            environment: self.environment.parse().map_err(Failure::usage)?,
            not_before,
            not_after: not_after.ok_or_else(|| {
                Failure::usage("the session would end after the year 9999")
                    .hint("give an earlier --not-before, or fewer --valid-days")
            })?,
            ids: self.ids()?,
            table: self.table.clone(),
            id_column: self.id_column.clone(),
            layout,
            max_part_bytes: self.max_part_bytes,
            senders,
            receiver,
            shared_key_id: self.shared_key_id,
            ca_sha256,
            server_url: self.server_url.clone(),
        };
        let mut session = Session::create(facts).map_err(Failure::usage)?;
        if let (Some(directory), Some(path)) = (&self.certificates, &self.authority.ca_file) {
            let carried = carried_certificates(&session, directory, path)?;
            session = session.carrying(carried);
        }
        // The parties may write their network files when they approve their first session.
        let network = match self.parties.is_empty() {
            true => check_network(&session, &self.network)?,
            false => compare_network_if_there(&session, &self.network)?,
        };
        durable::write_whole(&self.out, session.to_toml().as_bytes()).map_err(Failure::failed)?;
        report::session(output, &session, network.as_deref(), self.words)?;
        if session.receiver().recipient.kind() == SealKind::Classic {
            say!(
                "note: the recipient is classic (X25519 alone): who stores sealed parts can open \
                 them once there is a large quantum computer. `reshare keygen recipient` makes a \
                 hybrid one, unless --classic is given"
            );
        }
        if self.agree_columns.is_empty() && self.db_url.is_none() {
            say!(
                "note: rows are matched by version_id alone. A table that also has {RERAND_EPOCH} \
                 needs a session that names it: give --db-url URL to look it up, or \
                 --agree-column"
            );
        }
        Ok(Exit::Done)
    }

    /// The parties as the flags name them one by one.
    fn parties_of_flags(&self) -> Result<([Sender; 2], Receiver), Failure> {
        let mut names = self.certificate_names()?;
        let senders = self.senders(&mut names)?;
        let receiver = self.receiver(&mut names)?;
        match names.first() {
            None => Ok((senders, receiver)),
            Some((party, _)) => Err(Failure::usage(format!(
                "--certificate-name: party {party} is not in this session, or is named twice"
            ))),
        }
    }

    /// The parties as their public files say: one receives, and the two others send.
    fn parties_of_files(&self, files: &[PathBuf]) -> Result<([Sender; 2], Receiver), Failure> {
        let mut parties = load_parties(files)?;
        let count = parties.len();
        if count != 3 {
            return Err(Failure::usage(format!(
                "--party was given {count} times: a session has three parties"
            )));
        }
        let number = self.receiver.parse::<u64>().ok().and_then(|id| PartyId::try_from(id).ok());
        let at = parties.iter().position(|public| Some(public.party()) == number);
        let Some(at) = at else {
            let known = parties.iter().map(|public| public.party().to_string());
            let known = known.collect::<Vec<_>>().join(", ");
            let error = format!("--receiver {}: it is none of the parties {known}", self.receiver);
            return Err(Failure::usage(error).hint("with --party give the receiver's number alone"));
        };
        let public = parties.remove(at);
        let receiver = Receiver {
            party: public.party(),
            certificate_name: Some(public.name().clone()),
            recipient: public.recipient().clone(),
        };
        let senders = parties.iter().map(|public| Sender {
            party: public.party(),
            certificate_name: Some(public.name().clone()),
            agreement_key: public.agreement_keys().agreement,
            encapsulation_key: public.agreement_keys().encapsulation.clone(),
        });
        Ok((self.two_senders(senders.collect())?, receiver))
    }

    /// The SHA-256 of the authority, if there are certificates.
    fn ca_sha256<'a>(
        &self,
        names: impl ExactSizeIterator<Item = &'a CertificateName>,
    ) -> Result<Option<[u8; 32]>, Failure> {
        let Some(path) = &self.authority.ca_file else { return Ok(None) };
        if names.len() == 0 {
            let error = "--ca-file is given, but no --certificate-name";
            return Err(Failure::usage(error).hint("name the certificates of all three parties"));
        }
        let anchor =
            TrustAnchor::load(path, None).map_err(|error| Failure::of_file(error, "--ca-file"))?;
        let fit = anchor.check_names(names);
        fit.map_err(|error| {
            let hint = certificate_hint(&error);
            Failure::refused(error).hint(hint)
        })?;
        Ok(Some(*anchor.sha256()))
    }

    fn certificate_names(&self) -> Result<Vec<(PartyId, CertificateName)>, Failure> {
        let name = |text: &String| {
            let (party, name) = split_party(text)?;
            Ok((party, name.parse().map_err(Failure::usage)?))
        };
        self.certificate_names.iter().map(name).collect()
    }

    /// Checks that the senders will agree on a secret by more than P-256, which a session always does.
    fn check_hybrid(&self, senders: &[Sender; 2]) -> Result<(), Failure> {
        let certified = self.authority.ca_file.is_some();
        let has_key = senders.iter().any(|sender| sender.encapsulation_key.is_some());
        match (certified, has_key, self.shared_key_id) {
            (true, true, _) | (_, _, Some(_)) => Ok(()),
            (true, false, None) => {
                let lower = senders.iter().map(|sender| sender.party).min();
                let lower = lower.map(|party| party.to_string()).unwrap_or_default();
                let error = format!("--sender {lower}: its file has no key of ML-KEM-768");
                Err(Failure::usage(error).hint(
                    "`reshare keygen agreement` prints two public keys, and with --kms-key-arn it \
                     makes the second one for a key in AWS KMS: give both in one file",
                ))
            }
            (false, _, None) => {
                let error = "without certificates --shared-key-id is needed";
                Err(Failure::usage(error).hint(
                    "one sender makes a key with `reshare keygen shared`, takes its file to the other \
                     sender by hand, and tells the maker of the session the id",
                ))
            }
        }
    }

    fn senders(&self, names: &mut Vec<(PartyId, CertificateName)>) -> Result<[Sender; 2], Failure> {
        let mut sender = |text: &String| {
            let (party, file) = split_party(text)?;
            let pem = read_text(file.as_ref(), "--sender")?;
            let keys = AgreementPublicKeys::from_pem(&pem).map_err(|error| {
                Failure::refused(error)
                    .hint(format!("{file} must be what `reshare keygen public` prints"))
            })?;
            Ok(Sender {
                party,
                certificate_name: take_name(names, party),
                agreement_key: keys.agreement,
                encapsulation_key: keys.encapsulation,
            })
        };
        let senders = self.senders.iter().map(&mut sender).collect::<Result<_, Failure>>()?;
        self.two_senders(senders)
    }

    fn two_senders(&self, mut senders: Vec<Sender>) -> Result<[Sender; 2], Failure> {
        let count = senders.len();
        // Only the lower sender's key of ML-KEM is used, and only if its ciphertext can be signed.
        let lower = senders.iter().map(|sender| sender.party).min();
        let certified = self.authority.ca_file.is_some();
        for sender in senders.iter_mut().filter(|sender| !certified || Some(sender.party) != lower)
        {
            sender.encapsulation_key = None;
        }
        senders.try_into().map_err(|_| {
            Failure::usage(format!("--sender was given {count} times: a session has two senders"))
        })
    }

    fn receiver(&self, names: &mut Vec<(PartyId, CertificateName)>) -> Result<Receiver, Failure> {
        let (party, recipient) = split_party(&self.receiver)?;
        let recipient = match recipient_text(recipient, "--receiver")? {
            Some(text) => parse_recipient(text.trim()).map_err(|error| {
                Failure::refused(format!("--receiver {recipient}: {error}"))
                    .hint("the file must hold what `reshare keygen recipient` printed")
            })?,
            None => parse_recipient(recipient).map_err(Failure::usage)?,
        };
        Ok(Receiver { party, certificate_name: take_name(names, party), recipient })
    }

    fn ids(&self) -> Result<SessionIds, Failure> {
        match &self.ids_from {
            Some(path) => Ok(IdList::load(path).map_err(Failure::usage)?.session_ids()),
            None => SessionIds::from_start_end(self.db_start, self.db_end).ok_or_else(|| {
                Failure::usage("the range of ids is empty: --db-end must be above --db-start")
            }),
        }
    }

    fn begin(&self) -> Result<OffsetDateTime, Failure> {
        let time = match &self.not_before {
            Some(text) => OffsetDateTime::parse(text, &Rfc3339)
                .map_err(|error| Failure::usage(format!("--not-before {text:?}: {error}")))?,
            None => OffsetDateTime::now_utc(),
        };
        time.replace_nanosecond(0).map_err(Failure::usage)
    }

    fn layout(&self, output: &OutputArgs, first_sender: PartyId) -> Result<RowLayout, Failure> {
        let iris = RowLayout::iris();
        let mut agree = self
            .agree_columns
            .iter()
            .map(|text| agree_column(text))
            .collect::<Result<Vec<_>, _>>()?;
        if agree.is_empty() {
            agree = iris.agree().to_vec();
        }
        let has_epoch = agree.iter().any(|column| column.name == RERAND_EPOCH);
        if !has_epoch && self.table_has_epoch(output, first_sender)? {
            agree.push(AgreeColumn { name: RERAND_EPOCH.to_owned(), kind: AgreeKind::Integer });
        }
        let mut shares = self
            .share_columns
            .iter()
            .map(|text| share_column(text))
            .collect::<Result<Vec<_>, _>>()?;
        if shares.is_empty() {
            shares = iris.shares().to_vec();
        }
        RowLayout::new(agree, shares).map_err(Failure::usage)
    }

    fn table_has_epoch(&self, output: &OutputArgs, party: PartyId) -> Result<bool, Failure> {
        let Some(url) = &self.db_url else { return Ok(false) };
        let default = || format!("SMPC_{}_{party}", self.environment);
        let schema = self.db_schema.clone().unwrap_or_else(default);
        let name = TableName::new(&schema, &self.table).map_err(Failure::usage)?;
        let database = database(Some(url))?;
        let (has_epoch, _) =
            run(output, Rerun::StartsOver("no session was made"), |_| async move {
                let mut connection = database.connect_read_only().await.map_err(Failure::of)?;
                has_rerand_epoch(&mut connection, &name).await.map_err(Failure::of)
            })?;
        Ok(has_epoch)
    }
}

/// Reads the certificates of the parties that `pki issue` wrote, and verifies that the authority's
/// session can use them.
fn carried_certificates(
    session: &Session,
    directory: &Path,
    ca_file: &Path,
) -> Result<CarriedCertificates, Failure> {
    let trust = SessionTrust::load(session, ca_file)
        .map_err(|error| Failure::of_file(error, "--ca-file"))?;
    let now = session.not_before().max(OffsetDateTime::now_utc());
    let senders = session.senders().map(|sender| sender.party);
    let mut parties = Vec::new();
    for party in senders.into_iter().chain([session.receiver().party]) {
        let path = certificate_path(directory, party);
        let chain = CertificateChain::load(&path)
            .map_err(|error| Failure::of_file(error, "--certificates"))?;
        trust.verify(&chain, party, now, Purpose::Signature).map_err(|error| {
            let hint = certificate_hint(&error);
            let causes: Vec<String> = causes(&error).map(ToString::to_string).collect();
            Failure::refused(format!("{}: {}", path.display(), causes.join(": "))).hint(hint)
        })?;
        parties.push(chain);
    }
    Ok(CarriedCertificates { authority: trust.anchor().clone(), parties })
}

/// Removes a party's name from those that were given.
fn take_name(
    names: &mut Vec<(PartyId, CertificateName)>,
    party: PartyId,
) -> Option<CertificateName> {
    let index = names.iter().position(|(named, _)| *named == party)?;
    Some(names.remove(index).1)
}

fn agree_column(text: &str) -> Result<AgreeColumn, Failure> {
    let (name, kind) = match text.rsplit_once(':') {
        None | Some((_, "integer")) => {
            (text.strip_suffix(":integer").unwrap_or(text), AgreeKind::Integer)
        }
        Some((name, "uuid")) => (name, AgreeKind::Uuid),
        Some((_, kind)) => {
            let error = format!("--agree-column {text:?}: a column cannot be of kind {kind:?}");
            return Err(Failure::usage(error).hint("kinds are integer (any width) and uuid"));
        }
    };
    Ok(AgreeColumn { name: name.to_owned(), kind })
}

fn share_column(text: &str) -> Result<ShareColumn, Failure> {
    let bad = || Failure::usage(format!("--share-column {text:?} is not of the form NAME=LENGTH"));
    let (name, len) = text.rsplit_once('=').ok_or_else(bad)?;
    Ok(ShareColumn { name: name.to_owned(), len: len.parse().map_err(|_| bad())? })
}
