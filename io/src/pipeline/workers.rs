//! Where a pipeline reads or writes, and with how many hands.

use std::num::NonZeroUsize;
use std::sync::Arc;

use reshare_engine::layout::RowLayout;

use super::error::PipelineError;
use super::pool::BatchPool;
use crate::postgres::connect::Database;
use crate::postgres::load::LoadOptions;
use crate::postgres::table::TableSpec;
use crate::session::Session;

/// A table in a database.
#[derive(Debug, Clone)]
pub struct Source {
    /// The database.
    pub database: Database,
    /// The table in it.
    pub table: TableSpec,
}

/// A table to load into.
#[derive(Debug, Clone)]
pub struct Target {
    /// The table.
    pub source: Source,
    /// How to load.
    pub options: LoadOptions,
}

/// How many of everything work at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// Database connections.
    pub connections: usize,
    /// Threads that seal, open and write.
    pub threads: usize,
    /// Rows in a part, and in a range that is loaded at once.
    pub rows_per_part: NonZeroUsize,
}

impl Workers {
    /// The same, with no more rows at once than one part may have: where the size does not
    /// show in what is made, it is a matter of memory alone.
    pub(crate) fn within_parts_of(self, session: &Session) -> Self {
        let limit = NonZeroUsize::new(session.part_rows_limit()).unwrap_or(NonZeroUsize::MIN);
        Self { rows_per_part: self.rows_per_part.min(limit), ..self }
    }

    /// Checks that the session allows parts of that many rows.
    pub(crate) fn check_part(&self, session: &Session) -> Result<(), PipelineError> {
        let (rows, limit) = (self.rows_per_part.get(), session.part_rows_limit());
        if rows > limit { Err(PipelineError::PartRows { rows, limit }) } else { Ok(()) }
    }

    /// Batches enough for one in every hand and one on its way to each thread: this is what
    /// bounds a pipeline's memory.
    pub(crate) fn pool(&self, layout: &Arc<RowLayout>) -> Arc<BatchPool> {
        let limit = self.connections + 2 * self.threads;
        BatchPool::new(Arc::clone(layout), self.rows_per_part.get(), limit)
    }
}
