//! What earlier runs of a sender did, by its ledger, and what is left to do.

use std::path::Path;

use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;
use reshare_format::package::{MANIFEST_NAME, Package, PackageDefect, PartEntry, PartName};
use reshare_format::session::Session;

use super::error::PipelineError;
use super::sealer::{PackReport, Sealer};
use super::sender::LedgeredSender;
use crate::ledger::{LedgerPart, RecordedParts};

/// What is left to be sealed of a package.
#[derive(Debug)]
pub(crate) struct Resume {
    /// Parts to be sealed again, within their recorded bounds.
    pub(crate) missing: Vec<LedgerPart>,
    /// Where no part was cut yet.
    pub(crate) gaps: Vec<IdRange>,
    /// The index of the next part to be cut.
    pub(crate) next_index: u64,
    /// Ids that earlier runs have covered for good, and how many rows there were then.
    pub(crate) covered: Vec<(IdRange, u64)>,
}

impl Resume {
    /// Keeps the parts that are there byte for byte as recorded, and returns what is left.
    ///
    /// # Errors
    /// A part is there that the ledger has never recorded; any error of the file system.
    pub(crate) fn begin(
        sealer: &Sealer,
        bounds: IdRange,
        progress: &Progress,
    ) -> Result<Self, PipelineError> {
        let ledger = sealer.sender().ledger();
        let recorded = ledger.parts();
        let gaps = bounds.without(recorded.iter().map(|part| part.ids));
        let RecordedParts { kept, missing } = sealer.destination().find(ledger, progress)?;
        let covered = joined(&kept);
        for part in kept {
            sealer.keep(part);
        }
        Ok(Self { missing, gaps, next_index: ledger.next_part_index(), covered })
    }
}

impl Resume {
    /// Removes parts that were sealed since.
    ///
    /// # Shapes
    /// `sealed` ascends, and its ranges do not overlap.
    pub(crate) fn remove(&mut self, sealed: &[IdRange]) {
        let overlapping = |ids: IdRange| {
            let start = sealed.partition_point(|sealed| sealed.last() < ids.first());
            let end = sealed.partition_point(|sealed| sealed.first() <= ids.last());
            sealed.get(start..end).unwrap_or_default()
        };
        self.missing.retain(|record| overlapping(record.ids).is_empty());
        let left = |gap: &IdRange| gap.without(overlapping(*gap).iter().copied());
        self.gaps = self.gaps.iter().flat_map(left).collect();
    }
}

/// Reports a package that an earlier run closed with exactly the content in the ledger; `None` when
/// the package is still open.
///
/// # Errors
/// [`PackageDefect::AlreadyClosed`] when it is closed over another content,
/// [`PipelineError::UnknownPart`] when the ledger has never recorded a part of that.
pub(crate) fn closed_before(
    session: &Session,
    sender: &LedgeredSender,
    directory: &Path,
) -> Result<Option<PackReport>, PipelineError> {
    match std::fs::symlink_metadata(directory.join(MANIFEST_NAME)) {
        Ok(_) => {}
        // The writer reports any other problem with the directory.
        Err(_) => return Ok(None),
    }
    let keys = sender.keys();
    let trust = keys.credentials().map(|credentials| &credentials.trust);
    let expectations = super::packages::expectations(session, keys.sender(), trust)?;
    let package = Package::open(directory, expectations)?;
    let manifest = package.manifest();
    let recorded = sender.ledger().parts();
    let there = recorded.iter().filter(|part| part.rows > 0).map(LedgerPart::entry);
    let same = manifest.content().key_check == keys.key_check().0
        && there.map(|part| content_of(&part)).eq(manifest.parts().iter().map(content_of));
    if !same {
        let ledger = sender.ledger();
        let mut parts = manifest.parts().iter();
        let unknown = parts.find(|part| !ledger.has_sealed(part.name, &part.sealed_digest));
        return Err(match unknown {
            Some(part) => {
                PipelineError::UnknownPart { directory: directory.to_owned(), part: part.name }
            }
            None => PackageDefect::AlreadyClosed.at(directory).into(),
        });
    }
    let kept = manifest.parts().len() as u64;
    let report = PackReport::of(session, sender, &recorded, kept);
    let sealed_bytes = manifest.totals().sealed_bytes;
    Ok(Some(PackReport { closed_before: true, sealed_bytes, ..report }))
}

/// The ids of parts, those without a gap as one range, and the rows that were read of each range.
fn joined(parts: &[LedgerPart]) -> Vec<(IdRange, u64)> {
    let mut of_parts: Vec<(IdRange, u64)> =
        parts.iter().map(|part| (part.ids, part.rows + part.rows_left_out())).collect();
    of_parts.sort_unstable();
    IdRange::joined(of_parts)
}

/// The facts that stay the same however often a part is sealed.
fn content_of(part: &PartEntry) -> (PartName, IdRange, u64, blake3::Hash) {
    (part.name, part.ids, part.rows, part.content_digest)
}
