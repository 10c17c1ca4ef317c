//! Writes rebuilt rows into a table, each range once.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reshare_engine::fingerprint::Fingerprint;
use reshare_files::ids::IdRange;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::connect::Database;
use super::export::end;
use super::load_error::LoadError;
use super::load_options::{LoadOptions, OnConflict};
use super::load_source::LoadSource;
use super::progress_table::{LoadedRange, ProgressTable};
use super::references::{Deletion, references};
use super::schema::{compressed_columns, refuse_generated, storage_sql};
use super::sequence::{SequenceBehind, sequences_behind};
use super::stored::present_ids;
use super::table::{Table, TableName, TableSpec};
use super::triggers::{Trigger, TriggerEffect, fired_triggers};
use super::turn::Turn;
use super::write::RangeWriter;

/// A load of one session into one table, by one process at a time.
///
/// An advisory lock excludes other processes while the loader exists.
pub struct Loader {
    database: Database,
    table: Arc<Table>,
    triggers: Vec<Trigger>,
    progress: ProgressTable,
    options: LoadOptions,
    turn: Turn,
    control: PgConnection,
    loaded: Vec<LoadedRange>,
}

impl Loader {
    /// Checks the table, waits for its turn, and reads what the session has already loaded. Writes
    /// nothing: the first write creates the progress table.
    ///
    /// # Errors
    /// A [`LoadError`]: no connection, not the table, a trigger or foreign key of the table that
    /// would make every load fail, [`LoadError::Busy`], or rows that were loaded and are gone.
    pub fn open<'a>(
        database: &'a Database,
        spec: &'a TableSpec,
        fingerprint: Fingerprint,
        options: LoadOptions,
    ) -> BoxFuture<'a, Result<Self, LoadError>> {
        Box::pin(async move {
            let mut control = begun(database, spec).await?;
            let (table, triggers) = loadable(&mut control, spec, options.on_conflict).await?;
            warn_of_compression(&mut control, spec).await?;
            release(&mut control, spec).await?;
            let turn =
                Turn::wait(&mut control, spec.name(), fingerprint, options.lock_wait).await?;
            Self::with(database, table, triggers, fingerprint, options, (turn, control)).await
        })
    }

    /// Checks what can be checked long before there is anything to load: the connection, the table,
    /// and that no trigger or foreign key would make every load fail. Takes no lock and changes
    /// nothing.
    ///
    /// # Errors
    /// As [`Loader::open`].
    pub fn check_ahead<'a>(
        database: &'a Database,
        spec: &'a TableSpec,
        on_conflict: OnConflict,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        Box::pin(async move {
            let mut control = database.connect_read_only().await?;
            loadable(&mut control, spec, on_conflict).await?;
            end(control).await;
            Ok(())
        })
    }

    /// As [`Loader::open`], but read-only and without a check of triggers and foreign keys. Shows
    /// what a load would start with.
    ///
    /// # Errors
    /// As [`Loader::open`].
    pub fn examine<'a>(
        database: &'a Database,
        spec: &'a TableSpec,
        fingerprint: Fingerprint,
        options: LoadOptions,
    ) -> BoxFuture<'a, Result<Self, LoadError>> {
        Box::pin(async move {
            let mut control = begun(database, spec).await?;
            let table = Arc::new(Table::inspect(&mut control, spec).await?);
            let triggers = triggers(&mut control, spec, options.on_conflict).await?;
            release(&mut control, spec).await?;
            let turn = Turn::wait(&mut control, spec.name(), fingerprint, Duration::ZERO).await?;
            Self::with(database, table, triggers, fingerprint, options, (turn, control)).await
        })
    }

    async fn with(
        database: &Database,
        table: Arc<Table>,
        triggers: Vec<Trigger>,
        fingerprint: Fingerprint,
        options: LoadOptions,
        (turn, mut control): (Turn, PgConnection),
    ) -> Result<Self, LoadError> {
        let spec = table.spec();
        let progress = ProgressTable::of(spec.name(), fingerprint)?;
        let failed = |source| LoadError::Database { table: spec.name().clone(), source };
        keep_turn(&mut control, spec).await?;
        let mut loaded = vec![];
        if progress.exists(&mut control).await.map_err(failed)? {
            loaded = progress.loaded(&mut control).await.map_err(failed)?;
        }
        check_still_there(&mut control, spec, &loaded).await?;
        release(&mut control, spec).await?;
        let database = database.clone();
        Ok(Self { database, table, triggers, progress, options, turn, control, loaded })
    }

    /// The table with its real types.
    #[must_use]
    pub fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// The trigger that refuses rows whose `rerand_epoch` is not 0, if there is one.
    #[must_use]
    pub fn refuses_epochs(&self) -> Option<&Trigger> {
        self.triggers.iter().find(|trigger| trigger.effect == TriggerEffect::RefusesEpochs)
    }

    /// The ranges the session had loaded when the loader was opened or last refreshed, in id order.
    #[must_use]
    pub fn loaded(&self) -> &[LoadedRange] {
        &self.loaded
    }

    /// A writer with its own connection, which it opens at its first write.
    #[must_use]
    pub fn writer(&self) -> RangeWriter {
        RangeWriter::new(
            self.database.clone(),
            Arc::clone(&self.table),
            self.progress.clone(),
            self.options,
            self.turn,
        )
    }

    /// Refuses to go on when a range was loaded from something else than the caller has for its
    /// ids now. `source_of` returns what it has, and `None` where it does not know yet.
    ///
    /// # Errors
    /// [`LoadError::OtherSource`], with all such ranges.
    pub fn check_sources(
        &self,
        source_of: impl Fn(IdRange) -> Option<LoadSource>,
    ) -> Result<(), LoadError> {
        let mut differing = self.loaded.iter().filter_map(|range| {
            let source = source_of(range.ids)?;
            Some((range, source, source.differing(&range.source)?))
        });
        let Some((first, source, changed)) = differing.next() else { return Ok(()) };
        let others = differing.map(|(range, ..)| range.ids);
        let joined = IdRange::joined(std::iter::once(first.ids).chain(others).map(|ids| (ids, 0)));
        Err(LoadError::OtherSource {
            table: self.table.spec().name().clone(),
            ranges: joined.into_iter().map(|(ids, _)| ids).collect(),
            loaded_at: first.loaded_at,
            changed,
            is_of_packages: matches!(source, LoadSource::Packages(_)),
        })
    }

    /// Finds the loaded ranges that have some of these ids, to take them back and load them again
    /// with [`RangeWriter::begin_redo`].
    ///
    /// # Errors
    /// [`LoadError::NothingToRedo`], and [`LoadError::Referenced`]: their rows are deleted first.
    pub fn ranges_to_redo<'a>(
        &'a mut self,
        redo: &'a [IdRange],
    ) -> BoxFuture<'a, Result<Vec<LoadedRange>, LoadError>> {
        Box::pin(async move {
            let has_none =
                |range: &&IdRange| !self.loaded.iter().any(|of| of.ids.overlaps(**range));
            if let Some(range) = redo.iter().find(has_none) {
                let table = self.table.spec().name().clone();
                return Err(LoadError::NothingToRedo { table, range: *range });
            }
            refuse_referenced(&mut self.control, self.table.spec(), Deletion::Redo).await?;
            release(&mut self.control, self.table.spec()).await?;
            let is_named = |of: &&LoadedRange| redo.iter().any(|range| range.overlaps(of.ids));
            Ok(self.loaded.iter().filter(is_named).cloned().collect())
        })
    }

    /// Reads again what the session has loaded, with what writers of this loader have added.
    ///
    /// # Errors
    /// [`LoadError::Database`].
    pub fn refresh(&mut self) -> BoxFuture<'_, Result<(), LoadError>> {
        Box::pin(async move {
            let failed = |source| {
                let table = self.table.spec().name().clone();
                LoadError::Database { table, source }
            };
            if self.progress.exists(&mut self.control).await.map_err(failed)? {
                self.loaded = self.progress.loaded(&mut self.control).await.map_err(failed)?;
            }
            release(&mut self.control, self.table.spec()).await
        })
    }

    /// The first `limit` ids of the target within `range` that this session has not loaded,
    /// ascending. For a caller that refuses before anything is written.
    ///
    /// # Errors
    /// [`LoadError::Database`].
    pub fn existing_ids<'a>(
        &'a mut self,
        range: IdRange,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<i64>, LoadError>> {
        Box::pin(async move {
            let spec = self.table.spec();
            let (id, table) = (spec.id_sql(), spec.name().sql());
            let mut existing = vec![];
            for gap in range.without(self.loaded.iter().map(|done| done.ids)) {
                let missing = limit - existing.len();
                if missing == 0 {
                    break;
                }
                let within = spec.within_sql(gap);
                let sql = format!(
                    "SELECT {id}::bigint FROM {table} WHERE {within} ORDER BY {id} LIMIT {missing}"
                );
                let found = crate::statement::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut self.control)
                    .await;
                let found: Vec<i64> =
                    found.map_err(|error| LoadError::database(spec.name(), error))?;
                existing.extend(found);
            }
            release(&mut self.control, self.table.spec()).await?;
            Ok(existing)
        })
    }

    /// Returns which of the delivered `ids` (ascending) are in the target although this session has
    /// not loaded them.
    ///
    /// # Errors
    /// [`LoadError::Database`].
    pub fn conflicting_ids<'a>(
        &'a mut self,
        ids: &'a [i64],
    ) -> BoxFuture<'a, Result<Vec<i64>, LoadError>> {
        Box::pin(async move {
            let fresh: Vec<i64> =
                ids.iter().copied().filter(|id| !is_loaded(&self.loaded, *id)).collect();
            let name = self.table.spec().name();
            let found = present_ids(&mut self.control, &self.table, &fresh).await;
            let found = found.map_err(|error| LoadError::database(name, error))?;
            release(&mut self.control, self.table.spec()).await?;
            Ok(found)
        })
    }

    /// The sequences of the id column that stand below its highest id now.
    ///
    /// # Errors
    /// [`LoadError::Database`].
    pub fn sequences_behind(&mut self) -> BoxFuture<'_, Result<Vec<SequenceBehind>, LoadError>> {
        Box::pin(async move {
            let spec = self.table.spec();
            let behind = sequences_behind(&mut self.control, spec).await;
            let table = spec.name().clone();
            let behind = behind.map_err(|source| LoadError::Database { table, source })?;
            release(&mut self.control, spec).await?;
            Ok(behind)
        })
    }

    /// Releases the lock and closes the connection.
    pub async fn close(self) {
        end(self.control).await;
    }
}

/// The connection that keeps other processes out: all of its time is one transaction, which holds
/// the lock and nothing else.
async fn begun(database: &Database, spec: &TableSpec) -> Result<PgConnection, LoadError> {
    let mut control = database.connect_read_only().await?;
    keep_turn(&mut control, spec).await?;
    Ok(control)
}

/// Marks the point to which [`release`] goes back.
async fn keep_turn(control: &mut PgConnection, spec: &TableSpec) -> Result<(), LoadError> {
    let kept = sqlx::raw_sql("SAVEPOINT kept").execute(control).await;
    kept.map(drop).map_err(|error| LoadError::database(spec.name(), error))
}

/// Gives up the locks of what was read, so that nobody waits for them until the load ends.
async fn release(control: &mut PgConnection, spec: &TableSpec) -> Result<(), LoadError> {
    let released = sqlx::raw_sql("ROLLBACK TO SAVEPOINT kept").execute(control).await;
    released.map(drop).map_err(|error| LoadError::database(spec.name(), error))
}

/// The table and the triggers that a load fires, unless something would make every load fail.
async fn loadable(
    control: &mut PgConnection,
    spec: &TableSpec,
    on_conflict: OnConflict,
) -> Result<(Arc<Table>, Vec<Trigger>), LoadError> {
    let table = Arc::new(Table::inspect(control, spec).await?);
    refuse_generated(control, spec).await?;
    let triggers = triggers(control, spec, on_conflict).await?;
    refuse_replaced_ids(spec.name(), &triggers)?;
    if on_conflict.replaces() {
        refuse_referenced(control, spec, Deletion::Replace).await?;
    }
    Ok((table, triggers))
}

/// Refuses to replace rows of a table that others refer to, or to load them again: such a row is
/// deleted and inserted again.
///
/// It does not matter whether a row would be replaced now: one may be added while the load runs,
/// and the loss in the other table would go unnoticed.
///
/// # Errors
/// [`LoadError::Referenced`], and any error of the server.
pub fn refuse_referenced<'a>(
    connection: &'a mut PgConnection,
    spec: &'a TableSpec,
    deletion: Deletion,
) -> BoxFuture<'a, Result<(), LoadError>> {
    Box::pin(async move {
        let table = spec.name().clone();
        match references(connection, spec).await {
            Ok(references) if references.is_empty() => Ok(()),
            Ok(references) => Err(LoadError::Referenced { table, deletion, references }),
            Err(source) => Err(LoadError::Database { table, source }),
        }
    })
}

async fn triggers(
    control: &mut PgConnection,
    spec: &TableSpec,
    on_conflict: OnConflict,
) -> Result<Vec<Trigger>, LoadError> {
    let triggers = fired_triggers(control, spec, on_conflict.replaces()).await;
    triggers.map_err(|source| LoadError::Database { table: spec.name().clone(), source })
}

/// Refuses such a trigger before the first row is written, since every row would be refused when it
/// is read back.
fn refuse_replaced_ids(table: &TableName, triggers: &[Trigger]) -> Result<(), LoadError> {
    let replaces = |trigger: &&Trigger| trigger.effect == TriggerEffect::ReplacesSemanticId;
    let Some(trigger) = triggers.iter().find(replaces) else { return Ok(()) };
    let (table, trigger) = (table.clone(), Box::new(trigger.clone()));
    Err(LoadError::SemanticIdReplaced { table, trigger })
}

async fn warn_of_compression(
    control: &mut PgConnection,
    spec: &TableSpec,
) -> Result<(), LoadError> {
    let slow = compressed_columns(control, spec).await;
    let slow = slow.map_err(|source| LoadError::Database { table: spec.name().clone(), source })?;
    if !slow.is_empty() {
        tracing::warn!(
            "table {} compresses columns that hold shares, which costs time and saves no space: \
             run {} before the load to store them uncompressed",
            spec.name(),
            storage_sql(spec, &slow)
        );
    }
    Ok(())
}

/// Counts the rows that the session has loaded. If some were deleted since, skipping them would
/// report success for an incomplete table.
async fn check_still_there(
    control: &mut PgConnection,
    spec: &TableSpec,
    loaded: &[LoadedRange],
) -> Result<(), LoadError> {
    for (range, recorded) in spans(loaded) {
        let (table, within) = (spec.name().sql(), spec.within_sql(range));
        let sql = format!("SELECT count(*) FROM {table} WHERE {within}");
        let found: Result<i64, _> =
            crate::statement::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *control).await;
        let found = found.map_err(|error| LoadError::database(spec.name(), error))?;
        let found = found.unsigned_abs();
        if found < recorded {
            let table = spec.name().clone();
            return Err(LoadError::LoadedRowsGone { table, range, recorded, found });
        }
    }
    Ok(())
}

/// Joins loaded ranges that have no gap between them, and adds up their rows.
fn spans(loaded: &[LoadedRange]) -> Vec<(IdRange, u64)> {
    IdRange::joined(loaded.iter().map(|range| (range.ids, range.rows)))
}

fn is_loaded(loaded: &[LoadedRange], id: i64) -> bool {
    let after = loaded.partition_point(|done| done.ids.first() <= id);
    after > 0 && loaded[after - 1].ids.contains(id)
}

#[cfg(test)]
mod tests {
    use reshare_files::leftovers::Leftovers;
    use time::OffsetDateTime;

    use super::*;

    fn range(first: i64, last: i64) -> IdRange {
        IdRange::new(first, last).expect("in order")
    }

    fn loaded(ranges: &[(i64, i64)]) -> Vec<LoadedRange> {
        let entry = |&(first, last): &(i64, i64)| LoadedRange {
            ids: range(first, last),
            rows: 1,
            digest: [0; 32],
            source: vec![],
            leftovers: Leftovers::default(),
            loaded_at: OffsetDateTime::UNIX_EPOCH,
        };
        ranges.iter().map(entry).collect()
    }

    #[test]
    fn ranges_without_a_gap_are_counted_at_once() {
        let done = loaded(&[(i64::MIN, -1), (0, 9), (20, 29), (30, i64::MAX)]);
        let ends = [range(i64::MIN, 9), range(20, i64::MAX)];
        assert_eq!(spans(&done), ends.map(|range| (range, 2)));
        assert_eq!(spans(&[]), []);
    }

    #[test]
    fn an_id_is_loaded_when_a_range_holds_it() {
        let done = loaded(&[(-5, -1), (5, 9)]);
        let hits: Vec<i64> = (-7..12).filter(|id| is_loaded(&done, *id)).collect();
        assert_eq!(hits, [-5, -4, -3, -2, -1, 5, 6, 7, 8, 9]);
    }
}
