//! The two packages of a session, at the receiver.

use std::path::PathBuf;
use std::sync::Arc;

use age::x25519::Identity;
use reshare_engine::party::PartyId;
use reshare_files::ids::IdRange;
use reshare_format::package::{Package, PackageExpectations, PartName, read_manifest};
use reshare_format::receipt::ReceivedPackage;
use reshare_format::session::{IdList, Session, SessionTrust};
use reshare_postgres::progress_table::LoadedRange;

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
        let parts = Arc::unwrap_or_clone(self.parts).with_list(list);
        Self { parts: Arc::new(parts), ..self }
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
        let [lower, higher] = packages.each_ref().map(|package| package.manifest().content());
        if lower.sender == higher.sender {
            return Err(PipelineError::SameSender { sender: lower.sender });
        }
        if lower.key_check != higher.key_check {
            return Err(PipelineError::KeyCheck { lower: lower.sender, higher: higher.sender });
        }
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
    is_gone: fn(PartName) -> bool,
) -> Result<Package, PipelineError> {
    let claimed = read_manifest(&directory)?.claims().sender;
    if session.sender(claimed).is_none() {
        return Err(PipelineError::NotASender { directory, claimed });
    }
    Ok(Package::open_without(directory, expectations(session, claimed, trust)?, is_gone)?)
}
