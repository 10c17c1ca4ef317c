//! What the commands have in common: the session, who this party is, its table.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_files::input_file::read_input;
use reshare_files::timestamp::Timestamp;
use reshare_format::keys::{Identity, load_identity};
use reshare_format::session::{IdList, IdListError, Session, SessionError, parse_fingerprint};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::Packages;
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::sender::SenderKeys;
use reshare_pipeline::workers::{Source, Workers};
use reshare_postgres::connect::Database;
use reshare_postgres::table::{TableName, TableSpec};
use secrecy::SecretString;
use time::{Duration, OffsetDateTime};

use super::AgreementKeyArgs;
use super::credentials::trust;
use crate::args::{DatabaseArgs, PackagesArgs, SenderKeyArgs, SessionArgs, WorkArgs};
use crate::argv::ENV_PREFIX;
use crate::failure::Failure;

/// A session that ends within this time is told to be about to end.
const SOON: Duration = Duration::days(2);

/// A session whose cross-checks hold.
pub(crate) struct Context {
    pub(crate) session: Session,
    ids_list: Option<IdList>,
}

impl Context {
    /// Reads the session and checks every flag that repeats one of its facts.
    pub(crate) fn open(args: &SessionArgs) -> Result<Self, Failure> {
        let session = load_session(&args.session)?;
        check_flags(&session, args)?;
        let load = |path| {
            IdList::load_for(path, &session).map_err(|error| match &error {
                IdListError::Read { .. } => Failure::failed(error),
                _ => Failure::refused(error),
            })
        };
        let ids_list = args.ids_from.as_deref().map(load).transpose()?;
        Ok(Self { session, ids_list })
    }

    /// The ids to export: the session's range, or the list that it has the digest of.
    pub(crate) fn row_ids(&self) -> Result<RowIds, Failure> {
        RowIds::of(&self.session, self.ids_list.as_ref()).ok_or_else(|| {
            Failure::usage("this session is about a list of ids")
                .hint("give the list with --ids-from FILE")
        })
    }

    /// The sender that `--party-id` names.
    pub(crate) fn sender_named(&self, args: &SessionArgs) -> Result<PartyId, Failure> {
        let [lower, higher] = self.session.senders().map(|sender| sender.party);
        let Some(index) = args.checks.party_id else {
            let hint = format!("give --party-id {lower} or --party-id {higher}");
            return Err(Failure::usage("which sender is this?").hint(hint));
        };
        let party = PartyId::try_from(index).map_err(Failure::usage)?;
        match self.session.sender(party) {
            Some(sender) => Ok(sender.party),
            None => Err(Failure::refused(format!("party {party} is no sender of this session"))
                .hint(format!("its senders are {lower} and {higher}"))),
        }
    }

    /// The receiver, which `--party-id` must be where it is given.
    pub(crate) fn receiver(&self, args: &SessionArgs) -> Result<PartyId, Failure> {
        let named = args.checks.party_id.map(PartyId::try_from).transpose();
        if let Some(party) = named.map_err(Failure::usage)? {
            self.session.check_receiver(party).map_err(Failure::refused)?;
        }
        Ok(self.session.receiver().party)
    }

    /// Opens the agreement key: it says which of the two senders this is.
    pub(crate) fn sender_keys(
        &self,
        args: &SessionArgs,
        keys: &SenderKeyArgs,
    ) -> Result<SenderKeys, Failure> {
        check_fingerprint(&self.session, keys.expect_fingerprint.as_deref())?;
        let credentials = &keys.credentials;
        self.check_time()?;
        self.warn_of_end();
        let keys = self.agreed_keys(args, &keys.agreement)?;
        super::credentials::add(&self.session, keys, credentials)
    }

    /// Checks that the session is alive by this machine's clock.
    pub(crate) fn check_time(&self) -> Result<(), Failure> {
        self.session.check_time(OffsetDateTime::now_utc()).map_err(|error| {
            Failure::refused(error).hint("check this machine's clock, or agree on a new session")
        })
    }

    /// Warns of a session that ends soon: a run that takes longer can go on only until then.
    fn warn_of_end(&self) {
        let end = self.session.not_after();
        if end - OffsetDateTime::now_utc() < SOON {
            let end = Timestamp::from(end);
            eprintln!(
                "note: the session ends at {end}: a sender that is not done then cannot go on"
            );
        }
    }

    /// The session's keys, of the sender that `--party-id` names where it is given.
    pub(crate) fn agreed_keys(
        &self,
        args: &SessionArgs,
        key: &AgreementKeyArgs,
    ) -> Result<SenderKeys, Failure> {
        let keys = key.agree(&self.session)?;
        let found = keys.sender();
        match args.checks.party_id {
            Some(claimed) if claimed != u64::from(found.index()) => Err(Failure::refused(format!(
                "--party-id is {claimed}, but the agreement key is party {found}'s"
            ))),
            _ => Ok(keys),
        }
    }

    /// Opens the receiver's identity, which must open what is sealed for the session's
    /// recipient.
    pub(crate) fn receiver_identity(&self, path: &Path) -> Result<Identity, Failure> {
        let identity = open_identity(path)?;
        if identity.to_public() == self.session.receiver().recipient {
            return Ok(identity);
        }
        Err(PipelineError::OtherIdentity.into())
    }

    /// Opens both senders' packages.
    pub(crate) fn packages(&self, args: &PackagesArgs) -> Result<Arc<Packages>, Failure> {
        let directories: [PathBuf; 2] =
            args.packages.clone().try_into().map_err(|given: Vec<_>| {
                let error = format!(
                    "--package was given {} times: one of each sender is needed",
                    given.len()
                );
                Failure::usage(error)
            })?;
        let identity = open_identity(&args.identity)?;
        let trust = trust(&self.session, &args.authority)?;
        let packages = Packages::open_signed(&self.session, trust.as_ref(), directories, identity)?;
        Ok(Arc::new(self.listed(packages)?))
    }

    /// Gives the packages the list that the session is about, where it is about one.
    pub(crate) fn listed(&self, packages: Packages) -> Result<Packages, Failure> {
        self.row_ids()?;
        Ok(match &self.ids_list {
            Some(list) => packages.with_list(list),
            None => packages,
        })
    }

    /// The table of one party.
    pub(crate) fn source(&self, party: PartyId, args: &DatabaseArgs) -> Result<Source, Failure> {
        let table = table_of(&self.session, party, args.db_schema.as_deref())?;
        Ok(Source { database: database(args.db_url.as_deref())?, table })
    }
}

pub(super) fn open_identity(path: &Path) -> Result<Identity, Failure> {
    load_identity(path).map_err(|error| Failure::of_file(error, "--identity"))
}

/// How many of everything work at the same time.
pub(crate) fn workers(connections: usize, work: &WorkArgs) -> Workers {
    Workers { connections, threads: work.threads(), rows_per_part: work.batch_size }
}

/// Reads a session file.
pub(crate) fn load_session(path: &Path) -> Result<Session, Failure> {
    Session::load(path).map_err(|error| match error {
        SessionError::Read { .. } => Failure::failed(error).hint("check --session"),
        error => Failure::refused(error),
    })
}

/// Compares the fingerprint the operators read to each other with the file's.
///
/// Approvals by certificate say the same; without them it cannot be left out.
pub(super) fn check_fingerprint(session: &Session, expected: Option<&str>) -> Result<(), Failure> {
    let Some(expected) = expected else {
        if session.ca_sha256().is_some() {
            return Ok(());
        }
        let error = "this session uses no certificates: --expect-fingerprint is needed";
        return Err(Failure::usage(error).hint(
            "compare what `session show` prints with the other operators, and give it here",
        ));
    };
    let expected = parse_fingerprint(expected).map_err(Failure::usage)?;
    session.check_fingerprint(expected).map_err(|error| {
        Failure::refused(error)
            .hint("this is not the session file the operators agreed on: get it from them anew")
    })
}

/// The table of one party, in its own schema or another one.
pub(crate) fn table_of(
    session: &Session,
    party: PartyId,
    schema: Option<&str>,
) -> Result<TableSpec, Failure> {
    let schema = schema.map_or_else(|| session.database_schema(party), str::to_owned);
    let name = TableName::new(&schema, session.table()).map_err(Failure::usage)?;
    let layout = Arc::clone(session.layout());
    TableSpec::new(name, session.id_column(), layout).map_err(Failure::usage)
}

/// Finds a database: a URL, a variable that holds one, or the environment's defaults.
pub(crate) fn database(url: Option<&str>) -> Result<Database, Failure> {
    let url = match url.map(|url| (url, url.strip_prefix(ENV_PREFIX))) {
        None => None,
        Some((url, None)) => Some(SecretString::from(url)),
        Some((_, Some(name))) => {
            let value = std::env::var(name)
                .map_err(|_| Failure::usage(format!("the variable {name} holds no URL")))?;
            Some(SecretString::from(value))
        }
    };
    Database::resolve(url.as_ref()).map_err(Failure::usage)
}

/// The largest text file that a flag names: a public key takes a few hundred bytes.
const MAX_TEXT_BYTES: u64 = 64 << 10;

/// Reads a small text file that a flag names.
pub(crate) fn read_text(path: &Path, flag: &str) -> Result<String, Failure> {
    let failed = |why| {
        let failure = Failure::failed(format!("cannot read {}: {why}", path.display()));
        failure.hint(format!("check {flag}, and that this user may read the file"))
    };
    let bytes = read_input(path, MAX_TEXT_BYTES).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_TEXT_BYTES {
        return Err(failed(format!("it has more than {MAX_TEXT_BYTES} bytes")));
    }
    String::from_utf8(bytes).map_err(|_| failed("it is no text".to_owned()))
}

/// Checks every flag that repeats a fact, and tells of all that differ at once.
fn check_flags(session: &Session, args: &SessionArgs) -> Result<(), Failure> {
    let checks = &args.checks;
    let party =
        |index: Option<u64>| index.map(PartyId::try_from).transpose().map_err(Failure::usage);
    let mut results = Vec::new();
    if let Some(party) = party(checks.party_id)? {
        let receives = session.check_receiver(party).is_ok();
        results.push(if receives { Ok(()) } else { session.check_sender(party) });
    }
    if let Some(other) = party(checks.other_party_id)? {
        results.push(session.check_sender(other));
        if let Some(me) = party(checks.party_id)?.filter(|me| session.sender(*me).is_some()) {
            results.push(session.check_other_sender(me, other));
        }
    }
    if let Some(target) = party(checks.target_party_id)? {
        results.push(session.check_receiver(target));
    }
    results.extend(checks.environment.as_deref().map(|name| session.check_environment(name)));
    results.extend(checks.reshare_run_session_id.as_deref().map(|id| session.check_id(id)));
    results.extend(checks.db_start.map(|start| session.check_start(start)));
    results.extend(checks.db_end.map(|end| session.check_end(end)));
    let mut differences: Vec<String> =
        results.into_iter().filter_map(|result| Some(result.err()?.to_string())).collect();
    differences.dedup();
    if differences.is_empty() {
        return Ok(());
    }
    Err(Failure::refused(differences.join("; "))
        .hint("these flags only check the session file: drop them, or use the right session"))
}
