//! A package that is made at the receiver: parts are sent as soon as they are sealed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use reshare_engine::rows::Rows;
use reshare_exchange::progress::Progress;
use reshare_exchange::sealed_buffer::SealedBuffers;
use reshare_exchange::{
    ClientError, Content, Delivered, DeliveryTarget, Listing, PartUpload, PartUploads,
    UploadOptions, close_retaining,
};
use reshare_files::ids::IdRange;
use reshare_format::keys::Recipient;
use reshare_format::keys::certificate::PartyCertificate;
use reshare_format::package::{
    Compression, ManifestContent, PackageExpectations, PartDefect, PartEntry, PartError, PartName,
    SealedPart, SignedManifest, seal_part_to, sealed_bytes_at_most,
};
use reshare_format::session::Session;

use super::error::PipelineError;
use super::sender::LedgeredSender;
use crate::ledger::{LedgerPart, RecordedParts};

/// What the receiver has of an open package, and the parts on their way to it.
pub(crate) struct ReceiverPackage {
    session: PackageExpectations,
    key_check: [u8; 16],
    recipient: Recipient,
    compression: Compression,
    certificate: Option<PartyCertificate>,
    target: DeliveryTarget,
    listing: Listing,
    buffers: Arc<SealedBuffers>,
    uploads: PartUploads,
    progress: Arc<Progress>,
}

impl ReceiverPackage {
    /// Continues an open package from the receiver's list of it.
    ///
    /// # Errors
    /// [`PipelineError::NoCredentials`] when the sender cannot sign for the session.
    pub(crate) fn new(
        session: &Session,
        sender: &LedgeredSender,
        listing: Listing,
        (target, options): (DeliveryTarget, UploadOptions),
        progress: &Arc<Progress>,
    ) -> Result<Self, PipelineError> {
        let keys = sender.keys();
        let certificate = keys.credentials().map(|credentials| credentials.certificate.clone());
        let count = Progress::deliver_part;
        Ok(Self {
            session: keys.expectations(session)?,
            key_check: keys.key_check().0,
            recipient: session.receiver().recipient.clone(),
            compression: sender.compression(),
            certificate,
            uploads: PartUploads::start(&target, options, progress, count),
            target,
            listing,
            buffers: SealedBuffers::new(MAX_SEALED_BYTES),
            progress: Arc::clone(progress),
        })
    }

    pub(super) fn find(&self, recorded: Vec<LedgerPart>) -> RecordedParts {
        let there = self.listing.by_name();
        let is_there = |part: &LedgerPart| {
            let listed = there.get(&part.name());
            // What is only in the receiver's memory is retained by the process that has sent it.
            listed.is_some_and(|listed| {
                listed.is_recorded() && !listed.is_held() && listed.is_of(&part.entry())
            })
        };
        let (kept, missing) = recorded.into_iter().partition(is_there);
        RecordedParts { kept, missing }
    }

    pub(super) fn put(
        &self,
        index: u64,
        ids: IdRange,
        rows: &Rows<'_>,
        record: impl FnOnce(&SealedPart) -> Result<LedgerPart, PipelineError>,
    ) -> Result<LedgerPart, PipelineError> {
        let (sealed_part, sealed) = self.seal(index, ids, rows)?;
        let part = record(&sealed_part)?;
        self.upload(&part, IdRange::of(rows.ids), sealed)?;
        Ok(part)
    }

    /// Says that no row comes of some ids: a record without a part.
    pub(super) fn cover(&self, part: &LedgerPart) -> Result<(), PipelineError> {
        self.upload(part, None, Bytes::new())
    }

    /// Signs what there is to say of a part, and has both delivered.
    fn upload(
        &self,
        part: &LedgerPart,
        bounds: Option<IdRange>,
        sealed: Bytes,
    ) -> Result<(), PipelineError> {
        let record = self.session.record(self.key_check, part.entry(), bounds);
        let certificate = self.certificate.as_ref().ok_or(PipelineError::NoCredentials)?;
        let upload = PartUpload {
            name: part.name(),
            ids: Some(part.ids),
            rows: part.rows,
            blake3: blake3_of(part, &sealed),
            content: Content::Memory(sealed),
            record: Some(record.sign(certificate)?),
        };
        // `settle` returns why no more parts are taken.
        self.uploads.put_blocking(upload).map_err(|_| PipelineError::Stopped)
    }

    fn seal(
        &self,
        index: u64,
        ids: IdRange,
        rows: &Rows<'_>,
    ) -> Result<(SealedPart, Bytes), PartError> {
        let spec = self.session.spec(index, ids, rows.len() as u64);
        let most = sealed_bytes_at_most(&self.session.layout, spec.rows);
        let most = most.unwrap_or(u64::MAX).min(self.session.max_part_bytes);
        let buffer = self.buffers.take(usize::try_from(most).unwrap_or(0));
        let sealed = seal_part_to(buffer, &spec, rows, &self.recipient, self.compression);
        let checked = sealed.and_then(|(buffer, part)| {
            let (bytes, max) = (part.sealed_bytes, self.session.max_part_bytes);
            if bytes > max { Err(PartDefect::TooLarge { bytes, max }) } else { Ok((part, buffer)) }
        });
        match checked {
            Ok((part, buffer)) => Ok((part, Bytes::from_owner(buffer))),
            Err(defect) => {
                let (path, name) = (PathBuf::from(MEMORY), PartName::new(index));
                Err(PartError { path, name, defect: Box::new(defect) })
            }
        }
    }

    pub(super) async fn settle(
        &mut self,
        sealed: Result<(), PipelineError>,
    ) -> Result<Delivered, PipelineError> {
        match (self.uploads.finish().await, sealed) {
            // The error that stopped the sealing is more useful than `Stopped`.
            (Err(ClientError::Stopped), Err(error)) => Err(error),
            (Err(ClientError::Stopped), Ok(())) => Err(PipelineError::Stopped),
            // The next run compares what is there with the ledger.
            (Err(error), _) if error.is_closed() => Err(ClientError::ClosedMeanwhile.into()),
            (Err(error), _) => Err(error.into()),
            (Ok(delivered), sealed) => sealed.map(|()| delivered),
        }
    }

    pub(super) async fn close(self, content: &ManifestContent) -> Result<(), PipelineError> {
        let certificate = self.certificate.as_ref();
        let signed = SignedManifest::make(content, &self.session, certificate, Path::new(""))?;
        let SignedManifest { manifest, signature } = signed;
        let retained = self.uploads.retained();
        let closing = close_retaining(&self.target, &manifest, signature.as_ref(), retained);
        match unless_stopped(&self.progress, closing).await {
            Err(PipelineError::Delivery(error)) if error.is_closed() => {
                // A manifest of a process that was killed may have been on its way: its times and
                // its signature are others, and its parts the same.
                let listing = unless_stopped(&self.progress, self.target.list()).await?;
                match listing.closed && has_contents_of(&listing, &content.parts) {
                    true => Ok(()),
                    false => Err(ClientError::ClosedOtherwise.into()),
                }
            }
            closed => closed,
        }
    }
}

/// The digest of what is uploaded: of nothing where the part has no row.
fn blake3_of(part: &LedgerPart, sealed: &Bytes) -> blake3::Hash {
    if sealed.is_empty() { blake3::hash(&[]) } else { part.sealed_digest }
}

/// The most memory of sealed parts. Beyond it, sealing waits until parts have arrived.
const MAX_SEALED_BYTES: usize = 160 << 20;

/// The place of a part that is on no disk, in errors.
const MEMORY: &str = "in memory";

/// Waits for the receiver, or until the run is asked to stop.
pub(super) async fn unless_stopped<T>(
    progress: &Progress,
    work: impl Future<Output = Result<T, ClientError>>,
) -> Result<T, PipelineError> {
    tokio::select! {
        done = work => Ok(done?),
        () = progress.until_stopped() => Err(PipelineError::Stopped),
    }
}

/// Whether the receiver has closed the package over just the parts that the ledger has recorded.
pub(super) fn is_as_recorded(listing: &Listing, recorded: &[LedgerPart]) -> bool {
    let recorded = recorded.iter().filter(|part| part.rows > 0);
    has_contents_of(listing, &recorded.map(LedgerPart::entry).collect::<Vec<_>>())
}

/// Whether a closed package has just these parts, however they were sealed.
fn has_contents_of(listing: &Listing, parts: &[PartEntry]) -> bool {
    let there = listing.by_name();
    let count = there.values().filter(|listed| listed.bytes() > 0).count();
    let is_there =
        |part: &PartEntry| there.get(&part.name).is_some_and(|listed| listed.has_content_of(part));
    parts.len() == count && parts.iter().all(is_there)
}
