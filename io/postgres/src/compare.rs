//! Compares a table with another table, or with rows from elsewhere, in bounded memory.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use reshare_engine::row_batch::RowBatch;
use reshare_engine::rows::Rows;
use reshare_files::fault::Refusable;
use reshare_files::ids::IdRange;
use tokio::task::JoinSet;

use super::connect::Database;
use super::export::{ExportError, PartReader, Snapshot};
use super::plan::ExportIds;
use super::table::{TableName, TableSpec};

/// The result of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Rows that both sides have, equal in every column of the layout.
    pub rows_equal: u64,
    /// Ids whose row is missing on one side, or differs.
    pub differing: u64,
    /// The lowest differing ids, at most [`Comparison::MAX_LISTED`].
    pub first_differences: Vec<(i64, Difference)>,
}

/// How a row differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Only the right side has it.
    MissingLeft,
    /// Only the left side has it.
    MissingRight,
    /// Both have it; this column is the first that differs.
    Column(String),
}

impl Comparison {
    /// The most differences that are listed.
    pub const MAX_LISTED: usize = 20;

    /// Whether the sides are equal.
    #[must_use]
    pub fn is_equal(&self) -> bool {
        self.differing == 0
    }

    /// Adds the result of a comparison of other ids.
    pub fn merge(&mut self, other: Self) {
        self.rows_equal += other.rows_equal;
        self.differing += other.differing;
        self.first_differences.extend(other.first_differences);
        self.first_differences.sort_by_key(|(id, _)| *id);
        self.first_differences.truncate(Self::MAX_LISTED);
    }

    fn add(&mut self, id: i64, difference: Difference) {
        self.differing += 1;
        if self.first_differences.len() < Self::MAX_LISTED {
            self.first_differences.push((id, difference));
        }
    }
}

/// Which of the rows that are read are compared.
#[derive(Debug, Clone, Default)]
struct Wanted {
    /// Only these ascending ids, for a session about a list.
    listed: Option<Arc<[i64]>>,
    /// Ids that were not rebuilt: the table may have any row or none, and they are not compared.
    left_over: BTreeSet<i64>,
}

impl Wanted {
    fn of(ids: &ExportIds<'_>) -> Self {
        let listed = match ids {
            ExportIds::Range(_) => None,
            ExportIds::List(ids) => Some((*ids).into()),
        };
        Self { listed, left_over: BTreeSet::new() }
    }

    fn has(&self, id: i64) -> bool {
        let listed = self.listed.as_ref().is_none_or(|ids| ids.binary_search(&id).is_ok());
        listed && !self.left_over.contains(&id)
    }
}

/// Compares rows that the caller gives batch by batch (the left side) with a table (the right
/// side).
pub struct TableCheck {
    snapshot: Snapshot,
    reader: PartReader,
    page: RowBatch,
    within: IdRange,
    next: Option<i64>,
    wanted: Wanted,
    found: Comparison,
}

impl TableCheck {
    /// Starts a comparison with the rows of the table whose ids are `within`.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open<'a>(
        database: &'a Database,
        spec: &'a TableSpec,
        within: IdRange,
        rows_per_page: NonZeroUsize,
    ) -> BoxFuture<'a, Result<Self, CompareError>> {
        Box::pin(async move {
            let snapshot = Snapshot::open(database, spec).await?;
            let reader = snapshot.reader();
            let page = RowBatch::with_capacity(Arc::clone(spec.layout()), rows_per_page.get());
            let (next, found) = (Some(within.first()), Comparison::default());
            let wanted = Wanted::default();
            Ok(Self { snapshot, reader, page, within, next, wanted, found })
        })
    }

    /// Compares only the rows of these ascending ids.
    #[must_use]
    pub fn only(mut self, ids: &[i64]) -> Self {
        self.wanted.listed = Some(ids.into());
        self
    }

    /// Excludes ids that follow those of earlier calls of [`Self::rows`]: the caller gives no row
    /// for them, and the table may have one or none.
    pub fn leave_out(&mut self, ids: impl IntoIterator<Item = i64>) {
        self.wanted.left_over.extend(ids);
    }

    /// Compares the next rows. Their ids ascend and follow those of earlier calls.
    ///
    /// # Errors
    /// [`CompareError::MisplacedRow`], [`CompareError::OtherLayout`], and errors of reading.
    pub fn rows<'a>(&'a mut self, rows: &'a Rows<'a>) -> BoxFuture<'a, Result<(), CompareError>> {
        Box::pin(async move {
            let Some(last) = rows.ids.last() else { return Ok(()) };
            if rows.layout != self.page.layout().as_ref() {
                let table = self.snapshot.table().spec().name().clone();
                return Err(CompareError::OtherLayout { table });
            }
            let range = self.next.and_then(|first| IdRange::new(first, *last));
            let range = range.filter(|range| self.within.covers(*range));
            let mut expected = range.map_or(i128::MAX, |range| i128::from(range.first()));
            for id in rows.ids {
                if i128::from(*id) < expected {
                    return Err(CompareError::MisplacedRow { id: *id, within: self.within });
                }
                expected = i128::from(*id) + 1;
            }
            // Without a range the first id was refused above: every id is below the bound then.
            let Some(range) = range else { return Ok(()) };
            let Self { reader, page, wanted, found, .. } = self;
            check_range(reader, page, range, rows, wanted, found).await?;
            self.next = last.checked_add(1);
            Ok(())
        })
    }

    /// Checks what the table has after the last row, and returns the result.
    ///
    /// # Errors
    /// Errors of reading.
    pub fn finish(mut self) -> BoxFuture<'static, Result<Comparison, CompareError>> {
        Box::pin(async move {
            if let Some(rest) = self.next.and_then(|first| IdRange::new(first, self.within.last()))
            {
                let none = RowBatch::with_capacity(Arc::clone(self.page.layout()), 0);
                let Self { reader, page, wanted, found, .. } = &mut self;
                check_range(reader, page, rest, &none.rows(), wanted, found).await?;
            }
            self.reader.close().await;
            self.snapshot.close().await;
            Ok(self.found)
        })
    }
}

/// Compares the rows with these ids in two tables, over `jobs` connections a side.
///
/// Memory: two batches of `rows_per_part` rows a job.
///
/// # Errors
/// [`CompareError::OtherLayout`], and errors of reading.
pub fn compare_tables<'a>(
    left: (&'a Database, &'a TableSpec),
    right: (&'a Database, &'a TableSpec),
    ids: &'a ExportIds<'a>,
    rows_per_part: NonZeroUsize,
    jobs: NonZeroUsize,
) -> BoxFuture<'a, Result<Comparison, CompareError>> {
    Box::pin(async move {
        if left.1.layout() != right.1.layout() {
            return Err(CompareError::OtherLayout { table: right.1.name().clone() });
        }
        let mut left_side = Snapshot::open(left.0, left.1).await?;
        let right_side = Snapshot::open(right.0, right.1).await?;
        let ranges: Arc<[IdRange]> = match ids {
            ExportIds::Range(within) => {
                let parts = left_side.plan(ids, rows_per_part).await?;
                let lasts: Vec<i64> = parts.iter().map(|part| part.ids.last()).collect();
                covering(*within, &lasts).into()
            }
            ExportIds::List(ids) => neighbours(ids, rows_per_part).into(),
        };
        let wanted = Arc::new(Wanted::of(ids));
        let taken = Arc::new(AtomicUsize::new(0));
        let mut workers = JoinSet::new();
        for _ in 0..jobs.get().min(ranges.len()) {
            let layout = left.1.layout();
            let batch = || RowBatch::with_capacity(Arc::clone(layout), rows_per_part.get());
            let worker = Worker {
                left: left_side.reader(),
                right: right_side.reader(),
                batch: batch(),
                page: batch(),
                wanted: Arc::clone(&wanted),
            };
            workers.spawn(worker.run(Arc::clone(&ranges), Arc::clone(&taken)));
        }
        let mut found = Comparison::default();
        while let Some(outcome) = workers.join_next().await {
            found.merge(outcome.map_err(|_| CompareError::Interrupted)??);
        }
        left_side.close().await;
        right_side.close().await;
        Ok(found)
    })
}

/// One connection a side, and a batch for each.
struct Worker {
    left: PartReader,
    right: PartReader,
    batch: RowBatch,
    page: RowBatch,
    wanted: Arc<Wanted>,
}

impl Worker {
    /// Compares the ranges that no other worker has taken, in ascending order.
    async fn run(
        mut self,
        ranges: Arc<[IdRange]>,
        taken: Arc<AtomicUsize>,
    ) -> Result<Comparison, CompareError> {
        let mut found = Comparison::default();
        while let Some(range) = ranges.get(taken.fetch_add(1, Ordering::Relaxed)) {
            self.left.read_page(*range, &mut self.batch).await?;
            let Self { right, batch, page, wanted, .. } = &mut self;
            check_range(right, page, *range, &batch.rows(), wanted, &mut found).await?;
        }
        self.left.close().await;
        self.right.close().await;
        Ok(found)
    }
}

/// Ranges that cover `within` without a gap: each ends at one of `lasts`, the last at the end.
fn covering(within: IdRange, lasts: &[i64]) -> Vec<IdRange> {
    let mut next = Some(within.first());
    let mut ranges = vec![];
    for (index, last) in lasts.iter().enumerate() {
        let last = if index + 1 == lasts.len() { within.last() } else { *last };
        ranges.extend(next.and_then(|first| IdRange::new(first, last)));
        next = last.checked_add(1);
    }
    if lasts.is_empty() {
        ranges.push(within);
    }
    ranges
}

/// Ranges that cover some ascending ids, each with at most as many ids as a batch has rows.
/// Neighbouring ids share a query, and wide gaps between ids are not read.
fn neighbours(ids: &[i64], rows_per_part: NonZeroUsize) -> Vec<IdRange> {
    let span = |range: &IdRange, id: i64| i128::from(id) - i128::from(range.first()) + 1;
    let most = i128::try_from(rows_per_part.get()).unwrap_or(i128::MAX);
    let mut ranges: Vec<IdRange> = vec![];
    for id in ids {
        match ranges.last_mut() {
            Some(range) if span(range, *id) <= most => {
                *range = IdRange::new(range.first(), *id).unwrap_or(*range);
            }
            _ => ranges.extend(IdRange::new(*id, *id)),
        }
    }
    ranges
}

/// Compares `rows`, all that the left side has in `range`, with the table's, page by page.
async fn check_range(
    reader: &mut PartReader,
    page: &mut RowBatch,
    range: IdRange,
    rows: &Rows<'_>,
    wanted: &Wanted,
    found: &mut Comparison,
) -> Result<(), ExportError> {
    let mut done = 0;
    let mut next = Some(range);
    while let Some(rest) = next {
        reader.read_page(rest, page).await?;
        let last_of_page = page.rows().ids.last().copied();
        let full = page.len() == page.capacity();
        let until = last_of_page.filter(|_| full).unwrap_or(rest.last());
        let end = done + rows.ids[done..].partition_point(|id| *id <= until);
        compare_rows(&rows.slice(done..end), &page.rows(), wanted, found);
        done = end;
        next = until.checked_add(1).and_then(|first| IdRange::new(first, range.last()));
    }
    Ok(())
}

fn compare_rows(left: &Rows<'_>, right: &Rows<'_>, wanted: &Wanted, found: &mut Comparison) {
    let (mut l, mut r) = (0, 0);
    loop {
        let (id, sides) = match (left.ids.get(l), right.ids.get(r)) {
            (None, None) => return,
            (Some(&id), Some(&other)) if id == other => (id, [true, true]),
            (Some(&id), other) if other.is_none_or(|other| id < *other) => (id, [true, false]),
            (_, Some(&id)) => (id, [false, true]),
            // Covered above: a row that only the left side has.
            (Some(_), None) => return,
        };
        if wanted.has(id) {
            match sides {
                [true, true] => match differing_column(left, l, right, r) {
                    Some(column) => found.add(id, Difference::Column(column.to_owned())),
                    None => found.rows_equal += 1,
                },
                [true, false] => found.add(id, Difference::MissingRight),
                _ => found.add(id, Difference::MissingLeft),
            }
        }
        l += usize::from(sides[0]);
        r += usize::from(sides[1]);
    }
}

fn differing_column<'a>(
    left: &Rows<'a>,
    left_row: usize,
    right: &Rows<'_>,
    right_row: usize,
) -> Option<&'a str> {
    let mut agree = left.agree_values(left_row).zip(right.agree_values(right_row));
    if let Some(column) = agree.position(|(left, right)| left != right) {
        return Some(&left.layout.agree()[column].name);
    }
    let mut shares = left.share_row(left_row).zip(right.share_row(right_row));
    let column = shares.position(|(left, right)| left != right)?;
    Some(&left.layout.shares()[column].name)
}

/// Why a comparison stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A side cannot be read.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The sides have different columns.
    #[error("table {table} is compared with rows of another layout")]
    OtherLayout {
        /// The right side.
        table: TableName,
    },
    /// The rows given do not ascend, or leave the range.
    #[error("id {id} is out of order or outside of {within}")]
    MisplacedRow {
        /// The id.
        id: i64,
        /// The range that is compared.
        within: IdRange,
    },
    /// A worker ended without a result.
    #[error("the comparison was interrupted")]
    Interrupted,
}

impl Refusable for CompareError {
    fn is_refusal(&self) -> bool {
        match self {
            Self::Export(error) => error.is_refusal(),
            Self::Interrupted => false,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(first: i64, last: i64) -> IdRange {
        IdRange::new(first, last).expect("in order")
    }

    #[test]
    fn ranges_cover_everything_once() {
        assert_eq!(covering(range(0, 99), &[10, 20]), [range(0, 10), range(11, 99)]);
        assert_eq!(covering(range(0, 99), &[]), [range(0, 99)]);
        assert_eq!(covering(IdRange::ALL, &[i64::MAX]), [IdRange::ALL]);
    }

    #[test]
    fn ids_of_a_list_are_read_in_ranges_that_a_batch_holds() {
        let most = NonZeroUsize::new(4).expect("not zero");
        let ids = [i64::MIN, -3, -1, 0, 1, 9, i64::MAX];
        let ranges = [(i64::MIN, i64::MIN), (-3, 0), (1, 1), (9, 9), (i64::MAX, i64::MAX)];
        assert_eq!(neighbours(&ids, most), ranges.map(|(first, last)| range(first, last)));
        assert!(neighbours(&[], most).is_empty());
    }

    #[test]
    fn the_lowest_differences_are_kept() {
        let mut all = Comparison::default();
        for worker in [1, 0] {
            let mut found = Comparison::default();
            (0..15).for_each(|id| found.add(id * 2 + worker, Difference::MissingLeft));
            all.merge(found);
        }
        let ids: Vec<i64> = all.first_differences.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, (0..20).collect::<Vec<_>>());
        assert_eq!(all.differing, 30);
    }
}
