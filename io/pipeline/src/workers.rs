//! Where a pipeline reads or writes, and with how many threads and connections.

use std::num::NonZeroUsize;
use std::sync::Arc;

use reshare_engine::layout::RowLayout;
use reshare_format::session::Session;
use reshare_postgres::connect::Database;
use reshare_postgres::load_options::LoadOptions;
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
    /// What a sender does about rows that cannot be read.
    pub on_bad_row: OnBadRow,
}

impl Source {
    /// The same, with rows left out that cannot be read, or not.
    #[must_use]
    pub fn leaving_out_bad_rows(self, leaves_out: bool) -> Self {
        let on_bad_row = if leaves_out { OnBadRow::LeaveOut } else { OnBadRow::Refuse };
        Self { on_bad_row, ..self }
    }
}

/// What a sender does about a row that is not as the session says, or that the server cannot read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnBadRow {
    /// Ends, and names it.
    #[default]
    Refuse,
    /// Leaves it out, and lists it.
    LeaveOut,
}

/// A table to load into.
#[derive(Debug, Clone)]
pub struct Target {
    /// The table.
    pub source: Source,
    /// How to load.
    pub options: LoadOptions,
}

/// Rows that are read from a table and processed.
const IN_FLIGHT: Bound = Bound { bytes: 320 << 20, least: 1 };

/// How many connections and threads work at the same time.
#[derive(Debug, Clone, Copy)]
pub struct Workers {
    /// Database connections.
    pub connections: usize,
    /// Threads that seal, open and write.
    pub threads: usize,
    /// The most rows of a part, and of a range that is loaded at once.
    pub rows_per_part: NonZeroUsize,
}

/// Parts for each connection or thread, if there are enough rows.
const PARTS_PER_WORKER: u64 = 16;
/// Smaller parts cost more than they gain: each part is a file, a record and some requests.
const LEAST_ROWS: usize = 64;

impl Workers {
    /// The same, with at most as many rows at once as a part may have. For runs whose result does
    /// not depend on this size: it only affects memory.
    pub(crate) fn within_parts_of(self, session: &Session) -> Self {
        let limit = NonZeroUsize::new(session.part_rows_limit()).unwrap_or(NonZeroUsize::MIN);
        Self { rows_per_part: self.rows_per_part.min(limit), ..self }
    }

    /// Checks that the session allows parts with this many rows.
    pub(crate) fn check_part(&self, session: &Session) -> Result<(), PipelineError> {
        let (rows, limit) = (self.rows_per_part.get(), session.part_rows_limit());
        if rows > limit { Err(PipelineError::PartRows { rows, limit }) } else { Ok(()) }
    }

    /// The rows of a part or range when there are `rows` in total: fewer than the most if every
    /// worker would otherwise get only a few, since work on the first and last ones overlaps with
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

    /// Enough batches for one at every worker and one in the queue for each thread, or fewer if
    /// they are large. This bounds a pipeline's memory.
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
            [(0, 64), (4_096, 64), (5_000, 79), (32_704, 511), (32_705, 512), (u64::MAX, 512)]
        {
            assert_eq!(workers.rows_per_part_of(rows).get(), expected, "{rows}");
        }
        assert_eq!(workers.rows_for_full_parts(), 32_768);
        // The requested size is the maximum.
        let most = NonZeroUsize::new(20).expect("not zero");
        let workers = Workers { rows_per_part: most, ..workers };
        assert_eq!(workers.rows_per_part_of(2_000).get(), 20);
    }
}
