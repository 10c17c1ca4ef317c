//! Delivers a package from a directory: the missing parts, then the files that close it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::future::BoxFuture;
use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{
    CHAIN_NAME, Manifest, ManifestSignature, Package, PackageRecords, PartEntry, RecordedPart,
    SIGNATURE_NAME,
};
use serde::Serialize;

use super::client::{DeliveryTarget, Upload};
use super::client_error::ClientError;
use super::listing::Listing;
use super::pace::UploadOptions;
use super::part_upload::PartUpload;
use super::part_uploads::{PartUploads, upload_retained};
use super::refusal::PART_MISSING;
use super::retained::Retained;
use super::upload_body::Content;
use crate::progress::Progress;

/// The result of an upload.
#[derive(Debug, Clone, Default, Serialize)]
pub struct UploadReport {
    /// The sender.
    pub sender: u8,
    /// Parts that this run delivered.
    pub parts: u64,
    /// Parts that had been delivered before.
    pub parts_skipped: u64,
    /// Bytes that this run delivered.
    pub sealed_bytes: u64,
    /// Rows of the package.
    pub rows: u64,
}

/// Uploads the parts that the receiver lacks, several at once, then closes the package there.
///
/// `check` sees what the receiver has before anything is sent, and may refuse to go on.
///
/// # Errors
/// A [`ClientError`]; what was delivered is kept, and the next run continues there.
pub fn upload<'a>(
    package: &'a Package,
    target: &'a DeliveryTarget,
    options: UploadOptions,
    progress: &'a Arc<Progress>,
    check: impl FnOnce(&Listing) -> Result<(), ClientError> + Send + 'a,
) -> BoxFuture<'a, Result<UploadReport, ClientError>> {
    Box::pin(async move {
        let manifest = package.manifest();
        progress.begin("ask what the receiver has", 0);
        let listing = target.list().await?;
        check(&listing)?;
        let records = RecordsToSend::of(package)?;
        let there = listing.by_name();
        let delivered = |part: &&PartEntry| {
            let listed = there.get(&part.name);
            let needs_record = records.is_some() && !listing.closed;
            listed.is_some_and(|listed| {
                listed.is_of(part) && !listed.is_held() && (listed.is_recorded() || !needs_record)
            })
        };
        let (skipped, missing): (Vec<_>, Vec<_>) = manifest.parts().iter().partition(delivered);
        if listing.closed && !missing.is_empty() {
            return Err(ClientError::ClosedOtherwise);
        }
        let totals = manifest.totals();
        progress.begin("upload", totals.rows);
        progress.skip(skipped.iter().map(|part| part.rows).sum());
        let report = UploadReport {
            sender: manifest.content().sender.index(),
            parts: missing.len() as u64,
            parts_skipped: skipped.len() as u64,
            sealed_bytes: missing.iter().map(|part| part.sealed_bytes).sum(),
            rows: totals.rows,
        };
        let mut parts: Vec<PartUpload> =
            missing.into_iter().map(|part| part_of(package, part, records.as_ref())).collect();
        if let Some(records) = records.filter(|_| !listing.closed) {
            parts.extend(records.of_no_rows().filter(|part| !there.contains_key(&part.name)));
            // The part that comes next in id order is always taken.
            parts.sort_by_key(|part| part.ids);
            if !parts.is_empty() {
                introduce(target, &records.chain).await?;
            }
        }
        let retained = upload_parts(parts, target, options, progress).await?;
        if progress.stopped() {
            return Err(ClientError::Stopped);
        }
        let signature = ManifestSignature::load(package.directory())?;
        close_retaining(target, manifest, signature.as_ref(), &retained).await?;
        Ok(report)
    })
}

/// The records of a package, with which a receiver can merge it while it arrives.
struct RecordsToSend {
    records: PackageRecords,
    chain: Arc<CertificateChain>,
}

impl RecordsToSend {
    /// Those of a package; `None` where it has none, or where they were signed with several
    /// certificates: a receiver knows one at a time, and merges the package when it is closed.
    fn of(package: &Package) -> Result<Option<Self>, ClientError> {
        let Some(records) = package.records()? else { return Ok(None) };
        let Some(first) = records.iter().next() else { return Ok(None) };
        let chain = Arc::clone(&first.chain);
        let is_of_one = records.iter().all(|recorded| recorded.chain == chain);
        Ok(is_of_one.then_some(Self { records, chain }))
    }

    /// The records of ids that have no part.
    fn of_no_rows(&self) -> impl Iterator<Item = PartUpload> {
        let empty = |recorded: &&RecordedPart| recorded.record.part.rows == 0;
        self.records.iter().filter(empty).map(|RecordedPart { record, signed, .. }| PartUpload {
            name: record.part.name,
            ids: Some(record.part.ids),
            rows: 0,
            content: Content::Memory(Bytes::new()),
            blake3: blake3::hash(&[]),
            record: Some(signed.clone()),
        })
    }
}

/// A part in its file, with its record where it has one.
fn part_of(package: &Package, part: &PartEntry, records: Option<&RecordsToSend>) -> PartUpload {
    let path = Arc::new(package.files().part_path(part.name));
    let recorded = records.and_then(|of| of.records.get(part.name));
    PartUpload {
        name: part.name,
        ids: Some(part.ids),
        rows: part.rows,
        content: Content::File { path, bytes: part.sealed_bytes },
        blake3: part.sealed_digest,
        record: recorded.map(|recorded| recorded.signed.clone()),
    }
}

/// Uploads parts; returns those that the receiver has in memory.
async fn upload_parts(
    parts: Vec<PartUpload>,
    target: &DeliveryTarget,
    options: UploadOptions,
    progress: &Arc<Progress>,
) -> Result<Arc<Retained>, ClientError> {
    let Some(count) = NonZeroUsize::new(parts.len()) else { return Ok(Arc::default()) };
    let options = options.at_most(count);
    let mut uploads = PartUploads::start(target, options, progress, Progress::add);
    for part in parts {
        if uploads.put(part).await.is_err() {
            break;
        }
    }
    let retained = Arc::clone(uploads.retained());
    uploads.finish().await?;
    Ok(retained)
}

/// Closes a package with the delivered parts. The signature comes before the manifest that it signs.
fn close<'a>(
    target: &'a DeliveryTarget,
    manifest: &'a Manifest,
    signature: Option<&'a ManifestSignature>,
) -> BoxFuture<'a, Result<(), ClientError>> {
    Box::pin(async move {
        let mut client = target.client();
        let mut files = Vec::with_capacity(3);
        if let Some(signature) = signature {
            files.push((CHAIN_NAME, signature.chain().to_pem().into_bytes()));
            files.push((SIGNATURE_NAME, signature.bytes().to_vec()));
        }
        files.push(("manifest", manifest.bytes().to_vec()));
        for (place, bytes) in files {
            let blake3 = blake3::hash(&bytes);
            let content = Content::Memory(bytes.into());
            client
                .put(&format!("/{place}"), Upload { content: &content, blake3, record: None })
                .await?;
        }
        // Its connection serves the last request.
        drop(client);
        // The receiver waits for this before it ends: it then knows that the answer has arrived.
        if let Err(error) = target.clone().once(ACKNOWLEDGE_TIMEOUT).list().await {
            tracing::debug!("the package is closed, and the receiver is gone: {error}");
        }
        Ok(())
    })
}

/// Closes a package with its signature, its certificates and its manifest. Parts that the receiver
/// has lost from its memory are sent again.
///
/// # Errors
/// A [`ClientError`] when the receiver refuses a file, or fails for too long.
pub fn close_retaining<'a>(
    target: &'a DeliveryTarget,
    manifest: &'a Manifest,
    signature: Option<&'a ManifestSignature>,
    retained: &'a Retained,
) -> BoxFuture<'a, Result<(), ClientError>> {
    Box::pin(async move {
        loop {
            let closed = close(target, manifest, signature).await;
            let is_missing = matches!(&closed, Err(ClientError::Refused { reason, .. }) if reason == PART_MISSING);
            // A part that is sent again is retained again only by a receiver that has lost it.
            if !is_missing || upload_retained(target, retained).await? == 0 {
                return closed;
            }
        }
    })
}

/// How long to try to tell the receiver that its answer has arrived.
const ACKNOWLEDGE_TIMEOUT: Duration = Duration::from_secs(5);

/// Delivers the certificates that verify part records.
pub fn introduce<'a>(
    target: &'a DeliveryTarget,
    chain: &'a CertificateChain,
) -> BoxFuture<'a, Result<(), ClientError>> {
    Box::pin(async move {
        let bytes = chain.to_pem().into_bytes();
        let blake3 = blake3::hash(&bytes);
        let content = Content::Memory(bytes.into());
        let upload = Upload { content: &content, blake3, record: None };
        target.client().put(&format!("/{CHAIN_NAME}"), upload).await
    })
}
