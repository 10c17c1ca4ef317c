//! Delivers a package from a directory: the missing parts, then the files that close it.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reshare_format::keys::certificate::CertificateChain;
use reshare_format::package::{
    CHAIN_NAME, Manifest, ManifestSignature, Package, PartEntry, SIGNATURE_NAME,
};
use serde::Serialize;

use super::client::{DeliveryTarget, Upload};
use super::client_error::ClientError;
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
/// # Errors
/// A [`ClientError`]; what was delivered is kept, and the next run continues there.
pub fn upload<'a>(
    package: &'a Package,
    target: &'a DeliveryTarget,
    options: UploadOptions,
    progress: &'a Arc<Progress>,
) -> BoxFuture<'a, Result<UploadReport, ClientError>> {
    Box::pin(async move {
        let manifest = package.manifest();
        progress.begin("list", 0);
        let listing = target.list().await?;
        let there = listing.digests();
        let delivered = |part: &&PartEntry| there.get(&part.name) == Some(&part.sealed_digest);
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
        upload_parts(missing, package, target, options, progress).await?;
        if progress.stopped() {
            return Err(ClientError::Stopped);
        }
        let signature = ManifestSignature::load(package.directory())?;
        close(target, manifest, signature.as_ref()).await?;
        Ok(report)
    })
}

/// Uploads parts from a directory.
async fn upload_parts(
    parts: Vec<&PartEntry>,
    package: &Package,
    target: &DeliveryTarget,
    options: UploadOptions,
    progress: &Arc<Progress>,
) -> Result<(), ClientError> {
    let Some(count) = NonZeroUsize::new(parts.len()) else { return Ok(()) };
    let options = options.at_most(count);
    let mut uploads = PartUploads::start(target, options, progress, Progress::add);
    for part in parts {
        let path = Arc::new(package.files().part_path(part.name));
        let content = Content::File { path, bytes: part.sealed_bytes };
        let (name, rows, blake3) = (part.name, part.rows, part.sealed_digest);
        if uploads
            .put(PartUpload { name, ids: None, rows, content, blake3, record: None })
            .await
            .is_err()
        {
            break;
        }
    }
    uploads.finish().await.map(drop)
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
