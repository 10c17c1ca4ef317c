//! Reads a ledger while another process may have it open, for figures only.

use std::path::Path;
use std::time::Duration;

use reshare_engine::fingerprint::Fingerprint;
use reshare_engine::party::PartyId;
use reshare_files::durable::DurableLog;

use super::format::{HEADER_BYTES, KIND_TAGS, TagRecord, owner};
use super::index::Index;
use super::log::{Entry, Log};
use super::{Ledger, LedgerDefect, LedgerError, LedgerPart, SealedBefore, check_mode, not_opened};

/// The figures of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LedgerFigures {
    /// Rows whose content is recorded. Each version of a row counts.
    pub rows_blinded: u64,
    /// The parts that were sealed last, in id order.
    pub parts: Vec<LedgerPart>,
    /// Every sealed file that was recorded.
    pub sealed: SealedBefore,
}

impl Ledger {
    /// Reads the committed entries of a ledger, without its lock and without changing anything. A
    /// process that uses the ledger is not disturbed, and may add entries before this returns. It
    /// does not matter where the ledger was made, or whether it is an older state of itself.
    ///
    /// # Errors
    /// As [`Self::open`], except that a ledger that is in use, from elsewhere or older is no error.
    pub fn glance(
        state: &Path,
        fingerprint: &Fingerprint,
        sender: PartyId,
    ) -> Result<LedgerFigures, LedgerError> {
        let path = Self::path_in(state, fingerprint, sender);
        let mut attempt = 1;
        loop {
            match read(&path, fingerprint, sender) {
                // Committed bytes never change, except for the slot that counts them: they may be
                // read while another process writes.
                Err(LedgerDefect::Corrupt { .. }) if attempt < ATTEMPTS => attempt += 1,
                result => return result.map_err(|defect| LedgerError { path, defect }),
            }
            std::thread::sleep(PAUSE);
        }
    }
}

impl Ledger {
    /// Reads whose ledger a file is, and its figures: as [`Self::glance`], by its path alone.
    ///
    /// # Errors
    /// As [`Self::glance`].
    pub fn describe(path: &Path) -> Result<(Fingerprint, PartyId, LedgerFigures), LedgerError> {
        let describe = || {
            let file = DurableLog::open_unlocked(path).map_err(not_opened)?;
            let (size, _) = file.size_and_mode()?;
            if size < HEADER_BYTES {
                return Err(LedgerDefect::Truncated { expected: HEADER_BYTES, got: size });
            }
            let mut block = vec![0; HEADER_BYTES as usize];
            file.read_exact_at(&mut block, 0)?;
            let (fingerprint, sender) = owner(&block).ok_or(LedgerDefect::NotALedger)?;
            Ok((fingerprint, sender, read(path, &fingerprint, sender)?))
        };
        describe().map_err(|defect| LedgerError { path: path.to_owned(), defect })
    }
}

const ATTEMPTS: usize = 20;
const PAUSE: Duration = Duration::from_millis(10);

fn read(
    path: &Path,
    fingerprint: &Fingerprint,
    sender: PartyId,
) -> Result<LedgerFigures, LedgerDefect> {
    let file = check_mode(DurableLog::open_unlocked(path).map_err(not_opened)?)?;
    let (mut index, mut rows_blinded) = (Index::default(), 0);
    Log::check(file, fingerprint, sender, |entry| {
        rows_blinded += rows_in(entry);
        index.add(entry)
    })?;
    Ok(figures(&index, rows_blinded))
}

pub(super) fn figures(index: &Index, rows_blinded: u64) -> LedgerFigures {
    LedgerFigures { rows_blinded, parts: index.parts(), sealed: index.sealed().clone() }
}

/// The rows whose content an entry records.
pub(super) fn rows_in(entry: &Entry) -> u64 {
    let is_tags = entry.head.kind == KIND_TAGS;
    if is_tags { (entry.payload().len() / size_of::<TagRecord>()) as u64 } else { 0 }
}
