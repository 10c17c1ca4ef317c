//! The two packages of a session, at the receiver.

use std::path::PathBuf;
use std::sync::Arc;

use age::x25519::Identity;
use reshare_engine::layout::RowLayout;
use reshare_engine::party::PartyId;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;
use reshare_format::package::{Package, PackageExpectations, PartEntry, read_manifest};
use reshare_format::receipt::ReceivedPackage;
use reshare_format::session::{IdList, Session, SessionIds, SessionTrust};
use reshare_format::share_file::RowPrefix;
use reshare_postgres::load_source::LoadSource;

use super::error::PipelineError;
use super::pool::PooledBatch;
use super::sweep::{HeldRows, PartRef};

/// Both senders' packages: closed, of this session, made with the same keys.
pub struct Packages {
    /// The lower party's first.
    packages: [Package; 2],
    ranges: [Vec<IdRange>; 2],
    identity: Identity,
    layout: Arc<RowLayout>,
    bounds: IdRange,
    ids: Ids,
}

/// The ids of the session.
enum Ids {
    Range,
    /// A list that was not given, so no row can be checked against it.
    ListNotGiven,
    List(Arc<[i64]>),
}

impl Packages {
    /// Opens two packages, given in any order, of a session without certificates.
    ///
    /// # Errors
    /// As [`Self::open_signed`], and [`PipelineError::NoAuthority`] for any other session.
    pub fn open(
        session: &Session,
        directories: [PathBuf; 2],
        identity: Identity,
    ) -> Result<Self, PipelineError> {
        Self::open_signed(session, None, directories, identity)
    }

    /// Opens two packages, given in any order, and verifies their signatures if the session uses
    /// certificates. No part is opened before both signatures are verified.
    ///
    /// # Errors
    /// A [`PipelineError`] when one is not closed, not of this session, not signed by its sender,
    /// or both are of the same sender or made with different keys.
    pub fn open_signed(
        session: &Session,
        trust: Option<&SessionTrust>,
        directories: [PathBuf; 2],
        identity: Identity,
    ) -> Result<Self, PipelineError> {
        if identity.to_public() != session.receiver().recipient {
            return Err(PipelineError::OtherIdentity);
        }
        let [first, second] = directories;
        let open = |directory| open_package(session, trust, directory);
        let mut packages = [open(first)?, open(second)?];
        packages.sort_by_key(|package| package.manifest().content().sender);
        let [lower, higher] = packages.each_ref().map(|package| package.manifest().content());
        if lower.sender == higher.sender {
            return Err(PipelineError::SameSender { sender: lower.sender });
        }
        if lower.key_check != higher.key_check {
            return Err(PipelineError::KeyCheck { lower: lower.sender, higher: higher.sender });
        }
        let ranges = packages
            .each_ref()
            .map(|package| package.manifest().parts().iter().map(|part| part.ids).collect());
        let (layout, bounds) = (Arc::clone(session.layout()), session.ids().range());
        let ids = match session.ids() {
            SessionIds::Range(_) => Ids::Range,
            SessionIds::List { .. } => Ids::ListNotGiven,
        };
        Ok(Self { packages, ranges, identity, layout, bounds, ids })
    }

    /// Sets the session's list of ids. A session with a list is not rebuilt without it, since every
    /// row is checked against it.
    #[must_use]
    pub fn with_list(mut self, list: &IdList) -> Self {
        if !matches!(self.ids, Ids::Range) {
            self.ids = Ids::List(list.ids().into());
        }
        self
    }

    /// The source that a load records for both.
    pub(crate) fn load_source(&self) -> LoadSource {
        LoadSource::Packages(
            self.received().map(|package| (package.sender, package.content_digest)),
        )
    }

    /// The packages as a receipt names them, the lower party's first.
    #[must_use]
    pub fn received(&self) -> [ReceivedPackage; 2] {
        self.packages.each_ref().map(|package| ReceivedPackage::of(package.manifest()))
    }

    /// Refuses rows outside the session.
    pub(crate) fn check_ids(&self, ids: &[i64]) -> Result<(), PipelineError> {
        match &self.ids {
            Ids::Range => Ok(()),
            Ids::ListNotGiven if ids.is_empty() => Ok(()),
            Ids::ListNotGiven => Err(PipelineError::NoIdList),
            Ids::List(listed) => match ids.iter().find(|id| listed.binary_search(id).is_err()) {
                Some(id) => Err(PipelineError::NotListed { id: *id }),
                None => Ok(()),
            },
        }
    }

    /// The list of ids, if the session has one.
    pub(crate) fn listed(&self) -> Option<&[i64]> {
        match &self.ids {
            Ids::List(listed) => Some(listed),
            Ids::Range | Ids::ListNotGiven => None,
        }
    }

    /// The ranges of both packages' parts, the lower party's first.
    pub(crate) fn ranges(&self) -> [&[IdRange]; 2] {
        self.ranges.each_ref().map(Vec::as_slice)
    }

    /// The columns.
    pub(crate) fn layout(&self) -> &Arc<RowLayout> {
        &self.layout
    }

    /// The range of the session's ids.
    pub(crate) fn bounds(&self) -> IdRange {
        self.bounds
    }

    /// The most rows of one part.
    pub(crate) fn part_rows_at_most(&self) -> usize {
        let parts = self.packages.iter().flat_map(|package| package.manifest().parts());
        parts.map(|part| usize::try_from(part.rows).unwrap_or(usize::MAX)).max().unwrap_or(0)
    }

    /// Opens a part: see [`Package::open_part`].
    pub(crate) fn open_part(
        &self,
        part: PartRef,
        batch: &mut RowBatch,
    ) -> Result<(), PipelineError> {
        let (package, entry) = self.part(part);
        Ok(package.open_part(entry, &self.identity, batch)?)
    }

    /// Opens the beginning of a part: ids, agree columns and row checks.
    pub(crate) fn open_prefix(&self, part: PartRef) -> Result<HeldPrefix, PipelineError> {
        let (package, entry) = self.part(part);
        let prefix = package.open_part_prefix(entry, &self.identity)?;
        Ok(HeldPrefix { layout: Arc::clone(&self.layout), prefix })
    }

    fn part(&self, part: PartRef) -> (&Package, &PartEntry) {
        let package = &self.packages[part.side.index()];
        (package, &package.manifest().parts()[part.index])
    }
}

/// A part without its shares: enough for a join.
pub(crate) struct HeldPrefix {
    layout: Arc<RowLayout>,
    prefix: RowPrefix,
}

impl HeldRows for HeldPrefix {
    fn rows(&self) -> Rows<'_> {
        Rows {
            layout: &self.layout,
            ids: &self.prefix.ids,
            agree: self.prefix.agree.iter().map(|column| column.as_slice()).collect(),
            row_checks: &self.prefix.row_checks,
            shares: Vec::new(),
        }
    }
}

impl HeldRows for PooledBatch {
    fn rows(&self) -> Rows<'_> {
        RowBatch::rows(self)
    }
}

/// What a session requires of one sender's package.
///
/// # Errors
/// [`PipelineError::NoAuthority`] when the session uses certificates and the authority to verify them
/// is missing or belongs to another session.
pub fn expectations(
    session: &Session,
    sender: PartyId,
    trust: Option<&SessionTrust>,
) -> Result<PackageExpectations, PipelineError> {
    PackageExpectations::of(session, sender, trust).map_err(|_| PipelineError::NoAuthority)
}

/// Opens a package as that of the sender it claims, and verifies this claim.
fn open_package(
    session: &Session,
    trust: Option<&SessionTrust>,
    directory: PathBuf,
) -> Result<Package, PipelineError> {
    let claimed = read_manifest(&directory)?.claims().sender;
    if session.sender(claimed).is_none() {
        return Err(PipelineError::NotASender { directory, claimed });
    }
    Ok(Package::open(directory, expectations(session, claimed, trust)?)?)
}
