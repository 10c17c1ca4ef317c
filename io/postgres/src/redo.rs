//! Takes a loaded range back and writes it again, in one transaction.
//!
//! The transaction sees one snapshot (REPEATABLE READ): a row that somebody changes after it was
//! read here makes the deletion fail, and nothing is locked for the time of the reading.

use futures_util::future::BoxFuture;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::Rows;
use reshare_files::ids::IdRange;
use reshare_files::leftovers::Leftovers;
use sqlx::AssertSqlSafe;
use sqlx::postgres::PgConnection;

use super::export::{ExportError, array_literal, read_page};
use super::load_error::LoadError;
use super::load_source::LoadSource;
use super::progress_table::LoadedRange;
use super::transaction::Purpose;
use super::write::{RangeWriter, Work};

/// A loaded range on its way out of the table and in again.
///
/// Until [`Redo::commit`] returns, the table has what it had. Cancel safe: dropping it closes its
/// connection, so the server rolls back.
pub struct Redo<'a> {
    writer: &'a mut RangeWriter,
    connection: PgConnection,
    recorded: &'a LoadedRange,
}

impl RangeWriter {
    /// Begins to take a loaded range back. Nothing is changed yet.
    ///
    /// # Errors
    /// [`LoadError::TurnLost`], and what the server says.
    pub fn begin_redo<'a>(
        &'a mut self,
        recorded: &'a LoadedRange,
    ) -> BoxFuture<'a, Result<Redo<'a>, LoadError>> {
        Box::pin(async move {
            let connection = self.begin(Purpose::WriteOneMoment).await?;
            Ok(Redo { writer: self, connection, recorded })
        })
    }
}

impl Redo<'_> {
    /// Reads the first rows of a range as they are before they are removed, as many as `batch` has
    /// room for.
    ///
    /// # Errors
    /// An [`ExportError`]; `batch` then holds nothing.
    pub fn read_page<'a>(
        &'a mut self,
        range: IdRange,
        batch: &'a mut RowBatch,
    ) -> BoxFuture<'a, Result<(), ExportError>> {
        let table = &self.writer.work.table;
        Box::pin(read_page(&mut self.connection, table, range, batch))
    }

    /// Removes the rows that were loaded, and their record. Rows that were left over stay: they are
    /// not of this session.
    ///
    /// # Errors
    /// [`LoadError::RowsNotRemoved`], [`LoadError::LoadedOtherwise`] when the record has become
    /// another, and what the server says: a row that was changed since it was read here is a failed
    /// serialization.
    pub fn remove(&mut self) -> BoxFuture<'_, Result<(), LoadError>> {
        Box::pin(async move {
            let Work { table, progress, .. } = &self.writer.work;
            let (spec, recorded) = (table.spec(), self.recorded);
            let left_over: Vec<i64> = recorded.leftovers.ids().collect();
            let sql = format!(
                "DELETE FROM {} WHERE {} AND {} <> ALL({})",
                spec.name().sql(),
                spec.within_sql(recorded.ids),
                spec.id_sql(),
                array_literal(&left_over)
            );
            let removed = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut self.connection).await;
            let removed = removed.map_err(|error| LoadError::database(spec.name(), error))?;
            let (table, range) = (spec.name().clone(), recorded.ids);
            let (expected, got) = (recorded.rows, removed.rows_affected());
            if got != expected {
                return Err(LoadError::RowsNotRemoved { table, range, expected, got });
            }
            let removed = progress.remove(&mut self.connection, recorded).await;
            match removed {
                Ok(true) => Ok(()),
                Ok(false) => Err(LoadError::LoadedOtherwise { table, range, recorded: range }),
                Err(source) => Err(LoadError::Database { table, source }),
            }
        })
    }

    /// Sets what the next rows are loaded from.
    pub fn set_source(&mut self, source: LoadSource) {
        self.writer.set_source(source);
    }

    /// Writes rows in place of some that were removed, as [`RangeWriter::write`] does.
    ///
    /// # Errors
    /// As [`RangeWriter::write`].
    pub fn write<'a>(
        &'a mut self,
        range: IdRange,
        rows: &'a Rows<'a>,
        digest: [u8; 32],
        leftovers: &'a Leftovers,
    ) -> BoxFuture<'a, Result<(), LoadError>> {
        Box::pin(async move {
            let work = &mut self.writer.work;
            let record = work.record_of(range, rows, digest, leftovers)?;
            work.write_new(&mut self.connection, &record, rows).await.map(drop)
        })
    }

    /// Ends the transaction: the table has the new rows in place of the old ones.
    ///
    /// # Errors
    /// What the server says. Then the table has what it had, unless the connection broke.
    pub fn commit<'a>(self) -> BoxFuture<'a, Result<(), LoadError>>
    where
        Self: 'a,
    {
        Box::pin(async move {
            let Self { writer, mut connection, .. } = self;
            writer.work.run(&mut connection, "COMMIT").await?;
            writer.connection = Some(connection);
            Ok(())
        })
    }
}
