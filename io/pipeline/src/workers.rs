//! Where a pipeline reads or writes, and with how many threads and connections.

use std::num::NonZeroUsize;
use std::sync::Arc;

use reshare_engine::layout::RowLayout;
use reshare_format::session::Session;
use reshare_postgres::connect::Database;
use reshare_postgres::load::LoadOptions;
use reshare_postgres::table::TableSpec;

use super::error::PipelineError;
use super::pool::{BatchPool, Bound};

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

/// Rows that are read from a table and worked on.
const IN_FLIGHT: Bound = Bound { bytes: 320 << 20, least: 1 };

/// How many of everything work at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// Database connections.
    pub connections: usize,
    /// Threads that seal, open and write.
    pub threads: usize,
    /// The most rows of a part, and of a range that is loaded at once.
    pub rows_per_part: NonZeroUsize,
}

/// Parts for each connection or thread, where there are rows enough.
const PARTS_PER_WORKER: u64 = 8;
/// Smaller parts cost more than they win: a part is a file, a record and some requests.
const LEAST_ROWS: usize = 64;

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

    /// Rows of a part, or of a range, where there are `rows` in all: fewer if every worker would
    /// otherwise get only a few of the largest, since the first and the last ones overlap with
    /// nothing.
    pub(crate) fn rows_per_part_of(&self, rows: u64) -> NonZeroUsize {
        let workers = self.connections.max(self.threads).max(1) as u64;
        let even = rows.div_ceil(PARTS_PER_WORKER * workers);
        let even = usize::try_from(even).unwrap_or(usize::MAX).max(LEAST_ROWS);
        self.rows_per_part.min(NonZeroUsize::new(even).unwrap_or(NonZeroUsize::MIN))
    }

    /// From this many rows on, parts have the full size.
    pub(crate) fn rows_for_full_parts(&self) -> u64 {
        let workers = self.connections.max(self.threads).max(1) as u64;
        (PARTS_PER_WORKER * workers).saturating_mul(self.rows_per_part.get() as u64)
    }

    /// Like [`Self::pool`], with batches that hold the largest of some parts.
    pub(crate) fn pool_for(
        &self,
        layout: &Arc<RowLayout>,
        part_rows: impl Iterator<Item = u64>,
    ) -> Arc<BatchPool> {
        let largest = part_rows.max().and_then(|rows| usize::try_from(rows).ok());
        let largest = largest.and_then(NonZeroUsize::new).unwrap_or(self.rows_per_part);
        Self { rows_per_part: largest, ..*self }.pool(layout)
    }

    /// Enough batches for one at every worker and one on its way to each thread, or fewer if they
    /// are large: this is what bounds a pipeline's memory.
    pub(crate) fn pool(&self, layout: &Arc<RowLayout>) -> Arc<BatchPool> {
        let limit = self.connections + 2 * self.threads;
        BatchPool::within(IN_FLIGHT, Arc::clone(layout), self.rows_per_part.get(), limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_rows_make_more_and_smaller_parts() {
        let most = NonZeroUsize::new(512).expect("not zero");
        let workers = Workers { connections: 4, threads: 2, rows_per_part: most };
        for (rows, expected) in
            [(0, 64), (2_000, 64), (5_000, 157), (16_353, 512), (16_384, 512), (u64::MAX, 512)]
        {
            assert_eq!(workers.rows_per_part_of(rows).get(), expected, "{rows}");
        }
        assert_eq!(workers.rows_for_full_parts(), 16_384);
        // What was asked for is the most.
        let most = NonZeroUsize::new(20).expect("not zero");
        let workers = Workers { rows_per_part: most, ..workers };
        assert_eq!(workers.rows_per_part_of(2_000).get(), 20);
    }
}
