//! Finds delivered rows that the target would refuse, before anything is written.

use reshare_engine::rows::{AgreeValue, Rows};
use reshare_files::ids::IdRange;
use reshare_postgres::iris_mpc::RERAND_EPOCH;
use reshare_postgres::load::Loader;
use reshare_postgres::load_error::{LISTED_IDS, LoadError};
use reshare_postgres::load_options::OnConflict;
use reshare_postgres::table::TableName;
use reshare_postgres::triggers::Trigger;

use super::error::PipelineError;

/// A search for conflicts ends after this many ids.
const ENOUGH: usize = 20;

/// The delivered ids found so far that are already in the target.
pub(crate) struct Conflicts<'a> {
    loader: &'a mut Loader,
    found: Vec<i64>,
}

impl<'a> Conflicts<'a> {
    /// Begins a search, unless none is needed: rows may be replaced, or the target only holds rows
    /// of this session within `bounds`.
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

    /// Looks up some delivered ids, ascending; `false` when enough were found.
    pub(crate) async fn look_for(&mut self, ids: &[i64]) -> Result<bool, PipelineError> {
        if !ids.is_empty() {
            self.found.extend(self.loader.conflicting_ids(ids).await?);
        }
        Ok(self.found.len() < ENOUGH)
    }

    /// Refuses the rows if any was found.
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

/// The delivered rows found so far whose epoch a trigger of the target refuses.
pub(crate) struct RefusedEpochs {
    table: TableName,
    trigger: Trigger,
    /// The position of the epoch among the agree columns.
    column: usize,
    count: u64,
    /// Ids and epochs of the first rows, one more than are listed.
    first: Vec<(i64, i64)>,
}

impl RefusedEpochs {
    /// Begins a search, unless the target accepts rows of any epoch.
    pub(crate) fn begin(loader: &Loader) -> Option<Self> {
        let spec = loader.table().spec();
        let trigger = loader.refuses_epochs()?.clone();
        let agree = spec.layout().agree();
        let column = agree.iter().position(|column| column.name == RERAND_EPOCH)?;
        Some(Self { table: spec.name().clone(), trigger, column, count: 0, first: vec![] })
    }

    /// Checks the delivered rows at some positions.
    pub(crate) fn look_at(&mut self, rows: &Rows<'_>, positions: impl Iterator<Item = usize>) {
        let Some(epochs) = rows.agree.get(self.column) else { return };
        for row in positions {
            // The trigger accepts NULL. The column may still refuse it.
            if let AgreeValue::Integer(epoch @ (..=-1 | 1..)) = epochs.value(row) {
                self.count += 1;
                if self.first.len() <= LISTED_IDS {
                    self.first.push((rows.ids[row], epoch));
                }
            }
        }
    }

    /// Refuses the rows if any was found.
    pub(crate) fn finish(self) -> Result<(), PipelineError> {
        let Self { table, trigger, count, first: rows, .. } = self;
        if count == 0 {
            return Ok(());
        }
        Err(LoadError::EpochsRefused { table, trigger: Box::new(trigger), count, rows }.into())
    }
}
