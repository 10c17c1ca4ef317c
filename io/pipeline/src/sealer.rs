//! Blinds and seals a sender's parts on several threads, and closes the package.

use std::sync::{Mutex, PoisonError};

use reshare_engine::row_batch::RowBatch;
use reshare_engine::row_key::ContentTag;
use reshare_engine::rows::Rows;
use reshare_exchange::Delivered;
use reshare_files::ids::IdRange;
use reshare_format::package::{MAX_PARTS, ManifestContent, SealedPart, Timestamp};
use reshare_format::session::Session;
use reshare_postgres::export::BadRow;
use serde::Serialize;

use super::destination::Destination;
use super::error::PipelineError;
use super::left_out::{LeftOutRow, left_out};
use super::sender::LedgeredSender;
use crate::ledger::LedgerPart;

/// A package being made.
pub(crate) struct Sealer {
    sender: LedgeredSender,
    destination: Destination,
    packed: Mutex<Packed>,
}

/// The parts of the package so far.
#[derive(Default)]
struct Packed {
    parts: Vec<LedgerPart>,
    kept: u64,
    added_later: u64,
    snapshots: u64,
}

/// The result of packing.
#[derive(Debug, Clone, Serialize)]
pub struct PackReport {
    /// The sender.
    pub sender: u8,
    /// Parts in the package.
    pub parts: u64,
    /// Rows in the package.
    pub rows: u64,
    /// Bytes of share data in them.
    pub share_bytes: u64,
    /// Bytes of the sealed parts.
    pub sealed_bytes: u64,
    /// Parts that earlier runs sealed.
    pub parts_kept: u64,
    /// Whether an earlier run closed the package, so that nothing was done.
    pub closed_before: bool,
    /// Rows that were left out because they were blinded before with the same agree values and
    /// other shares, by ascending ids.
    pub changed_without_version: Vec<i64>,
    /// Rows that were left out because they cannot be read, by ascending ids.
    pub bad_rows: Vec<LeftOutRow>,
    /// Rows more than earlier runs have read in the ids that they have covered. They belong to a
    /// later session.
    pub rows_added_later: u64,
    /// Snapshots of the table that this run has read from. The time of each part is that of its
    /// own.
    pub snapshots: u64,
}

/// Rows that are not in a part.
#[derive(Debug, Clone, Default)]
pub(crate) struct LeftOut {
    /// Blinded before with another content.
    pub(crate) changed: Vec<i64>,
    /// Not to be read.
    pub(crate) bad_rows: Vec<BadRow>,
}

/// A part to be sealed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PartPlace {
    /// Its index.
    pub(crate) index: u64,
    /// The range of the part.
    pub(crate) ids: IdRange,
    /// When its rows were read.
    pub(crate) exported_at: Timestamp,
}

impl Sealer {
    /// Makes a sender's package at a destination.
    pub(crate) fn new(sender: LedgeredSender, destination: Destination) -> Self {
        Self { sender, destination, packed: Mutex::default() }
    }

    pub(crate) fn sender(&self) -> &LedgeredSender {
        &self.sender
    }

    pub(crate) fn destination(&self) -> &Destination {
        &self.destination
    }

    /// Takes a part as an earlier run has sealed it.
    pub(crate) fn keep(&self, part: LedgerPart) {
        let mut packed = self.packed.lock().unwrap_or_else(PoisonError::into_inner);
        packed.kept += u64::from(part.rows > 0);
        packed.parts.push(part);
    }

    /// Notes rows that came into ids that were covered before.
    pub(crate) fn note_added_later(&self, rows: u64) {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).added_later += rows;
    }

    /// Notes that a snapshot of the table was taken.
    pub(crate) fn note_snapshot(&self) {
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).snapshots += 1;
    }

    /// Tags and blinds the rows of a batch in place and seals them, without those that could not be
    /// read.
    pub(crate) fn seal_in_place(
        &self,
        place: PartPlace,
        batch: &mut RowBatch,
        bad_rows: Vec<BadRow>,
    ) -> Result<(), PipelineError> {
        let mut tags = Vec::with_capacity(batch.len());
        self.sender.keys().blinder().tag_and_blind_in_place(batch, &mut tags)?;
        self.seal(place, batch, tags, bad_rows)
    }

    /// Tags plain rows, blinds them into a batch and seals the batch.
    pub(crate) fn seal_from(
        &self,
        place: PartPlace,
        plain: &Rows<'_>,
        batch: &mut RowBatch,
    ) -> Result<(), PipelineError> {
        let mut tags = Vec::with_capacity(plain.len());
        self.sender.keys().blinder().tag_and_blind(plain, batch, &mut tags)?;
        self.seal(place, batch, tags, vec![])
    }

    /// Seals blinded rows. The order of steps ensures that one blinding blinds one content,
    /// whenever this process dies: the tags are durable before a blinded byte is written anywhere,
    /// and the part's record is durable before the part appears under its name or leaves.
    fn seal(
        &self,
        place: PartPlace,
        blinded: &mut RowBatch,
        mut tags: Vec<ContentTag>,
        bad_rows: Vec<BadRow>,
    ) -> Result<(), PipelineError> {
        let ledger = self.sender.ledger();
        let admitted = ledger.admit(&blinded.rows(), &tags)?;
        let mut left_out = LeftOut { bad_rows, changed: vec![] };
        if admitted.contains(&false) {
            let verdicts = blinded.rows().ids.iter().zip(&admitted);
            left_out
                .changed
                .extend(verdicts.filter(|(_, admitted)| !**admitted).map(|(id, _)| *id));
            blinded.retain(&admitted).map_err(reshare_engine::blind::BlindError::from)?;
            let mut verdicts = admitted.into_iter();
            tags.retain(|_| verdicts.next().unwrap_or(false));
        }
        let PartPlace { index, ids, exported_at } = place;
        if blinded.is_empty() {
            return self.record_empty(place, left_out);
        }
        let rows = blinded.rows();
        let record = |part: &SealedPart| LedgerPart {
            index,
            ids,
            rows: rows.len() as u64,
            sealed_bytes: part.sealed_bytes,
            sealed_digest: part.sealed_digest,
            content_digest: ledger.content_digest(&tags),
            exported_at,
            left_out: left_out.changed.clone(),
            bad_rows: left_out.bad_rows.clone(),
        };
        let part = self.destination.put(index, ids, &rows, |sealed| {
            let part = record(sealed);
            ledger.record_part(part.clone())?;
            Ok(part)
        })?;
        self.packed.lock().unwrap_or_else(PoisonError::into_inner).parts.push(part);
        Ok(())
    }

    /// Records that a part has no rows left.
    pub(crate) fn record_empty(
        &self,
        place: PartPlace,
        left_out: LeftOut,
    ) -> Result<(), PipelineError> {
        let LeftOut { changed, bad_rows } = left_out;
        let part = LedgerPart::empty(place.index, place.ids, place.exported_at, changed);
        let part = LedgerPart { bad_rows, ..part };
        self.sender.ledger().record_part(part.clone())?;
        self.destination.cover(&part)?;
        self.keep(part);
        Ok(())
    }

    /// Waits for parts on their way: see [`Destination::settle`].
    pub(crate) async fn settle(
        &mut self,
        sealed: Result<(), PipelineError>,
    ) -> Result<Delivered, PipelineError> {
        self.destination.settle(sealed).await
    }

    /// Closes the package with its parts, and removes other parts that an earlier run left.
    pub(crate) async fn close(self, session: &Session) -> Result<PackReport, PipelineError> {
        let packed = self.packed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let report = PackReport::of(session, &self.sender, &packed.parts, packed.kept);
        let Packed { added_later: rows_added_later, snapshots, .. } = packed;
        let report = PackReport { rows_added_later, snapshots, ..report };
        let parts = packed.parts.iter().filter(|part| part.rows > 0);
        let mut parts: Vec<_> = parts.map(LedgerPart::entry).collect();
        parts.sort_by_key(|part| part.ids);
        let keys = self.sender.keys();
        let content = ManifestContent {
            session_id: session.id().to_string(),
            fingerprint: session.fingerprint(),
            sender: keys.sender(),
            receiver: session.receiver().party,
            key_check: keys.key_check().0,
            parts,
            signed_at: Timestamp::now(),
        };
        self.destination.close(&content).await?;
        Ok(report)
    }
}

/// Refuses more parts than a manifest can list, before the work is done.
pub(crate) fn check_parts(parts: usize) -> Result<(), PipelineError> {
    let limit = MAX_PARTS;
    if parts > limit { Err(PipelineError::TooManyParts { parts, limit }) } else { Ok(()) }
}

impl PackReport {
    pub(crate) fn of(
        session: &Session,
        sender: &LedgeredSender,
        parts: &[LedgerPart],
        parts_kept: u64,
    ) -> Self {
        let rows = parts.iter().map(|part| part.rows).sum();
        let mut changed: Vec<i64> =
            parts.iter().flat_map(|part| part.left_out.iter().copied()).collect();
        changed.sort_unstable();
        let mut bad_rows: Vec<BadRow> =
            parts.iter().flat_map(|part| part.bad_rows.iter().copied()).collect();
        bad_rows.sort_unstable_by_key(|row| row.id);
        Self {
            sender: sender.keys().sender().index(),
            parts: parts.iter().filter(|part| part.rows > 0).count() as u64,
            rows,
            share_bytes: rows * session.layout().row_share_bytes() as u64,
            sealed_bytes: parts.iter().map(|part| part.sealed_bytes).sum(),
            parts_kept,
            closed_before: false,
            changed_without_version: changed,
            bad_rows: left_out(session, &bad_rows),
            rows_added_later: 0,
            snapshots: 0,
        }
    }
}
