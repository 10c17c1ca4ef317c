//! The two packages of a session, at the receiver.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use reshare_format::keys::Identity;
use reshare_format::package::{
    OpenPackage, Package, PackageExpectations, PartName, read_manifest, read_record_claims,
};
use reshare_format::receipt::ReceivedPackage;
use reshare_format::session::{IdList, Session, SessionTrust};
use reshare_postgres::progress_table::LoadedRange;
use serde::Serialize;

use super::delivered_parts::{DeliveredParts, Receiver, SideParts, load_source};
use super::error::PipelineError;

/// Both senders' packages: closed, of this session, made with the same keys.
pub struct Packages {
    parts: Arc<DeliveredParts>,
    received: [ReceivedPackage; 2],
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
        let receiver = Arc::new(Receiver::new(session, identity)?);
        let Manifests { sides, received } =
            Manifests::read(session, trust, directories, |_| false)?;
        Ok(Self { parts: Arc::new(DeliveredParts::new(receiver, sides)), received })
    }

    /// Sets the session's list of ids. A session with a list is not rebuilt without it, since every
    /// row is checked against it.
    #[must_use]
    pub fn with_list(self, list: &IdList) -> Self {
        Self { parts: self.parts.with_list(list), ..self }
    }

    /// The packages as a receipt names them, the lower party's first.
    #[must_use]
    pub fn received(&self) -> [ReceivedPackage; 2] {
        self.received
    }

    /// Their parts.
    pub(crate) fn parts(&self) -> &Arc<DeliveredParts> {
        &self.parts
    }
}

/// Both senders' packages as far as they are there: a package that is not closed counts as far as
/// its part records cover.
pub struct PackagesSoFar {
    parts: Arc<DeliveredParts>,
    sides: [SideSoFar; 2],
}

/// How far one sender's package is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SideSoFar {
    /// The sender's party.
    pub sender: u8,
    /// Whether its manifest is there.
    pub closed: bool,
    /// The last id up to which nothing is missing.
    pub covered_up_to: Option<i64>,
}

impl PackagesSoFar {
    /// Opens two packages, given in any order, closed or not.
    ///
    /// # Errors
    /// As [`Packages::open_signed`]; a package that is neither closed nor has part records is not
    /// complete.
    pub fn open(
        session: &Session,
        trust: Option<&SessionTrust>,
        directories: [PathBuf; 2],
        identity: Identity,
    ) -> Result<Self, PipelineError> {
        let receiver = Arc::new(Receiver::new(session, identity)?);
        let [first, second] = directories;
        let mut delivered =
            [Delivered::open(session, trust, first)?, Delivered::open(session, trust, second)?];
        delivered.sort_by_key(Delivered::sender);
        check_pair(delivered.each_ref().map(|side| (side.sender(), side.key_check())))?;
        let sides = delivered.each_ref().map(|side| side.so_far(session));
        let parts = delivered.map(|side| side.into_parts(session));
        Ok(Self { parts: Arc::new(DeliveredParts::new(receiver, parts)), sides })
    }

    /// Sets the session's list of ids: see [`Packages::with_list`].
    #[must_use]
    pub fn with_list(self, list: &IdList) -> Self {
        Self { parts: self.parts.with_list(list), ..self }
    }

    /// Whether both are closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.sides.iter().all(|side| side.closed)
    }

    /// How far each is, the lower party's first.
    #[must_use]
    pub fn sides(&self) -> [SideSoFar; 2] {
        self.sides
    }

    /// Their parts.
    pub(crate) fn parts(&self) -> &Arc<DeliveredParts> {
        &self.parts
    }
}

/// One package, closed or not.
enum Delivered {
    Closed(Package),
    Open(OpenPackage),
}

impl Delivered {
    fn open(
        session: &Session,
        trust: Option<&SessionTrust>,
        directory: PathBuf,
    ) -> Result<Self, PipelineError> {
        match open_package(session, trust, directory.clone(), |_| false) {
            Ok(package) => Ok(Self::Closed(package)),
            Err(PipelineError::Package(error)) if error.is_not_closed() => {
                let claims = read_record_claims(&directory)?;
                let claimed = claims.first().ok_or(error)?.sender;
                let expected = expectations_of(session, trust, &directory, claimed)?;
                Ok(Self::Open(OpenPackage::open(directory, expected)?))
            }
            Err(error) => Err(error),
        }
    }

    fn sender(&self) -> PartyId {
        match self {
            Self::Closed(package) => package.files().sender(),
            Self::Open(package) => package.files().sender(),
        }
    }

    fn key_check(&self) -> Option<[u8; 16]> {
        match self {
            Self::Closed(package) => Some(package.manifest().content().key_check),
            Self::Open(package) => package.key_check(),
        }
    }

    fn covered_up_to(&self, session: &Session) -> Option<i64> {
        match self {
            // A closed package speaks for all ids of the session.
            Self::Closed(_) => Some(session.ids().range().last()),
            Self::Open(package) => package.covered_up_to(),
        }
    }

    fn so_far(&self, session: &Session) -> SideSoFar {
        SideSoFar {
            sender: self.sender().index(),
            closed: matches!(self, Self::Closed(_)),
            covered_up_to: self.covered_up_to(session),
        }
    }

    fn into_parts(self, session: &Session) -> SideParts {
        let covered_up_to = self.covered_up_to(session);
        let (files, parts) = match &self {
            Self::Closed(package) => (package.files(), package.manifest().parts()),
            Self::Open(package) => (package.files(), package.parts()),
        };
        SideParts::new(files.clone(), parts.to_vec(), covered_up_to)
    }
}

/// Refuses two packages of one sender, or of senders with different keys, given the lower party's
/// first.
fn check_pair(sides: [(PartyId, Option<[u8; 16]>); 2]) -> Result<(), PipelineError> {
    let [(lower, lower_keys), (higher, higher_keys)] = sides;
    if lower == higher {
        return Err(PipelineError::SameSender { sender: lower });
    }
    match lower_keys.zip(higher_keys) {
        Some((one, other)) if one != other => Err(PipelineError::KeyCheck { lower, higher }),
        _ => Ok(()),
    }
}

/// The manifests of both senders' packages, whose parts need not be there any more.
pub struct Manifests {
    sides: [SideParts; 2],
    received: [ReceivedPackage; 2],
}

impl Manifests {
    /// Reads the manifests of two packages, given in any order, and verifies their signatures where
    /// the session uses certificates.
    ///
    /// # Errors
    /// As [`Packages::open_signed`].
    pub fn open(
        session: &Session,
        trust: Option<&SessionTrust>,
        directories: [PathBuf; 2],
    ) -> Result<Self, PipelineError> {
        // Each part may be gone: what it held was checked when it was merged.
        Self::read(session, trust, directories, |_| true)
    }

    fn read(
        session: &Session,
        trust: Option<&SessionTrust>,
        directories: [PathBuf; 2],
        is_gone: fn(PartName) -> bool,
    ) -> Result<Self, PipelineError> {
        let [first, second] = directories;
        let open = |directory| open_package(session, trust, directory, is_gone);
        let mut packages = [open(first)?, open(second)?];
        packages.sort_by_key(|package| package.manifest().content().sender);
        let content = packages.each_ref().map(|package| package.manifest().content());
        check_pair(content.map(|content| (content.sender, Some(content.key_check))))?;
        let received = packages.each_ref().map(|package| ReceivedPackage::of(package.manifest()));
        // A closed package speaks for all ids of the session.
        let end = Some(session.ids().range().last());
        let sides = packages.map(|package| {
            let parts = package.manifest().parts().to_vec();
            SideParts::new(package.files().clone(), parts, end)
        });
        Ok(Self { sides, received })
    }

    /// What a receipt says of the two, the lower party's first.
    #[must_use]
    pub fn received(&self) -> [ReceivedPackage; 2] {
        self.received
    }

    /// Finds the first loaded range that is not from these packages, and says what differs.
    #[must_use]
    pub fn other_source(&self, loaded: &[LoadedRange]) -> Option<(IdRange, String)> {
        loaded.iter().find_map(|range| {
            let source = load_source(&self.sides, range.ids)?;
            Some((range.ids, source.differing(&range.source)?))
        })
    }

    /// How many rows of each package are neither loaded nor recorded as left over, the lower
    /// party's first.
    #[must_use]
    pub fn rows_missing(&self, loaded: &[LoadedRange]) -> [u64; 2] {
        let mut accounted = [0; 2];
        for LoadedRange { rows, leftovers, .. } in loaded {
            let of_both = rows + leftovers.disagreeing.len() as u64;
            accounted[0] += of_both + leftovers.only_lower_sender.len() as u64;
            accounted[1] += of_both + leftovers.only_higher_sender.len() as u64;
        }
        std::array::from_fn(|side| self.received[side].rows.saturating_sub(accounted[side]))
    }
}

/// What a session requires of one sender's package.
///
/// # Errors
/// [`PipelineError::NoAuthority`] when the session uses certificates and the authority to verify
/// them is missing or belongs to another session.
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
    is_gone: fn(PartName) -> bool,
) -> Result<Package, PipelineError> {
    let claimed = read_manifest(&directory)?.claims().sender;
    let expected = expectations_of(session, trust, &directory, claimed)?;
    Ok(Package::open_without(directory, expected, is_gone)?)
}

/// What a package must be that claims a sender.
fn expectations_of(
    session: &Session,
    trust: Option<&SessionTrust>,
    directory: &Path,
    claimed: PartyId,
) -> Result<PackageExpectations, PipelineError> {
    if session.sender(claimed).is_none() {
        return Err(PipelineError::NotASender { directory: directory.to_owned(), claimed });
    }
    expectations(session, claimed, trust)
}
