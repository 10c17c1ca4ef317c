//! From a sender's database to the receiver in one pass. No share is written to the sender's disks.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use reshare_exchange::progress::Progress;
use reshare_exchange::{ClientError, DeliveryTarget, Listing, UploadOptions, introduce};
use reshare_format::session::Session;
use serde::Serialize;

use super::destination::Destination;
use super::error::PipelineError;
use super::receiver_package::{ReceiverPackage, is_as_recorded, unless_stopped};
use super::rows_wanted::RowIds;
use super::sealer::{PackReport, Sealer};
use super::send::send_with;
use super::sender::LedgeredSender;
use super::workers::{Source, Workers};

/// Where and how a package is delivered while it is made.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The sender's package at the receiver.
    pub target: DeliveryTarget,
    /// How parts are uploaded.
    pub options: UploadOptions,
}

/// The result of packing and delivering.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryReport {
    /// The package; `parts_kept` counts parts that had arrived before.
    #[serde(flatten)]
    pub package: PackReport,
    /// Parts that this run delivered.
    pub parts_delivered: u64,
    /// Their rows.
    pub rows_delivered: u64,
    /// Their bytes, sealed.
    pub bytes_delivered: u64,
}

/// Exports, blinds, seals and uploads the session's rows of one sender, all at the same time.
///
/// As [`super::send::send`], but parts are sent to the receiver from memory: the only file that is
/// written is the ledger. Parts that the receiver has as the ledger records them are kept.
///
/// # Errors
/// A [`PipelineError`]; what was delivered is kept, and the next run continues there.
pub fn deliver<'a>(
    session: &'a Session,
    ids: &'a RowIds,
    sender: LedgeredSender,
    source: &'a Source,
    delivery: Delivery,
    workers: Workers,
    progress: Arc<Progress>,
) -> BoxFuture<'a, Result<DeliveryReport, PipelineError>> {
    Box::pin(async move {
        workers.check_part(session)?;
        progress.begin("ask what the receiver has", 0);
        let Delivery { target, options } = delivery;
        let listing = unless_stopped(&progress, target.list()).await?;
        listing.check_known(|name, sealed| sender.ledger().has_sealed(name, sealed))?;
        if listing.closed {
            return closed_before(session, &sender, &listing);
        }
        if let Some(credentials) = sender.keys().credentials() {
            let chain = credentials.certificate.chain();
            unless_stopped(&progress, introduce(&target, chain)).await?;
        }
        let package =
            ReceiverPackage::new(session, &sender, listing, (target, options), &progress)?;
        let sealer = Sealer::new(sender, Destination::Receiver(Box::new(package)));
        let (package, delivered) =
            send_with(sealer, session, ids, source, workers, progress).await?;
        Ok(DeliveryReport {
            package,
            parts_delivered: delivered.parts,
            rows_delivered: delivered.rows,
            bytes_delivered: delivered.bytes,
        })
    })
}

/// Reports a package that the receiver has closed with exactly the parts in the ledger.
///
/// # Errors
/// [`ClientError::ClosedOtherwise`] when it has other parts.
fn closed_before(
    session: &Session,
    sender: &LedgeredSender,
    listing: &Listing,
) -> Result<DeliveryReport, PipelineError> {
    let recorded = sender.ledger().parts();
    if !is_as_recorded(listing, &recorded) {
        return Err(ClientError::ClosedOtherwise.into());
    }
    let kept = recorded.iter().filter(|part| part.rows > 0).count() as u64;
    let package = PackReport::of(session, sender, &recorded, kept);
    let package = PackReport { closed_before: true, ..package };
    Ok(DeliveryReport { package, parts_delivered: 0, rows_delivered: 0, bytes_delivered: 0 })
}
