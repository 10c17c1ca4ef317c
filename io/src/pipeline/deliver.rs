//! From a sender's database to the receiver in one pass: no share touches a disk of the sender.

use std::sync::Arc;

use serde::Serialize;

use super::error::PipelineError;
use super::progress::Progress;
use super::rows_wanted::RowIds;
use super::sealer::PackReport;
use super::sender::LedgeredSender;
use super::workers::{Source, Workers};
use crate::exchange::{ClientError, Target, UploadOptions};
use crate::session::Session;

/// Where a package is delivered while it is made, and how.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The sender's place at the receiver.
    pub target: Target,
    /// How parts are uploaded.
    pub options: UploadOptions,
}

/// What a sender packed and delivered.
#[derive(Debug, Clone, Serialize)]
pub struct DeliveryReport {
    /// The package; `parts_kept` are those that had arrived before.
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
/// # Errors
/// A [`PipelineError`]; what was delivered stays, and another run goes on there.
pub async fn deliver(
    _session: &Session,
    _ids: &RowIds,
    _sender: LedgeredSender,
    _source: &Source,
    _delivery: Delivery,
    _workers: Workers,
    _progress: Arc<Progress>,
) -> Result<DeliveryReport, PipelineError> {
    Err(ClientError::WorkerLost.into())
}
