//! What the commands of a session have in common: the session, who this party is, its packages.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_files::timestamp::Timestamp;
use reshare_format::keys::{Identity, load_identity};
use reshare_format::session::{Approval, IdList, Session};
use reshare_pipeline::error::PipelineError;
use reshare_pipeline::packages::{Packages, PackagesSoFar};
use reshare_pipeline::rows_wanted::RowIds;
use reshare_pipeline::sender::SenderKeys;
use reshare_pipeline::workers::{OnBadRow, Source};
use time::{Duration, OffsetDateTime};

use super::agreement::{OwnKey, open_key};
use super::credentials::{sender_credentials, trust};
use super::database::{database, table_of};
use super::network::check_network;
use super::receiver;
use super::session::{check_fingerprint, check_flags, load_session};
use crate::args::{
    AgreementKeyArgs, DatabaseArgs, NetworkArgs, PackagesArgs, SenderKeyArgs, SessionArgs,
    StateArgs,
};
use crate::failure::Failure;
use crate::runs;
use crate::streams::say;

/// A session that ends within this time gets a warning.
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
        runs::of_session(&session);
        check_flags(&session, args)?;
        let load = |path| IdList::load_for(path, &session).map_err(Failure::of);
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
            return Err(
                Failure::usage("--party-id is missing: it says which sender this is").hint(hint)
            );
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

    /// Checks that the session is one of this party's network, where it uses certificates.
    pub(crate) fn check_network(&self, args: &NetworkArgs) -> Result<Option<PathBuf>, Failure> {
        check_network(&self.session, args)
    }

    /// Opens the agreement key: it says which of the two senders this is. Who receives is checked
    /// before. Approvals that were `fetched` count like those in files.
    pub(crate) fn sender_keys(
        &self,
        args: &SessionArgs,
        keys: &SenderKeyArgs,
        state: &StateArgs,
        fetched: Vec<Approval>,
    ) -> Result<SenderKeys, Failure> {
        check_fingerprint(&self.session, keys.expect_fingerprint.as_deref())?;
        let credentials = &keys.credentials;
        self.check_time()?;
        check_network(&self.session, &credentials.network)?;
        receiver::check_known(&self.session, args.checks.target_party_id, state, None)?;
        self.warn_of_end();
        let own = self.own_key(args, &keys.agreement)?;
        let credentials = sender_credentials(&self.session, own.sender(), credentials, fetched)?;
        let approvals = credentials.as_ref().map(|credentials| &credentials.approvals);
        let keys = own.derive(&self.session, approvals, state)?;
        match credentials {
            None => Ok(keys),
            Some(credentials) => {
                let now = OffsetDateTime::now_utc();
                keys.with_credentials(&self.session, credentials, now).map_err(Failure::refused)
            }
        }
    }

    /// Checks that the session is alive by this machine's clock.
    pub(crate) fn check_time(&self) -> Result<(), Failure> {
        self.session.check_time(OffsetDateTime::now_utc()).map_err(|error| {
            Failure::refused(error).hint("check this machine's clock, or agree on a new session")
        })
    }

    /// Warns of a session that ends soon: a run that takes longer can continue only until then.
    fn warn_of_end(&self) {
        let end = self.session.not_after();
        if end - OffsetDateTime::now_utc() < SOON {
            let end = Timestamp::from(end);
            say!(
                "note: the session ends at {end}: a sender that is not done by then \
                 cannot continue"
            );
        }
    }

    /// The agreement key, of the sender that `--party-id` names where it is given.
    pub(crate) fn own_key(
        &self,
        args: &SessionArgs,
        key: &AgreementKeyArgs,
    ) -> Result<OwnKey, Failure> {
        let own = open_key(key, &self.session)?;
        let found = own.sender();
        runs::of_party(found);
        match args.checks.party_id {
            Some(claimed) if claimed != u64::from(found.index()) => Err(Failure::refused(format!(
                "--party-id is {claimed}, but the agreement key is party {found}'s"
            ))),
            _ => Ok(own),
        }
    }

    /// Opens the receiver's identity, which must open what is sealed for the session's
    /// recipient.
    pub(crate) fn receiver_identity(&self, path: &Path) -> Result<Identity, Failure> {
        let identity = open_identity(path)?;
        let (own, expected) = (identity.to_public(), &self.session.receiver().recipient);
        if own == *expected {
            return Ok(identity);
        }
        let (got, expected) = (own.kind(), expected.kind());
        Err(PipelineError::OtherIdentity { got, expected }.into())
    }

    /// Opens both senders' packages, to rebuild from them if there are arguments of a network file:
    /// then the session must be one of this party's network.
    pub(crate) fn packages(
        &self,
        args: &PackagesArgs,
        network: Option<&NetworkArgs>,
    ) -> Result<Arc<Packages>, Failure> {
        let directories = both(args)?;
        if let Some(network) = network {
            check_network(&self.session, network)?;
        }
        let identity = open_identity(&args.identity)?;
        let trust = trust(&self.session, &args.authority)?;
        let packages = Packages::open_signed(&self.session, trust.as_ref(), directories, identity)?;
        Ok(Arc::new(self.listed(packages)?))
    }

    /// Opens both senders' packages, closed or not, to rebuild from them: the session must be one of
    /// this party's network.
    pub(crate) fn packages_so_far(
        &self,
        args: &PackagesArgs,
        network: &NetworkArgs,
    ) -> Result<PackagesSoFar, Failure> {
        let directories = both(args)?;
        check_network(&self.session, network)?;
        let identity = open_identity(&args.identity)?;
        let trust = trust(&self.session, &args.authority)?;
        let packages = PackagesSoFar::open(&self.session, trust.as_ref(), directories, identity)?;
        Ok(match self.listed_ids()? {
            Some(list) => packages.with_list(list),
            None => packages,
        })
    }

    /// Gives the packages the list that the session is about, where it is about one.
    pub(crate) fn listed(&self, packages: Packages) -> Result<Packages, Failure> {
        self.row_ids()?;
        Ok(match &self.ids_list {
            Some(list) => packages.with_list(list),
            None => packages,
        })
    }

    /// The list that the session is about, where it is about one.
    pub(crate) fn listed_ids(&self) -> Result<Option<&IdList>, Failure> {
        self.row_ids()?;
        Ok(self.ids_list.as_ref())
    }

    /// The table of one party.
    pub(crate) fn source(&self, party: PartyId, args: &DatabaseArgs) -> Result<Source, Failure> {
        let table = table_of(&self.session, party, args.db_schema.as_deref())?;
        let database = database(args.db_url.as_deref())?;
        Ok(Source {
            database: database.with_lock_wait(args.connections.lock_wait()),
            table,
            on_bad_row: OnBadRow::Refuse,
        })
    }
}

/// The directories of both packages.
fn both(args: &PackagesArgs) -> Result<[PathBuf; 2], Failure> {
    args.packages.clone().try_into().map_err(|given: Vec<_>| {
        let error =
            format!("--package was given {} times: one of each sender is needed", given.len());
        Failure::usage(error)
    })
}

pub(crate) fn open_identity(path: &Path) -> Result<Identity, Failure> {
    load_identity(path).map_err(|error| Failure::of_file(error, "--identity"))
}
