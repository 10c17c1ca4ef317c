//! Finds delivered rows that the target would refuse, before anything is written.

use reshare_engine::rows::{AgreeValue, Rows};
use reshare_files::ids::IdRange;
use reshare_postgres::iris_mpc::RERAND_EPOCH;
use reshare_postgres::load::{Loader, OnConflict};
use reshare_postgres::load_error::{LISTED_IDS, LoadError};
use reshare_postgres::table::TableName;
use reshare_postgres::triggers::Trigger;

use super::error::PipelineError;

/// Ids after which a search for conflicts ends.
const ENOUGH: usize = 20;

/// Delivered ids that are in the target already, found so far.
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

/// Delivered rows of an epoch that a trigger of the target refuses, found so far.
pub(crate) struct RefusedEpochs {
    table: TableName,
    trigger: Trigger,
    /// Which agree column is the epoch.
    column: usize,
    count: u64,
    /// Ids and epochs of the first of them, one more than are listed.
    first: Vec<(i64, i64)>,
}

impl RefusedEpochs {
    /// Begins a search, unless the target takes rows of any epoch.
    pub(crate) fn begin(loader: &Loader) -> Option<Self> {
        let spec = loader.table().spec();
        let trigger = loader.refuses_epochs()?.clone();
        let agree = spec.layout().agree();
        let column = agree.iter().position(|column| column.name == RERAND_EPOCH)?;
        Some(Self { table: spec.name().clone(), trigger, column, count: 0, first: vec![] })
    }

    /// Looks at the delivered rows at some positions.
    pub(crate) fn look_at(&mut self, rows: &Rows<'_>, positions: impl Iterator<Item = usize>) {
        let Some(epochs) = rows.agree.get(self.column) else { return };
        for row in positions {
            // The trigger lets NULL pass, and leaves it to the column.
            if let AgreeValue::Integer(epoch @ (..=-1 | 1..)) = epochs.value(row) {
                self.count += 1;
                if self.first.len() <= LISTED_IDS {
                    self.first.push((rows.ids[row], epoch));
                }
            }
        }
    }

    /// Refuses if any was found.
    pub(crate) fn finish(self) -> Result<(), PipelineError> {
        let Self { table, trigger, count, first: rows, .. } = self;
        if count == 0 {
            return Ok(());
        }
        Err(LoadError::EpochsRefused { table, trigger: Box::new(trigger), count, rows }.into())
    }
}
