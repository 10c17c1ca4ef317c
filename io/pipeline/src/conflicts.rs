//! Finds delivered ids that are in the target already, before anything is written.

use reshare_files::ids::IdRange;
use reshare_postgres::load::{Loader, OnConflict};

use super::error::PipelineError;

/// Ids after which a search for conflicts ends.
const ENOUGH: usize = 20;

/// Conflicts found so far.
pub(crate) struct Conflicts<'a> {
    loader: &'a mut Loader,
    found: Vec<i64>,
}

impl<'a> Conflicts<'a> {
    /// Begins a search, unless none is needed: conflicts are welcome, or the target holds no
    /// row of `bounds` but this session's.
    pub(crate) async fn begin(
        loader: &'a mut Loader,
        on_conflict: OnConflict,
        bounds: IdRange,
    ) -> Result<Option<Self>, PipelineError> {
        if on_conflict != OnConflict::Error || loader.existing_ids(bounds, 1).await?.is_empty() {
            return Ok(None);
        }
        Ok(Some(Self { loader, found: Vec::new() }))
    }

    /// Looks for some delivered ids, ascending; `false` when enough were found.
    pub(crate) async fn look_for(&mut self, ids: &[i64]) -> Result<bool, PipelineError> {
        if !ids.is_empty() {
            self.found.extend(self.loader.conflicting_ids(ids).await?);
        }
        Ok(self.found.len() < ENOUGH)
    }

    /// Refuses if any was found.
    pub(crate) fn finish(mut self) -> Result<(), PipelineError> {
        if self.found.is_empty() {
            return Ok(());
        }
        let count = self.found.len();
        self.found.truncate(ENOUGH);
        let table = self.loader.table().spec().name().clone();
        Err(PipelineError::Conflict { table, count, ids: self.found })
    }
}
