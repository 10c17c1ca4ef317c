//! Delivers a package that lies in a directory: what is missing, then what closes it.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Serialize;
use tokio::task::JoinSet;

use super::client::{Client, Target};
use super::client_error::ClientError;
use super::connection::Upload;
use crate::package::{
    CHAIN_NAME, MANIFEST_NAME, ManifestSignature, Package, PartEntry, SIGNATURE_NAME,
};
use crate::pipeline::progress::Progress;

/// How a package is uploaded.
#[derive(Debug, Clone, Copy)]
pub struct UploadOptions {
    /// Parts on their way at the same time.
    pub parts_at_once: NonZeroUsize,
}

/// What an upload did.
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
/// A [`ClientError`]; what was delivered stays, and another run goes on there.
pub async fn upload(
    package: &Package,
    target: &Target,
    options: UploadOptions,
    progress: &Arc<Progress>,
) -> Result<UploadReport, ClientError> {
    let manifest = package.manifest();
    progress.begin("list", 0);
    let mut client = target.client();
    let listing = client.list().await?;
    let there: HashMap<_, _> =
        listing.parts.iter().map(|part| (part.name, part.blake3.as_str())).collect();
    let delivered = |part: &&PartEntry| {
        there.get(&part.name).is_some_and(|digest| *part.sealed_digest.to_hex() == **digest)
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
    let missing = missing.into_iter().cloned().collect();
    upload_parts(missing, package.directory(), target, options, progress).await?;
    if progress.stopped() {
        return Err(ClientError::Stopped);
    }
    if let Some(signature) = ManifestSignature::load(package.directory())? {
        let chain = signature.chain().to_pem();
        for (name, bytes) in [(CHAIN_NAME, chain.as_bytes()), (SIGNATURE_NAME, signature.bytes())] {
            put_file(&mut client, package, name, &format!("/{name}"), bytes).await?;
        }
    }
    put_file(&mut client, package, MANIFEST_NAME, "/manifest", manifest.bytes()).await?;
    Ok(report)
}

/// Uploads a small file of the package, of which the bytes are known.
async fn put_file(
    client: &mut Client,
    package: &Package,
    name: &str,
    place: &str,
    bytes: &[u8],
) -> Result<(), ClientError> {
    let path = Arc::new(package.directory().join(name));
    let file = Upload { path, bytes: bytes.len() as u64 };
    client.put(place, &file, blake3::hash(bytes)).await
}

/// Uploads parts from a directory, each client taking the next one.
async fn upload_parts(
    parts: Vec<PartEntry>,
    directory: &Path,
    target: &Target,
    options: UploadOptions,
    progress: &Arc<Progress>,
) -> Result<(), ClientError> {
    let clients = options.parts_at_once.get().min(parts.len());
    let shared = Arc::new((parts, AtomicUsize::new(0)));
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let (shared, progress) = (Arc::clone(&shared), Arc::clone(progress));
        let (mut client, directory) = (target.client(), directory.to_owned());
        tasks.spawn(async move {
            let (parts, next) = &*shared;
            while let Some(part) = parts.get(next.fetch_add(1, Ordering::Relaxed)) {
                if progress.stopped() {
                    break;
                }
                let path = Arc::new(directory.join(part.name.to_string()));
                let upload = Upload { path, bytes: part.sealed_bytes };
                let place = format!("/parts/{}", part.name);
                client.put(&place, &upload, part.sealed_digest).await?;
                progress.add(part.rows, part.sealed_bytes);
            }
            Ok(())
        });
    }
    // The first failure ends the others: dropping the set stops them.
    while let Some(task) = tasks.join_next().await {
        task.unwrap_or(Err(ClientError::WorkerLost))?;
    }
    Ok(())
}
