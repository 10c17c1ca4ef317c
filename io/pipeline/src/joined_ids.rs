//! Joins both senders' parts without their shares, before anything is rebuilt.

use reshare_engine::merge::join;
use reshare_engine::rows::Rows;
use reshare_exchange::progress::Progress;
use reshare_files::ids::IdRange;

use super::delivered_parts::{DeliveredParts, HeldPrefix};
use super::error::PipelineError;
use super::refused_rows::RefusedEpochs;
use super::sweep::Sweep;

/// A walk over ids, agree columns and row checks of both sides: the first bytes of every
/// part, so a small part of the whole.
pub(crate) struct JoinedIds<'a> {
    parts: &'a DeliveredParts,
    sweep: Sweep<'a, HeldPrefix>,
}

impl<'a> JoinedIds<'a> {
    /// Prepares to walk over ascending `segments`.
    pub(crate) fn new(parts: &'a DeliveredParts, segments: Vec<IdRange>) -> Self {
        Self { parts, sweep: Sweep::new(parts.ranges(), segments) }
    }

    /// The next rows that can be rebuilt, ascending; `None` at the end.
    ///
    /// # Errors
    /// A part that is in the wrong place or of another session, rows outside the session, and rows
    /// that two honest senders cannot have sent.
    pub(crate) fn next(&mut self) -> Result<Option<JoinedRows<'_>>, PipelineError> {
        let step = self.sweep.step(usize::MAX, |part| self.parts.open_prefix(part))?;
        let Some(step) = step else { return Ok(None) };
        for rows in step.rows.iter().flatten() {
            self.parts.check_ids(rows.ids)?;
        }
        let [Some(first), Some(second)] = step.rows else {
            return Ok(Some(JoinedRows { first: None, positions: vec![] }));
        };
        let joined = join(&first, &second)?;
        let positions = joined.pairs.iter().map(|(row, _)| *row as usize).collect();
        Ok(Some(JoinedRows { first: Some(first), positions }))
    }
}

/// Rows that can be rebuilt: both sides have them, with the same agree values.
pub(crate) struct JoinedRows<'a> {
    /// The columns of one side. The other side's ids and agree values are the same.
    first: Option<Rows<'a>>,
    /// The positions of the joined rows in it, ascending.
    positions: Vec<usize>,
}

impl JoinedRows<'_> {
    pub(crate) fn len(&self) -> usize {
        self.positions.len()
    }

    /// The ids of the joined rows, ascending.
    pub(crate) fn ids(&self) -> Vec<i64> {
        let Some(rows) = &self.first else { return vec![] };
        self.positions.iter().map(|row| rows.ids[*row]).collect()
    }

    /// Checks the epochs of the joined rows, if the target refuses any.
    pub(crate) fn shown_to(&self, epochs: Option<&mut RefusedEpochs>) {
        if let (Some(rows), Some(epochs)) = (&self.first, epochs) {
            epochs.look_at(rows, self.positions.iter().copied());
        }
    }
}

/// Counts the rows that can be rebuilt.
///
/// # Errors
/// As [`JoinedIds::next`], and [`PipelineError::Stopped`].
pub(crate) fn count_rows(
    parts: &DeliveredParts,
    progress: &Progress,
) -> Result<u64, PipelineError> {
    let mut joined = JoinedIds::new(parts, vec![parts.bounds()]);
    let mut rows = 0;
    while let Some(next) = joined.next()? {
        if progress.stopped() {
            return Err(PipelineError::Stopped);
        }
        rows += next.len() as u64;
    }
    Ok(rows)
}
