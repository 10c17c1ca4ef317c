//! Joins two packages without their shares, before anything is made of them.

use reshare_engine::ids::IdRange;
use reshare_engine::merge::join;

use super::error::PipelineError;
use super::packages::{HeldPrefix, Packages};
use super::progress::Progress;
use super::sweep::Sweep;

/// A walk over ids, agree columns and row checks of both packages: the first bytes of every
/// part, so a small part of the whole.
pub(crate) struct JoinedIds<'a> {
    packages: &'a Packages,
    sweep: Sweep<'a, HeldPrefix>,
}

impl<'a> JoinedIds<'a> {
    /// Prepares to walk over ascending `segments`.
    pub(crate) fn new(packages: &'a Packages, segments: Vec<IdRange>) -> Self {
        Self { packages, sweep: Sweep::new(packages.ranges(), segments) }
    }

    /// The ids of the next rows that can be rebuilt, ascending; `None` at the end.
    ///
    /// # Errors
    /// A part that is not in its place or of another session, rows that the session is not about,
    /// and rows that two honest senders cannot have sent.
    pub(crate) fn next(&mut self) -> Result<Option<Vec<i64>>, PipelineError> {
        let step = self.sweep.step(usize::MAX, |part| self.packages.open_prefix(part))?;
        let Some(step) = step else { return Ok(None) };
        for rows in step.rows.iter().flatten() {
            self.packages.check_ids(rows.ids)?;
        }
        let [Some(first), Some(second)] = &step.rows else { return Ok(Some(Vec::new())) };
        let joined = join(first, second)?;
        Ok(Some(joined.pairs.iter().map(|(row, _)| first.ids[*row as usize]).collect()))
    }
}

/// Counts the rows that can be rebuilt.
///
/// # Errors
/// As [`JoinedIds::next`], and [`PipelineError::Stopped`].
pub(crate) fn count_rows(packages: &Packages, progress: &Progress) -> Result<u64, PipelineError> {
    let mut joined = JoinedIds::new(packages, vec![packages.bounds()]);
    let mut rows = 0;
    while let Some(ids) = joined.next()? {
        if progress.stopped() {
            return Err(PipelineError::Stopped);
        }
        rows += ids.len() as u64;
    }
    Ok(rows)
}
