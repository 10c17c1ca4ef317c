//! The destination of a sender's parts: a directory or the receiver.

use reshare_engine::rows::Rows;
use reshare_exchange::Delivered;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_format::package::{ManifestContent, SealedPart};

use super::directory_package::DirectoryPackage;
use super::error::PipelineError;
use super::receiver_package::ReceiverPackage;
use crate::ledger::{Ledger, LedgerPart, RecordedParts};

/// An open package.
pub(crate) enum Destination {
    /// A directory, for delivery on removable media or by other means.
    Directory(Box<DirectoryPackage>),
    /// The receiver, over the network.
    Receiver(Box<ReceiverPackage>),
}

impl Destination {
    /// Whether parts are delivered after they were sealed.
    pub(crate) fn is_receiver(&self) -> bool {
        matches!(self, Self::Receiver(_))
    }

    /// Separates the parts that are there, byte for byte as recorded, from the others.
    ///
    /// # Errors
    /// A part is there that the ledger has never recorded; any error of the file system.
    pub(crate) fn find(
        &self,
        ledger: &Ledger,
        progress: &Progress,
    ) -> Result<RecordedParts, PipelineError> {
        match self {
            Self::Directory(package) => package.find(ledger, progress),
            Self::Receiver(package) => Ok(package.find(ledger.parts())),
        }
    }

    /// Seals a part, then publishes it in place of an earlier part of its name. Several threads may
    /// do so at the same time.
    ///
    /// `record` is called in between: no sealed byte appears under the part's name, or leaves,
    /// before it returns.
    ///
    /// # Errors
    /// A [`PipelineError`], and any error of `record`.
    pub(crate) fn put(
        &self,
        index: u64,
        ids: IdRange,
        rows: &Rows<'_>,
        record: impl FnOnce(&SealedPart) -> Result<LedgerPart, PipelineError>,
    ) -> Result<LedgerPart, PipelineError> {
        match self {
            Self::Directory(package) => package.put(index, ids, rows, record),
            Self::Receiver(package) => package.put(index, ids, rows, record),
        }
    }

    /// Says that no row comes of some ids: `part` has none.
    ///
    /// # Errors
    /// A [`PipelineError`].
    pub(crate) fn cover(&self, part: &LedgerPart) -> Result<(), PipelineError> {
        match self {
            Self::Directory(package) => package.cover(part),
            Self::Receiver(package) => package.cover(part),
        }
    }

    /// Waits until every part is durable at its destination. `sealed` is the result of sealing
    /// them.
    ///
    /// # Errors
    /// The error of `sealed`, or an earlier error that caused it.
    pub(crate) async fn settle(
        &mut self,
        sealed: Result<(), PipelineError>,
    ) -> Result<Delivered, PipelineError> {
        match self {
            Self::Directory(_) => sealed.map(|()| Delivered::default()),
            Self::Receiver(package) => package.settle(sealed).await,
        }
    }

    /// Closes the package with the parts that the manifest lists; others are removed.
    ///
    /// # Errors
    /// A [`PipelineError`]; the package then stays open.
    pub(crate) async fn close(self, content: &ManifestContent) -> Result<(), PipelineError> {
        match self {
            Self::Directory(package) => tokio::task::block_in_place(|| package.close(content)),
            Self::Receiver(package) => package.close(content).await,
        }
    }
}
